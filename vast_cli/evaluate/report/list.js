// The list of clips: sorted by rank or by any measure, filtered by text, group and problems.
const rows = data.clips.map(clipRow);
const state = { sort: "rank", worst: true, text: "", group: "", problems: false };
let shown = rows;
let columnKey = "";

// how bad a value is; the value itself if the measure has no good direction
function lossOf(clip, name) {
  const entry = clip.measures[name];
  if (!entry || entry.value === null) return null;
  const better = measures.get(name).better;
  if (better === "higher") return -entry.value;
  if (better === "lower" || entry.target === undefined) return entry.value;
  return Math.abs(entry.value - entry.target);
}

const hasDirection = (name) => {
  const better = measures.get(name)?.better;
  return better !== "none" && better !== "in_range";
};

function compare(a, b) {
  if (state.sort === "rank") return state.worst ? a.place - b.place : b.place - a.place;
  if (state.sort === "name")
    return String(a.clip.id).localeCompare(String(b.clip.id), undefined, { numeric: true }) * (state.worst ? 1 : -1);
  const [left, right] = [lossOf(a.clip, state.sort), lossOf(b.clip, state.sort)];
  if (left === null || right === null) return (left === null) - (right === null) || a.place - b.place; // missing values last in both orders
  return (state.worst ? right - left : left - right) || a.place - b.place;
}

function fits({ clip, text }) {
  if (state.problems && !isProblem(clip)) return false;
  if (state.group) {
    const [kind, name] = JSON.parse(state.group);
    if (clip[kind] !== name) return false;
  }
  return state.text
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

function groups() {
  const options = [];
  for (const [kind, label] of [
    ["set", "Set"],
    ["avatar", "Avatar"],
    ["speaker", "Speaker"],
  ]) {
    const names = [...new Set(data.clips.map((clip) => clip[kind]).filter(Boolean))].sort();
    if (names.length)
      options.push(
        h(
          "optgroup",
          { label },
          names.map((name) => h("option", { value: JSON.stringify([kind, name]) }, name)),
        ),
      );
  }
  return options;
}

function toolbar(update) {
  const measured = data.measures.filter((measure) => measure.clips > 0);
  const sort = h(
    "select",
    { id: "sort", onchange: () => update({ sort: sort.value, worst: true }) },
    h("option", { value: "rank" }, "Worst overall"),
    h("option", { value: "name" }, "Name"),
    families(measured).map(([family, list]) =>
      h(
        "optgroup",
        { label: family },
        list.map((measure) => h("option", { value: measure.name }, measure.title)),
      ),
    ),
  );
  const turn = h("button", { type: "button", class: "turn", onclick: () => update({ worst: !state.worst }) });
  const groupOptions = groups();
  const group = h(
    "select",
    { id: "group", onchange: () => update({ group: group.value }) },
    h("option", { value: "" }, "All clips"),
    groupOptions,
  );
  const text = h("input", {
    id: "search",
    type: "search",
    placeholder: "Name, path, remark",
    autocomplete: "off",
    oninput: () => update({ text: text.value }),
  });
  const problems = h("input", {
    id: "problems",
    type: "checkbox",
    onchange: () => update({ problems: problems.checked }),
  });
  const count = h("output", { class: "count", "aria-live": "polite" });
  const bar = h(
    "form",
    { class: "toolbar", onsubmit: (event) => event.preventDefault() },
    h("label", { class: "grow" }, h("span", {}, "Find"), text),
    groupOptions.length > 0 && h("label", {}, h("span", {}, "Show"), group),
    h("label", {}, h("span", {}, "Sort by"), sort),
    turn,
    h("label", { class: "check" }, problems, h("span", {}, "Only problems")),
    count,
  );
  const reset = () => {
    text.value = group.value = "";
    problems.checked = false;
    update({ text: "", group: "", problems: false });
  };
  return { bar, turn, count, text, sort, reset };
}

function clipList() {
  const bar = toolbar(update);
  const heads = h("div", { class: "column-heads" });
  const list = h("div", { class: "clips", role: "list" });
  const empty = h(
    "p",
    { class: "note", hidden: true },
    "No clip matches. ",
    h("button", { type: "button", onclick: bar.reset }, "Show all"),
  );
  rows.forEach((row) => row.node.setAttribute("role", "listitem"));

  function update(change) {
    Object.assign(state, change);
    const columns = columnsFor(state.sort);
    shown = rows.filter(fits).sort(compare);
    if (columnKey !== (columnKey = columns.join())) rows.forEach((row) => row.columns(columns));
    list.replaceChildren(...shown.map((row) => row.node));
    list.style.setProperty("--figures", columns.length);
    heads.style.setProperty("--figures", columns.length);
    heads.replaceChildren(...columns.map((column) => columnHead(column, update)));
    empty.hidden = shown.length > 0;
    bar.sort.value = state.sort;
    bar.count.textContent =
      shown.length === rows.length ? plural(rows.length, "clip") : `${shown.length} of ${plural(rows.length, "clip")}`;
    const orders =
      state.sort === "name"
        ? ["A to Z", "Z to A"]
        : hasDirection(state.sort)
          ? ["worst first", "best first"]
          : ["highest first", "lowest first"];
    bar.turn.textContent = `${state.worst ? "↓" : "↑"} ${orders[state.worst ? 0 : 1]}`;
    bar.turn.setAttribute("aria-label", `order: ${orders[state.worst ? 0 : 1]}; reverse`);
  }

  update({});
  rows.find((row) => row.clip.video?.mime)?.open(true); // shows at once what a clip contains
  const node = h(
    "section",
    { "aria-labelledby": "clips-title" },
    h("h2", { id: "clips-title" }, "Clips"),
    explanation(),
    bar.bar,
    heads,
    empty,
    list,
  );
  return { node, search: bar.text };
}

// the measure that sorts the list always has a column
function columnsFor(sort) {
  const columns = [...data.columns];
  if (measures.has(sort) && !columns.includes(sort)) columns.splice(Math.max(columns.length - 1, 0), 1, sort);
  return columns;
}

function columnHead(column, update) {
  const on = state.sort === column;
  const measure = measures.get(column);
  const props = {
    type: "button",
    class: on ? "on" : "",
    title: `sort by ${measure.title}; ${measure.direction}`,
    onclick: () => update(on ? { worst: !state.worst } : { sort: column, worst: true }),
  };
  return h("button", props, measure.title, on && h("span", { "aria-hidden": true }, state.worst ? " ↓" : " ↑"));
}

function explanation() {
  return h(
    "details",
    { class: "explain" },
    h("summary", {}, "What comes first"),
    h(
      "div",
      {},
      h(
        "p",
        {},
        "Clips that could not be measured come first, then those with the most failed checks. Ties are broken by a score: for each measure with a good direction, how many robust standard deviations (median and median deviation over this set) the clip lies on the bad side of the set’s median, ",
        data.cap,
        " at most. Only the worst measure of each family counts, since they say much the same; a warning adds 1.",
      ),
      h(
        "p",
        {},
        "Being better than usual does not count. Measures that are unreliable on this set, or have fewer than four values, are left out. The order compares the clips of this set with each other: it does not mean that the last one is good.",
      ),
      h(
        "p",
        { class: "keys" },
        h("b", {}, "Keys: "),
        [
          ["j", "next clip"],
          ["k", "previous clip"],
          ["Enter", "open or close"],
          ["Space", "play or pause"],
          ["← →", "one frame back or forward"],
          ["/", "find"],
        ].map(([key, text]) => [h("kbd", {}, key), ` ${text}  `]),
      ),
    ),
  );
}

// The table of jobs: sorted by any column, filtered by text, state, code and avatar; rows are created as they scroll into view.
const CHUNK = 80;
const WORST = new Map(data.jobs.map((job, index) => [job.id, index]));
const GATE_COLUMNS = 5;
const view = { sort: "worst", up: true, text: "", state: "", code: "", avatar: "" };

function column(name, title, value, more) {
  return { name, title, value, shown: (job) => number(value(job)), ...more };
}

// the gates that are missed most have a column, the others only sort the table and are in the details
const missedOf = (name) => data.jobs.reduce((sum, job) => sum + missedGate(job, name), 0);
const gates = data.gates
  .map((name, index) => ({ name, index, missed: missedOf(name) }))
  .sort((a, b) => b.missed - a.missed || a.index - b.index)
  .slice(0, GATE_COLUMNS)
  .sort((a, b) => a.index - b.index)
  .map(({ name }) => column(`gate ${name}`, name, (job) => job.gates?.[name], { gate: name }));
const columns = [
  column("avatar", "Avatar", (job) => job.avatar, { text: true, shown: (job) => job.avatar.split(/[\\/]/).pop() }),
  column("seconds", "Time", (job) => job.seconds, { shown: (job) => clock(job.seconds) ?? "" }),
  column("fps", "Frames/s", fps),
  ...gates,
];
const sortOnly = [
  column("frames", "Frames", (job) => job.frames),
  column("attempts", "Attempts", (job) => job.attempts),
  ...data.gates.filter((name) => !gates.some((one) => one.gate === name)).map((name) => column(`gate ${name}`, name, (job) => job.gates?.[name])),
];
const sorts = [
  column("worst", "Worst first", (job) => WORST.get(job.id)),
  column("index", "Order of the manifest", (job) => job.index),
  column("id", "Job", (job) => job.id, { text: true }),
  ...columns,
  ...sortOnly,
];

function order(name, up) {
  const { value, text } = sorts.find((one) => one.name === name);
  const turn = up ? 1 : -1;
  return (a, b) => {
    const [left, right] = [value(a) ?? null, value(b) ?? null];
    const tie = WORST.get(a.id) - WORST.get(b.id);
    if (left === null || right === null) return (left === null) - (right === null) || tie; // last either way
    return turn * (text ? collator.compare(left, right) : left - right) || tie;
  };
}
const collator = new Intl.Collator(undefined, { numeric: true });

const texts = new Map(
  data.jobs.map((job) => [
    job.id,
    [job.id, job.code, remark(job), job.avatar, job.audio, job.prompt, job.style, job.output, ...Object.values(job.x ?? {})]
      .join("\n")
      .toLocaleLowerCase(),
  ]),
);

function matches(job) {
  if (view.state && job.state !== view.state) return false;
  if (view.code && job.code !== view.code) return false;
  if (view.avatar && job.avatar !== view.avatar) return false;
  const words = view.text.toLocaleLowerCase().split(/\s+/);
  return words.every((word) => texts.get(job.id).includes(word));
}

function choice(id, label, key, options, update) {
  const select = h("select", { id, onchange: () => update({ [key]: select.value }) }, options);
  return { select, node: h("label", {}, h("span", {}, label), select) };
}

function countedOptions(key, all, title) {
  const counts = new Map();
  for (const job of data.jobs) if (job[key]) counts.set(job[key], (counts.get(job[key]) ?? 0) + 1);
  const names = [...counts].map(([name, n]) => h("option", { value: name }, `${title(name)} (${n})`));
  return { size: counts.size, options: [h("option", { value: "" }, all), ...names] };
}

function jobTable() {
  const text = h("input", { id: "search", type: "search", placeholder: "Name, path, message", autocomplete: "off", oninput: () => update({ text: text.value }) });
  const states = countedOptions("state", "All", (name) => data.states[name]);
  const codes = countedOptions("code", "All", (name) => name);
  const avatars = countedOptions("avatar", "All", (name) => name.split(/[\\/]/).pop());
  const state = choice("state", "State", "state", states.options, update);
  const code = choice("code", "Code", "code", codes.options, update);
  const avatar = choice("avatar", "Avatar", "avatar", avatars.options, update);
  const sort = choice("sort", "Sort by", "sort", sorts.map((one) => h("option", { value: one.name }, one.title)), (change) => update({ ...change, up: true }));
  const turn = h("button", { type: "button", class: "turn", onclick: () => update({ up: !view.up }) });
  const count = h("output", { class: "count", "aria-live": "polite" });
  const bar = h(
    "form",
    { class: "toolbar", onsubmit: (event) => event.preventDefault() },
    h("label", { class: "grow" }, h("span", {}, "Find"), text),
    states.size > 1 && state.node,
    codes.size > 0 && code.node,
    avatars.size > 1 && avatar.node,
    sort.node,
    turn,
    count,
  );
  const heads = h("tr", {});
  const body = h("tbody", {});
  const empty = h("p", { class: "note", hidden: true }, "No job matches. ", h("button", { type: "button", onclick: reset }, "Show all"));
  const rest = h("div", { class: "rest" });
  const table = h("table", { class: "summary jobs" }, h("thead", {}, heads), body);
  let matching = [];
  let rows = [];
  const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && addRows(), { rootMargin: "1200px 0px" });

  function head(one) {
    const on = view.sort === one.name;
    const button = h(
      "button",
      { type: "button", class: on ? "on" : "", onclick: () => update(on ? { up: !view.up } : { sort: one.name, up: true }) },
      one.title,
      on && h("span", { "aria-hidden": true }, view.up ? " ↑" : " ↓"),
    );
    return h("th", { scope: "col", class: one.text ? "" : "num", "aria-sort": on ? (view.up ? "ascending" : "descending") : null }, button);
  }

  function addRows() {
    const next = matching.slice(rows.length, rows.length + CHUNK).map((job) => jobRow(job, columns));
    rows.push(...next);
    body.append(...next.map((row) => row.node));
    rest.hidden = rows.length >= matching.length;
    rest.textContent = `${(matching.length - rows.length).toLocaleString("en")} more`;
    if (rest.hidden) observer.unobserve(rest);
    else {
      observer.unobserve(rest); // observed again, it reports when it is still in view
      observer.observe(rest);
    }
    return next.length > 0;
  }

  function update(change) {
    Object.assign(view, change);
    matching = data.jobs.filter(matches).sort(order(view.sort, view.up));
    rows = [];
    body.replaceChildren();
    const job = { ...sorts.find((one) => one.name === "id"), text: true };
    const worst = { name: "worst", title: "State", text: true };
    heads.replaceChildren(head(worst), head(job), h("td", {}), ...columns.map(head));
    empty.hidden = matching.length > 0;
    table.hidden = matching.length === 0;
    sort.select.value = view.sort;
    state.select.value = view.state;
    code.select.value = view.code;
    avatar.select.value = view.avatar;
    text.value = view.text;
    count.textContent = matching.length === data.jobs.length ? plural(matching.length, "job") : `${matching.length.toLocaleString("en")} of ${plural(data.jobs.length, "job")}`;
    turn.textContent = view.up ? "↑" : "↓";
    turn.setAttribute("aria-label", view.up ? "ascending; reverse" : "descending; reverse");
    addRows();
  }

  function reset() {
    update({ text: "", state: "", code: "", avatar: "" });
  }

  // focuses the next or the previous row
  function move(step) {
    const at = rows.findIndex((row) => row.node.contains(document.activeElement) || row.node.nextElementSibling?.matches(".more") && row.node.nextElementSibling.contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.max(at + step, 0);
    if (next >= rows.length && !addRows()) return;
    rows[next]?.focus();
    rows[next]?.node.scrollIntoView({ block: "nearest" });
  }

  update({});
  const node = h("section", { "aria-labelledby": "jobs-title" }, h("h2", { id: "jobs-title" }, "Jobs"), bar, empty, table, rest);
  function show(onlyCode) {
    update({ text: "", state: "", avatar: "", code: onlyCode });
    node.scrollIntoView();
    rows[0]?.focus();
  }
  return { node, move, show, search: text };
}

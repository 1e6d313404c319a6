// An opened clip: every figure in comparison with the set, and the files.
function bodyOf(clip, player) {
  const panes = player.panes.filter(Boolean);
  const unreadable = clip.error && !player.video; // the error says enough
  return [
    clip.error &&
      h(
        "p",
        { class: "note fail" },
        h("b", {}, marked(sentence(clip.error.message))),
        " ",
        clip.error.hint && marked(sentence(clip.error.hint)),
        " ",
        h("code", {}, clip.error.code),
      ),
    clip.notes.length > 0 &&
      h(
        "ul",
        { class: "note" },
        clip.notes.map((note) => h("li", {}, marked(sentence(note)))),
      ),
    !(unreadable && !clip.truth) &&
      h("div", { class: `watch panes-${panes.length}` }, h("div", { class: "panes" }, panes), player.plot.node),
    !unreadable && contactSheet(clip, (time) => player.seek(time)),
    figuresOf(clip),
    files(clip),
  ].filter(Boolean);
}

function figuresOf(clip) {
  const shown = data.measures.filter((measure) => clip.measures[measure.name]);
  const [measured, missing] = [true, false].map((hasValue) =>
    shown.filter((measure) => (clip.measures[measure.name].value !== null) === hasValue),
  );
  if (!shown.length) return null;
  return h(
    "div",
    { class: "all-figures" },
    measured.length > 0 &&
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Measure", "This clip", "Among the set", "Controls of this clip"].map((head) =>
              h("th", { scope: "col" }, head),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          measured.map((measure) => figureRow(clip, measure)),
        ),
      ),
    missing.length > 0 &&
      h(
        "p",
        { class: "lacking" },
        h("b", {}, "Not measured here: "),
        missing.map((measure, index) => [index ? "; " : "", measure.title, ` (${clip.measures[measure.name].reason})`]),
        ".",
      ),
  );
}

function figureRow(clip, measure) {
  const entry = clip.measures[measure.name];
  const off = behindClass(clip, measure.name);
  return h(
    "tr",
    { class: off },
    h(
      "th",
      { scope: "row", title: measure.about },
      measure.title,
      measure.state === "unreliable" && h("span", { class: "flag fail" }, "unreliable"),
    ),
    h("td", { class: "num" }, withUnit(figure(entry.value, measure.clip_digits), measure.unit)),
    h("td", {}, among(measure, entry.value, off)),
    h(
      "td",
      { class: "controls" },
      (entry.controls ?? []).map(([name, value]) =>
        h("span", { class: "control", title: CONTROLS[name] }, h("code", {}, name), " ", figure(value, measure.digits)),
      ),
    ),
  );
}

// where a value lies among all clips: the line is the range, the box the middle half
const sortedValues = new Map();
function among(measure, value, off) {
  if (!sortedValues.has(measure.name)) {
    const values = data.clips
      .map((clip) => clip.measures[measure.name]?.value)
      .filter((value) => value !== null && value !== undefined);
    sortedValues.set(
      measure.name,
      values.sort((a, b) => a - b),
    );
  }
  const values = sortedValues.get(measure.name);
  const [low, high] = [values[0], values.at(-1)];
  if (values.length < 4 || low === high)
    return h("span", { class: "soft" }, values.length < 4 ? "too few clips" : "all alike");
  const place = (number) => `${((number - low) / (high - low)) * 100}%`;
  const quantile = (share) => values[Math.round(share * (values.length - 1))];
  const box = { left: place(quantile(0.25)), right: `calc(100% - ${place(quantile(0.75))})` };
  const title = `${figure(low, measure.digits)} to ${figure(high, measure.digits)}, median ${figure(quantile(0.5), measure.digits)}`;
  return h(
    "div",
    { class: "among", title, role: "img", "aria-label": `set: ${title}` },
    h("i", { class: "rail" }),
    h("i", { class: "box", style: box }),
    h("i", { class: "median", style: { left: place(quantile(0.5)) } }),
    h("i", { class: `dot ${off}`, style: { left: place(value) } }),
  );
}

function files(clip) {
  const rows = [
    ["output", clip.output],
    ["truth", clip.reference],
    ["audio", clip.audio],
    ["style", clip.style_reference],
    ["footage", clip.footage],
  ];
  return h(
    "dl",
    { class: "files" },
    rows.filter(([, path]) => path).map(([name, path]) => [h("dt", {}, name), h("dd", {}, h("code", {}, path))]),
  );
}

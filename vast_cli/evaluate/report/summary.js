// The set as a whole: its size, and every measure between its floor and its ceiling.
const SPAN = 0.25; // of skill, shown beyond floor and ceiling

function header() {
  const set = data.set ?? {};
  const length = data.clips.reduce((sum, clip) => sum + (clip.duration_s ?? 0), 0);
  const facts = [
    seconds(length),
    set.frames && plural(set.frames, "frame"),
    set.speakers && plural(set.speakers, "speaker"),
    set.fps && `${set.fps} fps`,
    set.crop && `crop ${set.crop} px`,
    data.seed !== null && data.seed !== undefined && `seed ${data.seed}`,
    data.version,
  ];
  return h(
    "header",
    { class: "top" },
    h("h1", {}, data.title),
    h(
      "p",
      { class: "facts" },
      facts.filter(Boolean).map((fact) => h("span", {}, String(fact))),
    ),
    tiles(),
  );
}

function tiles() {
  const count = (test) => data.clips.filter(test).length;
  const of = (state) => data.measures.filter((measure) => measure.state === state).length;
  const rows = [
    [count((clip) => clip.rank.error), "could not be measured", "fail"],
    [count((clip) => clip.rank.fails > 0), "with failed checks", "fail"],
    [count((clip) => !clip.rank.fails && !clip.rank.error && clip.rank.warns > 0), "with warnings only", "warn"],
    [count((clip) => !isProblem(clip)), "without remark", "ok"],
    [of("ok"), "valid", "ok"],
    [of("unchecked"), "not checked", "none"],
    [of("unreliable"), "unreliable", "fail"],
    [of("missing"), "not measured", "none"],
  ];
  const tile = ([number, text, kind]) =>
    h("div", { class: `tile ${number ? kind : "none"}` }, h("dd", {}, number), h("dt", {}, text));
  const box = (name, tiles) =>
    h(
      "div",
      { class: "tile-box", role: "group", "aria-label": name },
      h("p", { class: "of" }, name),
      h("dl", {}, tiles),
    );
  return h(
    "div",
    { class: "tiles" },
    box("Clips", rows.slice(0, 4).map(tile)),
    box("Measures", rows.slice(4).map(tile)),
  );
}

function summary() {
  const shown = data.measures.filter((measure) => measure.state !== "missing");
  const missing = data.measures.filter((measure) => measure.state === "missing");
  const heads = ["Measure", "Value", "95 % interval", "n", "Floor to ceiling", "Controls"];
  const classes = ["", "num", "num", "num", "", ""];
  return h(
    "section",
    { "aria-labelledby": "measures-title" },
    h("h2", { id: "measures-title" }, "Measures"),
    shown.length > 0 &&
      h(
        "table",
        { class: "summary" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((head, index) => h("th", { scope: "col", class: classes[index] }, head)),
          ),
        ),
        families(shown).map(([family, rows]) =>
          h(
            "tbody",
            {},
            h("tr", { class: "family" }, h("th", { colspan: heads.length, scope: "rowgroup" }, family)),
            rows.map(measureRow),
          ),
        ),
      ),
    shown.length > 0 &&
      h(
        "p",
        { class: "key" },
        "The dot is the set, the bar its interval, the ticks are the controls on the same clips. ",
        "Skill runs from floor (0) to ceiling (1): the floor is a useless result, the ceiling the truth.",
      ),
    missing.length > 0 && missingTable(missing),
  );
}

function families(list) {
  const byFamily = new Map();
  for (const measure of list) byFamily.set(measure.family, [...(byFamily.get(measure.family) ?? []), measure]);
  return [...byFamily];
}

function measureRow(measure) {
  const bad = measure.state === "unreliable";
  const [sign, description] = MARKS[measure.state];
  const digits = measure.digits;
  const interval = measure.ci95 && measure.ci95.every((end) => end !== null);
  return h(
    "tr",
    { class: bad ? "unreliable" : "", "data-measure": measure.name },
    h(
      "th",
      { scope: "row" },
      h("span", { class: `mark ${measure.state}`, role: "img", "aria-label": description, title: description }, sign),
      h("span", { class: "name", title: measure.about }, measure.title),
      h("span", { class: "sub" }, h("code", {}, measure.name), measure.direction && ` ${measure.direction}`),
      bad && h("span", { class: "reason" }, h("b", {}, "Unreliable: "), measure.reason, "."),
      bad && measure.hint && h("span", { class: "sub" }, marked(sentence(measure.hint))),
    ),
    h("td", { class: "num value", "data-label": "Value" }, withUnit(figure(measure.value, digits), measure.unit)),
    h(
      "td",
      { class: "num", "data-label": "95 %" },
      interval
        ? `${figure(measure.ci95[0], digits)} – ${figure(measure.ci95[1], digits)}`
        : h("span", { class: "soft small" }, "too few clips"),
    ),
    h("td", { class: "num", "data-label": "n" }, measure.n ?? "–"),
    h("td", { class: "scale-cell" }, scale(measure)),
    h(
      "td",
      { class: "controls" },
      measure.controls.map(([name, value]) =>
        h("span", { class: "control", title: CONTROLS[name] }, h("code", {}, name), " ", figure(value, digits)),
      ),
    ),
  );
}

function scale(measure) {
  const { floor, ceiling, value, ci95, digits } = measure;
  if (floor === null || ceiling === null || floor === ceiling)
    return h("span", { class: "soft small" }, "no floor and ceiling");
  const skill = (number) => (number - floor) / (ceiling - floor);
  const place = (number) => `${((clamp(skill(number), -SPAN, 1 + SPAN) + SPAN) / (1 + 2 * SPAN)) * 100}%`;
  const at = skill(value);
  const beyond = at < -SPAN ? "below" : at > 1 + SPAN ? "above" : "";
  const ends = ci95 && ci95.every((end) => end !== null) ? [...ci95].sort((a, b) => skill(a) - skill(b)) : null;
  const text = `skill ${figure(measure.skill ?? at, 2)}`;
  const dot = beyond === "below" ? "◂" : beyond === "above" ? "▸" : "";
  const width = ends && `calc(${place(ends[1])} - ${place(ends[0])})`;
  return h(
    "div",
    {
      class: "scale",
      role: "img",
      "aria-label": `${text}; floor ${figure(floor, digits)}, ceiling ${figure(ceiling, digits)}`,
    },
    h(
      "div",
      { class: "track" },
      h("i", { class: "rail" }),
      measure.controls
        .filter(([, control]) => control !== null)
        .map(([name, control]) =>
          h("i", { class: "tick", title: `${name} ${figure(control, digits)}`, style: { left: place(control) } }),
        ),
      ends && h("i", { class: "ci", style: { left: place(ends[0]), width } }),
      h("i", { class: `dot ${beyond}`, title: text, style: { left: place(value) } }, dot),
    ),
    h(
      "div",
      { class: "ends" },
      h("span", {}, figure(floor, digits)),
      h("b", {}, text),
      h("span", {}, figure(ceiling, digits)),
    ),
  );
}

function missingTable(missing) {
  const row = (measure) =>
    h(
      "li",
      { "data-measure": measure.name },
      h("span", { class: "name", title: measure.about }, measure.title),
      h("code", {}, measure.name),
      h(
        "span",
        { class: "why" },
        h("b", {}, "not measured"),
        `: ${measure.reason}.`,
        measure.hint && h("span", { class: "hint" }, " ", marked(sentence(measure.hint))),
      ),
    );
  return h(
    "details",
    { class: "missing", open: true },
    h("summary", {}, `Not measured (${missing.length})`),
    h("ul", {}, missing.map(row)),
  );
}

const MARKS = {
  ok: ["✓", "valid: its controls are in order"],
  unreliable: ["✕", "unreliable"],
  unchecked: ["–", "not checked: there are no controls to compare"],
};

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const CONTROLS = {
  real: "the true video itself",
  truth: "the true video itself",
  prompt: "the value of the prompt",
  own: "the avatar's own footage",
  halves: "one half of the true clips against the other",
  chance: "guessing",
  other_audio_x2: "twice the floor: a margin below it means nothing",
  reencoded: "the truth through our encoder: the best possible result",
  static_mean: "a still image, or a face without motion: a useless result",
  static_first: "the first frame repeated",
  mouth_swap: "the truth, but with the mouth of a second later",
  delay_2: "the truth, two frames late",
  delay_5: "the truth, five frames late",
  other_audio: "the truth with the audio of another clip",
  reversed: "motion backwards",
  other_motion: "the motion of another part",
  half_amplitude: "half the motion",
  jitter: "with white noise on the motion",
  blur_1: "blurred by 1 px",
  blur_2: "blurred by 2 px",
  blur_2_noise_5: "blurred by 2 px, then noise: must not pass as sharp",
};

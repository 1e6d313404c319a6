// The counts of the batch, and its failures by code with the command that runs them again.
const LEVELS = { failed: "fail", rejected: "fail", interrupted: "warn", warned: "warn", not_started: "none", done: "ok" };

function clock(value) {
  if (value === null || value === undefined) return null;
  const whole = Math.round(value);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

const WHY = {
  interrupted: "The run was interrupted.",
  max_failures: "The run stopped: as many jobs failed as `--max-failures` allows.",
};
const why = (text) =>
  WHY[text] ??
  (text.startsWith("breaker:") ? `The run stopped: job after job failed with ${text.slice(8)}.` : `Stopped: ${text}.`);

function tile(name, value, level) {
  return h("div", { class: `tile ${level ?? ""}` }, h("dd", {}, value), h("dt", {}, name));
}

function header() {
  const { counts } = data;
  const facts = [
    plural(counts.jobs, "job"),
    data.machine,
    data.workers && plural(data.workers, "worker"),
    data.run && `run ${data.run}`,
  ];
  const states = Object.keys(LEVELS).filter((name) => counts[name] || name === "done" || name === "failed");
  const speed = [
    data.fps && tile("frames a second", figure(data.fps, data.fps < 10 ? 1 : 0)),
    data.frames > 0 && tile("frames", data.frames.toLocaleString("en")),
    data.seconds && tile("wall time", clock(data.seconds)),
  ].filter(Boolean);
  return h(
    "header",
    { class: "top" },
    h("h1", {}, data.title),
    h("p", { class: "facts" }, facts.filter(Boolean).map((fact) => h("span", {}, fact))),
    data.why && h("p", { class: "note fail" }, why(data.why)),
    h(
      "div",
      { class: "tiles" },
      h(
        "div",
        { class: "tile-box" },
        h("span", { class: "of" }, "All jobs of the manifest"),
        h(
          "dl",
          {},
          states.map((name) => tile(data.states[name], counts[name].toLocaleString("en"), counts[name] ? LEVELS[name] : "none")),
        ),
      ),
      speed.length > 0 && h("div", { class: "tile-box" }, h("span", { class: "of" }, "This run"), h("dl", {}, speed)),
    ),
  );
}

function command(text) {
  const code = h("code", { class: "command", tabindex: 0 }, text);
  const button = h("button", { type: "button", class: "turn", onclick: copy }, "Copy");
  async function copy() {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected"; // some browsers do not let a page on disk copy
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
  return h("div", { class: "run" }, code, button);
}

function groups(show) {
  if (!data.groups.length) return null;
  return h(
    "section",
    { class: "groups", "aria-labelledby": "groups-title" },
    h("h2", { id: "groups-title" }, "What failed"),
    data.groups.map((group) =>
      h(
        "article",
        { class: "group", "data-code": group.code },
        h(
          "h3",
          {},
          `${plural(group.count, "job")}: ${group.meaning ?? group.code} `,
          h("code", {}, group.code),
          h("button", { type: "button", class: "turn", onclick: () => show(group.code) }, "Show"),
        ),
        group.hint && h("p", { class: "hint" }, marked(group.hint)),
        command(group.command),
      ),
    ),
  );
}

// A job: its row in the table, and the details that the row opens.
const number = (value) => (value === undefined || value === null ? "" : figure(value, Number.isInteger(value) ? 0 : Math.abs(value) < 10 ? 2 : 1));
const fps = (job) => (job.frames && job.seconds ? job.frames / job.seconds : undefined);
const remark = (job) => job.message ?? [...(job.missed ?? []), ...(job.warnings ?? [])].join("; ");

function missedGate(job, name) {
  return (job.missed ?? []).some((text) => text === name || text.startsWith(`${name} `));
}

function jobRow(job, columns) {
  const open = h("button", { type: "button", class: "open", "aria-expanded": "false" }, job.id);
  const node = h(
    "tr",
    { class: `job ${LEVELS[job.state]}`, "data-job": job.id },
    h("td", { class: "state" }, h("span", { class: `flag ${LEVELS[job.state]}` }, data.states[job.state])),
    h(
      "th",
      { scope: "row" },
      open,
      job.code && h("code", { class: "code" }, job.code),
      remark(job) && h("p", { class: "remark" }, marked(remark(job))),
    ),
    h("td", { class: "thumbnails" }, job.strip && h("img", { src: `data:image/jpeg;base64,${job.strip}`, alt: "three frames of the video", height: 54 })),
    columns.map((column) =>
      h(
        "td",
        { class: [column.text ? "" : "num", column.gate && missedGate(job, column.gate) ? "off" : ""].join(" "), "data-label": column.title },
        h("span", { class: "v" }, column.shown(job)),
      ),
    ),
  );
  let body = null;
  function toggle(on) {
    const opened = on ?? open.getAttribute("aria-expanded") !== "true";
    open.setAttribute("aria-expanded", String(opened));
    node.classList.toggle("opened", opened);
    if (!opened) body?.remove();
    else node.after((body ??= h("tr", { class: "more" }, h("td", { colspan: 3 + columns.length }, detail(job)))));
    if (!opened) body?.querySelector("video")?.pause();
  }
  open.addEventListener("click", () => toggle());
  return { job, node, toggle, remove: () => (node.remove(), body?.remove()), focus: () => open.focus() };
}

function detail(job) {
  const facts = [
    ["Where", job.where && marked(job.where)],
    ["Hint", job.hint && marked(job.hint)],
    ["Warnings", job.warnings && h("ul", {}, job.warnings.map((text) => h("li", {}, marked(text))))],
    ["Manifest", job.at],
    ["Audio", job.audio],
    ["Prompt", job.prompt],
    ["Style", job.style],
    ["Avatar", job.avatar],
    ["Preset", job.preset],
    ["Output", job.output],
    ["Attempts", job.attempts],
    ["Seed", job.seed],
    ["Length", job.duration_s && seconds(job.duration_s)],
    ["Frames held back", job.limited_share !== undefined && `${(100 * job.limited_share).toFixed(0)} %`],
    ...Object.entries(job.x ?? {}),
    ["Log", job.log && h("a", { href: job.log }, "open the log")],
  ].filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "");
  return h(
    "div",
    { class: "detail" },
    videoPane(job),
    h(
      "div",
      { class: "facts-list" },
      job.message && h("p", { class: "note fail" }, marked(job.message)),
      gateTable(job),
      h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      job.state !== "done" && job.state !== "warned" && command(`${data.retry} --id ${job.id}`),
    ),
  );
}

function videoPane(job) {
  if (!job.video) {
    const gone = job.state === "done" || job.state === "warned" || job.state === "rejected";
    return gone ? h("p", { class: "note" }, "The video is gone.") : null;
  }
  const video = h("video", { src: job.video, preload: "none", controls: true, playsinline: true });
  const pane = h("div", { class: "pane" }, video, h("a", { href: job.video }, "open the file"));
  video.addEventListener("error", () => video.replaceWith(h("p", { class: "note" }, "The video cannot be played: it was moved or removed.")));
  return pane;
}

function gateTable(job) {
  if (!job.gates) return null;
  const limits = (name) => (job.limits ?? []).filter((text) => text.startsWith(name) && !/[A-Za-z_]/.test(text[name.length] ?? ""));
  const rows = Object.entries(job.gates).map(([name, value]) =>
    h(
      "tr",
      { class: missedGate(job, name) ? "off" : "" },
      h("th", { scope: "row" }, name),
      h("td", { class: "num" }, value === null ? "not measured" : number(value)),
      h("td", { class: "soft" }, limits(name).join(", ")),
    ),
  );
  return h("table", { class: "gates" }, h("tbody", {}, rows));
}

// Puts the page together and handles the keyboard.
const list = clipList();
document
  .getElementById("page")
  .append(
    header(),
    h("main", {}, summary(), list.node),
    h(
      "footer",
      {},
      provenance(),
      `Made by ${data.version ?? "vast"} (${data.schema ?? "vast.evaluate/1"}). The page contains everything it shows, loads nothing from a network and stores nothing.`,
    ),
  );
document.title = data.title;

// settings and models behind the figures
function provenance() {
  const models = Object.entries(data.set?.models ?? {}).map(([name, model]) => `${name}: ${model}`);
  const parts = [
    data.set?.resize && `Frames resized: ${data.set.resize}`,
    models.length && `Models: ${models.join(", ")}`,
  ];
  return parts.filter(Boolean).map((part) => h("p", {}, `${part}.`));
}

const current = () => shown.find((row) => row.node.contains(document.activeElement));

function move(step) {
  const at = shown.indexOf(current());
  const next = shown[at < 0 ? (step > 0 ? 0 : shown.length - 1) : clamp(at + step, 0, shown.length - 1)];
  next?.focus();
  next?.node.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target;
  if (target.matches?.("input, select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const row = current();
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") list.search.focus();
  else if (event.key === " " && row?.isOpen() && !target.matches("video, summary, .moment")) row.player.toggle();
  else return;
  event.preventDefault();
});

// some browsers press a button when the space bar is released
document.addEventListener(
  "keyup",
  (event) => event.key === " " && event.target.matches?.(".open") && current()?.isOpen() && event.preventDefault(),
);
addEventListener("beforeprint", () =>
  [...pending.keys()].filter((node) => node.matches(".strip, .sheet")).forEach(loadNow),
);

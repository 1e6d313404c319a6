// One image holds all moments of a clip; each cell shows its part of the image.
const ROWS = { output: "output", truth: "truth", "output mouth": "output, mouth", "truth mouth": "truth, mouth" };

function cell(sheet, column, row, address) {
  const [width, height] = sheet.size;
  const left = column * (sheet.width + sheet.gap);
  const share = (offset, free) => (free > 0 ? `${(offset / free) * 100}%` : "0%");
  return h("span", {
    class: "cell",
    style: {
      "aspect-ratio": `${sheet.width} / ${row.height}`,
      "background-image": `url("${address}")`,
      "background-size": `${(width / sheet.width) * 100}% ${(height / row.height) * 100}%`,
      "background-position": `${share(left, width - sheet.width)} ${share(row.top, height - row.height)}`,
    },
  });
}

// a few frames of the output, to recognise a clip
function strip(clip) {
  const sheet = clip.sheet;
  const node = h("div", { class: "strip", "aria-hidden": true });
  if (sheet.note) return fill(node, {}, [h("span", { class: "soft" }, "no image")]);
  const row = sheet.rows[0];
  node.style.setProperty("--cell", `${sheet.width} / ${row.height}`);
  const columns = sheet.times
    .map((_, column) => column)
    .filter((column) => column % 2 === 0 || sheet.times.length <= 5);
  whenVisible(node, async () => {
    const address = await addressOf(sheet, "image/jpeg");
    node.replaceChildren(...columns.map((column) => cell(sheet, column, row, address)));
  });
  return node;
}

function contactSheet(clip, seek) {
  const sheet = clip.sheet;
  if (sheet.note) return h("p", { class: "note" }, "No contact sheet: ", marked(sheet.note), ".");
  const node = h("div", { class: "sheet", role: "group", "aria-label": "moments at even times", tabindex: 0 });
  node.style.setProperty("--columns", sheet.times.length);
  node.style.setProperty("--rows", sheet.rows.length + 1);
  const showMissing = () =>
    node.replaceChildren(
      h("p", { class: "note" }, "The contact sheet should be in the folder beside this page, and is missing."),
    );
  whenVisible(node, async () => {
    const address = await addressOf(sheet, "image/jpeg");
    if (sheet.url) Object.assign(new Image(), { onerror: showMissing, src: address });
    node.replaceChildren(
      h(
        "div",
        { class: "sheet-rows" },
        sheet.rows.map((row) => h("span", { class: row.name.split(" ")[0] }, ROWS[row.name])),
        h("span", { class: "time" }, "s"),
      ),
      ...sheet.times.map((time, column) =>
        h(
          "button",
          {
            type: "button",
            class: "moment",
            title: `go to ${time.toFixed(2)} s`,
            "aria-label": `go to ${time.toFixed(2)} seconds`,
            onclick: () => seek(time),
          },
          sheet.rows.map((row) => cell(sheet, column, row, address)),
          h("span", { class: "time" }, time.toFixed(2)),
        ),
      ),
    );
  });
  return node;
}

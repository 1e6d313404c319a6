// A clip: one row with its key figures; opened, also its videos, plot, frames and all figures.
const isProblem = (clip) => clip.rank.error || clip.flags.length > 0;

function clipRow(clip, place) {
  const body = h("div", { class: "body", id: `body-${place}`, hidden: true });
  const name = h(
    "button",
    { type: "button", class: "open", "aria-expanded": "false", "aria-controls": body.id },
    clip.id ?? clip.output,
  );
  const figures = h("div", { class: "figures" });
  const head = h(
    "div",
    { class: "head" },
    h("span", { class: "rank" }, place + 1),
    strip(clip),
    h(
      "div",
      { class: "who" },
      h("h3", {}, name),
      h("p", { class: "meta" }, metaOf(clip)),
      h("p", { class: "remarks" }, remarks(clip)),
    ),
    figures,
  );
  const node = h("article", { class: `clip ${levelOf(clip)}`, "data-clip": clip.id }, head, body);
  const row = { clip, node, place, player: null, text: textOf(clip), isOpen: () => !body.hidden };
  row.focus = () => name.focus();
  row.open = (open) => {
    if (open && !row.player) {
      row.player = new Player(clip);
      body.append(...bodyOf(clip, row.player));
    }
    if (!open) row.player?.video?.pause();
    body.hidden = !open;
    name.setAttribute("aria-expanded", String(open));
    node.classList.toggle("opened", open);
  };
  row.columns = (columns) => figures.replaceChildren(...columns.map((column) => keyFigure(clip, column)));
  head.addEventListener("click", () => {
    const selection = getSelection(); // a click that ends a selection does not open the clip
    if (!String(selection) || !head.contains(selection.anchorNode)) row.open(body.hidden);
  });
  return row;
}

const levelOf = (clip) => (clip.rank.error || clip.rank.fails ? "fail" : clip.rank.warns ? "warn" : "");
const textOf = (clip) =>
  [
    clip.id,
    clip.output,
    clip.reference,
    clip.avatar,
    clip.speaker,
    clip.style_reference,
    clip.error?.code,
    clip.error?.message,
    ...clip.notes,
    ...clip.flags.flatMap((flag) => [flag.text, flag.measure]),
  ]
    .filter(Boolean)
    .join(" ")
    .toLocaleLowerCase();

function metaOf(clip) {
  const lost = clip.frames_lost > 0 && `${plural(clip.frames_lost, "frame")} without a face`;
  const parts = [clip.avatar, clip.speaker, seconds(clip.duration_s), lost];
  return parts.filter(Boolean).map((part) => h("span", {}, part));
}

function remarks(clip) {
  const items = clip.flags.map((flag) =>
    h(
      "span",
      { class: `flag ${flag.level === "fail" ? "fail" : "warn"}` },
      h("b", {}, flag.level),
      " ",
      marked(flag.text),
    ),
  );
  if (clip.error)
    items.unshift(h("span", { class: "flag fail" }, h("b", {}, "not measured"), " ", marked(clip.error.message)));
  const causes = clip.rank.causes.filter((cause) => clip.rank.behind[cause] >= 2).slice(0, 2);
  const text = causes
    .map((cause) => `${measures.get(cause)?.title ?? cause} ${spreads(clip.rank.behind[cause])}`)
    .join(", ");
  if (text)
    items.push(
      h(
        "span",
        { class: "behind", title: "robust standard deviations on the bad side of the set's median" },
        `behind the set: ${text}`,
      ),
    );
  return items;
}

const spreads = (value) => (value >= data.cap ? `over ${data.cap} sd` : `${value.toFixed(1)} sd`);

function keyFigure(clip, column) {
  const measure = measures.get(column);
  const entry = clip.measures[column];
  const label = h("span", { class: "label" }, measure.title);
  if (!entry || entry.value === null)
    return h(
      "span",
      { class: "key-figure null", title: entry?.reason },
      h("span", { class: "v" }, "not measured"),
      label,
    );
  return h(
    "span",
    { class: `key-figure ${behindClass(clip, column)}` },
    h("span", { class: "v" }, withUnit(figure(entry.value, measure.clip_digits), measure.unit)),
    label,
  );
}

const behindClass = (clip, name) => (clip.rank.behind[name] >= 3 ? "far" : clip.rank.behind[name] >= 2 ? "off" : "");

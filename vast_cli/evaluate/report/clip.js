// A clip: a line to recognise it by, and, opened, its videos, plot, pictures and figures.
const isProblem = (clip) => clip.rank.error || clip.flags.length > 0;
let playing = null; // only one clip sounds at a time

class Player {
  constructor(clip) {
    this.clip = clip;
    this.video = null;
    this.truth = null;
    this.plot = plotOf(clip, (time) => this.seek(time));
    this.panes = [this.pane("output", clip.video, clip.output), this.pane("truth", clip.truth, clip.reference)];
  }

  pane(name, source, path) {
    if (!source) return null;
    const label = h("figcaption", { class: name }, name);
    if (source.note) {
      const text = name === "output" ? "No video here: " : "No true video here: ";
      return h("figure", { class: "pane" }, h("p", { class: "note" }, text, marked(source.note), ".", h("code", {}, path)), label);
    }
    const video = h("video", { controls: true, preload: "metadata", playsinline: true, "aria-label": `${name} of ${this.clip.id}` });
    const pane = h("figure", { class: "pane" }, video, label);
    if (name === "output") this.follow((this.video = video));
    else (this.truth = video).muted = true;
    video.addEventListener("error", () => {
      const why = source.url ? "The video lies in the folder beside this page; it is not there, or this browser does not play it." : "This browser does not play the video.";
      video.replaceWith(h("p", { class: "note" }, why));
    });
    whenSeen(video, async () => (video.src = await addressOf(source, source.mime)));
    return pane;
  }

  // the plot and the true video go where the output's video is
  follow(video) {
    const both = (act) => () => this.truth?.src && act(this.truth);
    const show = () => this.plot.at(video.currentTime);
    const tick = () => {
      show();
      if (!video.paused && !video.ended) requestAnimationFrame(tick);
    };
    video.addEventListener("play", () => {
      if (playing && playing !== video) playing.pause();
      playing = video;
      both((truth) => ((truth.currentTime = video.currentTime), truth.play().catch(() => {})))();
      tick();
    });
    video.addEventListener("pause", both((truth) => truth.pause()));
    video.addEventListener("ratechange", both((truth) => (truth.playbackRate = video.playbackRate)));
    video.addEventListener("seeking", both((truth) => (truth.currentTime = video.currentTime)));
    video.addEventListener("timeupdate", () => {
      if (this.truth && !this.truth.ended && Math.abs(this.truth.currentTime - video.currentTime) > 0.12) this.truth.currentTime = video.currentTime;
      show();
    });
    video.addEventListener("seeked", show);
  }

  seek(time) {
    this.plot.at(time);
    if (this.video) this.video.currentTime = time;
    else if (this.truth) this.truth.currentTime = time;
  }

  toggle() {
    if (!this.video?.src) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }
}

function clipRow(clip, place) {
  const body = h("div", { class: "body", id: `body-${place}`, hidden: true });
  const name = h("button", { type: "button", class: "open", "aria-expanded": "false", "aria-controls": body.id }, clip.id ?? clip.output);
  const figures = h("div", { class: "figures" });
  const head = h(
    "div",
    { class: "head" },
    h("span", { class: "rank" }, place + 1),
    strip(clip),
    h("div", { class: "who" }, h("h3", {}, name), h("p", { class: "meta" }, metaOf(clip)), h("p", { class: "remarks" }, remarks(clip))),
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
    const marked = getSelection(); // who copies a name does not want the clip opened
    if (!String(marked) || !head.contains(marked.anchorNode)) row.open(body.hidden);
  });
  return row;
}

const levelOf = (clip) => (clip.rank.error || clip.rank.fails ? "fail" : clip.rank.warns ? "warn" : "");
const textOf = (clip) =>
  [clip.id, clip.output, clip.reference, clip.avatar, clip.speaker, clip.style_reference, clip.error?.code, clip.error?.message, ...clip.flags.flatMap((flag) => [flag.text, flag.measure])]
    .filter(Boolean).join(" ").toLocaleLowerCase();

function metaOf(clip) {
  const lost = clip.frames_lost > 0 && `${plural(clip.frames_lost, "frame")} without a face`;
  const parts = [clip.avatar, clip.speaker, seconds(clip.duration_s), lost];
  return parts.filter(Boolean).map((part) => h("span", {}, part));
}

function remarks(clip) {
  const found = clip.flags.map((flag) => h("span", { class: `flag ${flag.level === "fail" ? "fail" : "warn"}` }, h("b", {}, flag.level), " ", marked(flag.text)));
  if (clip.error) found.unshift(h("span", { class: "flag fail" }, h("b", {}, "not measured"), " ", marked(clip.error.message)));
  const causes = clip.rank.causes.filter((cause) => clip.rank.behind[cause] >= 2).slice(0, 2);
  const text = causes.map((cause) => `${measures.get(cause)?.title ?? cause} ${spreads(clip.rank.behind[cause])}`).join(", ");
  if (text) found.push(h("span", { class: "behind", title: "robust standard deviations on the bad side of the set's median" }, `behind the set: ${text}`));
  return found;
}

const spreads = (value) => (value >= data.cap ? `over ${data.cap} sd` : `${value.toFixed(1)} sd`);

function keyFigure(clip, column) {
  const measure = measures.get(column);
  const found = clip.measures[column];
  const label = h("span", { class: "label" }, measure.title);
  if (!found || found.value === null) return h("span", { class: "key-figure null", title: found?.reason }, h("span", { class: "v" }, "not measured"), label);
  return h("span", { class: `key-figure ${behindClass(clip, column)}` }, h("span", { class: "v" }, withUnit(figure(found.value, measure.clip_digits), measure.unit)), label);
}

const behindClass = (clip, name) => (clip.rank.behind[name] >= 3 ? "far" : clip.rank.behind[name] >= 2 ? "off" : "");

function bodyOf(clip, player) {
  const panes = player.panes.filter(Boolean);
  const lost = clip.error && !player.video; // one message says it all
  return [
    clip.error && h("p", { class: "note fail" }, h("b", {}, marked(sentence(clip.error.message))), " ", clip.error.hint && marked(sentence(clip.error.hint)), " ", h("code", {}, clip.error.code)),
    !(lost && !clip.truth) && h("div", { class: `watch panes-${panes.length}` }, h("div", { class: "panes" }, panes), player.plot.node),
    !lost && contactSheet(clip, (time) => player.seek(time)),
    figuresOf(clip),
    files(clip),
  ].filter(Boolean);
}

function figuresOf(clip) {
  const known = data.measures.filter((measure) => clip.measures[measure.name]);
  const [has, lacks] = [true, false].map((want) => known.filter((measure) => (clip.measures[measure.name].value !== null) === want));
  if (!known.length) return null;
  return h(
    "div",
    { class: "all-figures" },
    has.length > 0 &&
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, ["Measure", "This clip", "Among the set", "Controls of this clip"].map((head) => h("th", { scope: "col" }, head)))),
        h("tbody", {}, has.map((measure) => figureRow(clip, measure))),
      ),
    lacks.length > 0 &&
      h("p", { class: "lacking" }, h("b", {}, "Not measured here: "), lacks.map((measure, index) => [index ? "; " : "", measure.title, ` (${clip.measures[measure.name].reason})`]), "."),
  );
}

function figureRow(clip, measure) {
  const found = clip.measures[measure.name];
  const off = behindClass(clip, measure.name);
  return h(
    "tr",
    { class: off },
    h("th", { scope: "row", title: measure.about }, measure.title, measure.state === "unreliable" && h("span", { class: "flag fail" }, "unreliable")),
    h("td", { class: "num" }, withUnit(figure(found.value, measure.clip_digits), measure.unit)),
    h("td", {}, among(measure, found.value, off)),
    h("td", { class: "controls" }, (found.controls ?? []).map(([name, value]) => h("span", { class: "control", title: CONTROLS[name] }, h("code", {}, name), " ", figure(value, measure.digits)))),
  );
}

// where a value lies among all clips: whiskers are the range, the box the middle half
const spreadOf = new Map();
function among(measure, value, off) {
  if (!spreadOf.has(measure.name)) {
    const values = data.clips.map((clip) => clip.measures[measure.name]?.value).filter((known) => known !== null && known !== undefined);
    spreadOf.set(measure.name, values.sort((a, b) => a - b));
  }
  const values = spreadOf.get(measure.name);
  const [low, high] = [values[0], values.at(-1)];
  if (values.length < 4 || low === high) return h("span", { class: "soft" }, values.length < 4 ? "too few clips" : "all alike");
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
  const rows = [["output", clip.output], ["truth", clip.reference], ["sound", clip.audio], ["style", clip.style_reference]];
  return h("dl", { class: "files" }, rows.filter(([, path]) => path).map(([name, path]) => [h("dt", {}, name), h("dd", {}, h("code", {}, path))]));
}

// Mouth opening against audio: the gap between the lips above, the loudness below, silences shaded, and a playhead.
const PLOT = { left: 40, right: 10, top: 16, lips: 130, between: 10, audio: 36, axis: 20 };
const HEIGHT = PLOT.top + PLOT.lips + PLOT.between + PLOT.audio + PLOT.axis;

function plotOf(clip, seek) {
  const series = clip.series;
  const lips = series?.lip_gap ?? null;
  const truth = series?.reference_lip_gap ?? null;
  const loudness = series?.loudness ?? null;
  const count = Math.max(...[lips, truth, loudness, series?.speech].map((line) => line?.length ?? 0));
  if (!count) return { node: h("p", { class: "note" }, "Mouth opening and audio: not measured."), at() {} };
  const fps = series.fps;
  const length = Math.max(count / fps, clip.duration_s ?? 0);
  const high = niceTop(Math.max(0, ...(lips ?? []), ...(truth ?? [])));
  const view = { width: 0, time: 0 };
  const x = (time) => PLOT.left + (time / length) * (view.width - PLOT.left - PLOT.right);
  const y = (gap) => PLOT.top + PLOT.lips * (1 - gap / high);
  const readout = h("output", { class: "readout" });
  const playhead = s("g", { class: "playhead" });
  const crosshair = s("line", { class: "cross", y1: PLOT.top, y2: HEIGHT - PLOT.axis, visibility: "hidden" });
  const svg = s("svg", { class: "plot", height: HEIGHT, role: "presentation" });
  const frameOf = (time) => clamp(Math.round(time * fps), 0, count - 1);

  function draw() {
    svg.setAttribute("viewBox", `0 0 ${view.width} ${HEIGHT}`);
    svg.replaceChildren(
      ...runs(series.speech, (value) => value === 0).map((run) => silence(run)),
      ...grid(),
      loudness ? audioArea() : textAt("audio: not measured"),
      lips ? "" : textAt("mouth opening: not measured", PLOT.top + PLOT.lips / 2),
      ...(lips ? runs(lips, (value) => value === null).map(gapMark) : []),
      truth ? lineOf(truth, "truth") : "",
      lips ? lineOf(lips, "output") : "",
      crosshair,
      playhead,
    );
    at(view.time);
  }

  function silence([start, end]) {
    const left = x(start / fps);
    const width = x(end / fps) - left;
    const label = width > 46 && s("text", { class: "silence-label", x: left + width / 2, y: PLOT.top - 5 }, "silence");
    return s(
      "g",
      {},
      s("rect", { class: "silence", x: left, width, y: PLOT.top, height: HEIGHT - PLOT.axis - PLOT.top }),
      label,
    );
  }

  function gapMark([start, end]) {
    const left = x(start / fps);
    const props = {
      class: "lost",
      x: left,
      width: Math.max(x(end / fps) - left, 2),
      y: PLOT.top + PLOT.lips - 4,
      height: 4,
    };
    return s("rect", props, s("title", {}, `no face, ${(start / fps).toFixed(2)} to ${(end / fps).toFixed(2)} s`));
  }

  function lineOf(values, name) {
    const parts = runs(values, (value) => value !== null).map(([start, end]) =>
      values
        .slice(start, end)
        .map((value, index) => `${index ? "L" : "M"}${x((start + index) / fps).toFixed(1)} ${y(value).toFixed(1)}`)
        .join(""),
    );
    return s("path", { class: `line ${name}`, d: parts.join("") });
  }

  function audioArea() {
    const middle = HEIGHT - PLOT.axis - PLOT.audio / 2;
    const half = (value) => Math.max((clamp(value ?? 0, 0, 1) * PLOT.audio) / 2, 0.4);
    const upper = loudness.map((value, index) => `L${x(index / fps).toFixed(1)} ${(middle - half(value)).toFixed(1)}`);
    const lower = loudness
      .map((value, index) => `L${x(index / fps).toFixed(1)} ${(middle + half(value)).toFixed(1)}`)
      .reverse();
    return s("path", { class: "audio", d: `M${x(0)} ${middle}${upper.join("")}${lower.join("")}Z` });
  }

  const textAt = (text, top = HEIGHT - PLOT.axis - PLOT.audio / 2) =>
    s("text", { class: "absent", x: PLOT.left + 8, y: top + 4 }, text);

  function grid() {
    const step = niceStep(length / Math.max(view.width / 90, 1));
    const marks = [];
    for (let time = 0; time <= length + 1e-6; time += step) {
      const label = `${Number(time.toFixed(2))}${time ? "" : " s"}`;
      marks.push(
        s("line", { class: "rule", x1: x(time), x2: x(time), y1: HEIGHT - PLOT.axis, y2: HEIGHT - PLOT.axis + 4 }),
      );
      marks.push(s("text", { class: "axis mid", x: x(time), y: HEIGHT - 4 }, label));
    }
    for (const share of [0, 0.5, 1]) {
      marks.push(
        s("line", {
          class: "rule",
          x1: PLOT.left,
          x2: view.width - PLOT.right,
          y1: y(high * share),
          y2: y(high * share),
        }),
      );
      marks.push(
        s(
          "text",
          { class: "axis end", x: PLOT.left - 6, y: y(high * share) + 3.5 },
          Number((high * share).toPrecision(2)),
        ),
      );
    }
    return marks;
  }

  function at(time) {
    view.time = time;
    const place = x(clamp(time, 0, length));
    const gap = lips?.[frameOf(time)] ?? null;
    playhead.replaceChildren(
      s("line", { x1: place, x2: place, y1: PLOT.top - 4, y2: HEIGHT - PLOT.axis }),
      ...(gap === null ? [] : [s("circle", { cx: place, cy: y(gap), r: 3.5 })]),
    );
    node.setAttribute("aria-valuenow", time.toFixed(2));
    node.setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
    node.dataset.time = time.toFixed(3);
    showReadout(time);
  }

  function showReadout(time) {
    const frame = frameOf(time);
    const part = (name, values, kind) =>
      values &&
      h(
        "span",
        { class: kind },
        `${name} ${values[frame] === null || values[frame] === undefined ? "–" : values[frame].toFixed(3)}`,
      );
    readout.replaceChildren(
      h("span", {}, `${time.toFixed(2)} s`),
      part("output", lips, "output") || "",
      part("truth", truth, "truth") || "",
    );
  }

  const timeAt = (event) => {
    const box = svg.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * view.width - PLOT.left;
    return clamp((inside / (view.width - PLOT.left - PLOT.right)) * length, 0, length);
  };
  const hover = (event) => {
    const time = timeAt(event);
    crosshair.setAttribute("x1", x(time));
    crosshair.setAttribute("x2", x(time));
    crosshair.setAttribute("visibility", "visible");
    showReadout(time);
    if (event.buttons & 1) seek(time);
  };
  const steps = { ArrowLeft: -1 / fps, ArrowRight: 1 / fps, PageUp: 1, PageDown: -1 };
  const node = h(
    "div",
    {
      class: "plot-box",
      tabindex: 0,
      role: "slider",
      "aria-label": "Time; mouth opening against audio",
      "aria-valuemin": 0,
      "aria-valuemax": length.toFixed(2),
      onpointerdown: (event) => seek(timeAt(event)),
      onpointermove: hover,
      onpointerleave: () => {
        crosshair.setAttribute("visibility", "hidden");
        showReadout(view.time);
      },
      onkeydown: (event) => {
        const to =
          event.key === "Home"
            ? 0
            : event.key === "End"
              ? length
              : view.time + steps[event.key] * (event.shiftKey ? fps : 1);
        if (Number.isNaN(to) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        seek(clamp(to, 0, length));
      },
    },
    svg,
  );
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width === view.width || width < 80) return;
    view.width = width;
    draw();
  }).observe(node);
  const legend = h(
    "figcaption",
    {},
    h("b", {}, "Mouth opening against audio"),
    h("span", { class: "soft" }, "lip gap over eye distance; loudness"),
    readout,
  );
  return { node: h("figure", { class: "plot-figure" }, legend, node), at };
}

// [start, end) of the ranges where `test` holds
function runs(values, test) {
  const ranges = [];
  (values ?? []).forEach((value, index) => {
    if (!test(value)) return;
    const last = ranges.at(-1);
    if (last && last[1] === index) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  });
  return ranges;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

const niceTop = (most) => {
  if (!(most > 0)) return 0.1;
  const step = niceStep(most / 5);
  return Math.ceil(most / step - 1e-9) * step;
};

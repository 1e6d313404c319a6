// The video of a clip; the true video and the playhead in the plot follow it.
let playing = null; // only one clip plays at a time

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
      return h(
        "figure",
        { class: "pane" },
        h("p", { class: "note" }, text, marked(source.note), ".", h("code", {}, path)),
        label,
      );
    }
    const video = h("video", {
      controls: true,
      preload: "metadata",
      playsinline: true,
      "aria-label": `${name} of ${this.clip.id}`,
    });
    const pane = h("figure", { class: "pane" }, video, label);
    if (name === "output") this.follow((this.video = video));
    else (this.truth = video).muted = true;
    video.addEventListener("error", () => {
      const reason = source.url
        ? "The video should be in the folder beside this page; it is missing, or this browser does not play it."
        : "This browser does not play the video.";
      video.replaceWith(h("p", { class: "note" }, reason));
    });
    whenVisible(video, async () => (video.src = await addressOf(source, source.mime)));
    return pane;
  }

  // the plot and the true video follow the output's video
  follow(video) {
    const onTruth = (act) => () => this.truth?.src && act(this.truth);
    const show = () => this.plot.at(video.currentTime);
    const tick = () => {
      show();
      if (!video.paused && !video.ended) requestAnimationFrame(tick);
    };
    video.addEventListener("play", () => {
      if (playing && playing !== video) playing.pause();
      playing = video;
      onTruth((truth) => ((truth.currentTime = video.currentTime), truth.play().catch(() => {})))();
      tick();
    });
    video.addEventListener(
      "pause",
      onTruth((truth) => truth.pause()),
    );
    video.addEventListener(
      "ratechange",
      onTruth((truth) => (truth.playbackRate = video.playbackRate)),
    );
    video.addEventListener(
      "seeking",
      onTruth((truth) => (truth.currentTime = video.currentTime)),
    );
    video.addEventListener("timeupdate", () => {
      if (this.truth && !this.truth.ended && Math.abs(this.truth.currentTime - video.currentTime) > 0.12)
        this.truth.currentTime = video.currentTime;
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

"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const pairwise = study.mode === "pairwise";
  const $ = (id) => document.getElementById(id);
  const FULL = 0.95; // share of a video that must have run for its end to count
  const noun = pairwise ? "Pair" : "Video";

  // --- storage: in the browser where it allows that, otherwise in this page only ------------------------------------
  const memory = new Map();
  let canStore = true;
  try {
    localStorage.setItem("vast-study", "1");
    localStorage.removeItem("vast-study");
  } catch {
    canStore = false;
  }
  const storageKey = (rater) => `vast-study-${study.study}-${rater}`;
  const load = (rater) => {
    try {
      return JSON.parse(canStore ? localStorage.getItem(storageKey(rater)) : memory.get(storageKey(rater)) ?? null);
    } catch {
      return null;
    }
  };
  const save = () => {
    const text = JSON.stringify(state);
    memory.set(storageKey(state.rater), text);
    try {
      if (canStore) localStorage.setItem(storageKey(state.rater), text);
    } catch {
      canStore = false; // full, or no longer allowed
    }
  };

  let state = null; // {rater, token, started, position, question, records}
  let since = 0; // when the current question was opened
  let players = [];
  const order = () => study.orders[state.rater - 1];
  const record = () => state.records[state.position];
  const question = () => study.questions[state.question];
  const randomToken = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");

  const show = (id) => {
    for (const part of ["intro", "task", "done"]) $(part).hidden = part !== id;
    $("bar").hidden = id === "intro";
  };

  // --- first page ---------------------------------------------------------------------------------------------------
  const intro = () => {
    $("lead").textContent = pairwise
      ? `You will see ${study.orders[0].length} pairs of short videos of people speaking. For each pair, three questions, one at a time: choose the better video.`
      : `You will see ${study.orders[0].length} short videos of people speaking. Each is rated from 1 to 5 on three aspects, one at a time.`;
    for (const { title, text } of study.questions) {
      const item = document.createElement("li");
      item.append(Object.assign(document.createElement("b"), { textContent: title }));
      item.append(Object.assign(document.createElement("span"), { textContent: text }));
      $("aspects").append(item);
    }
    $("storage-note").hidden = canStore;
    $("rater").value = new URLSearchParams(location.search).get("judge") ?? "";
    check(false);
    $("rater").addEventListener("input", () => check(false));
    $("begin").addEventListener("submit", (event) => {
      event.preventDefault();
      const rater = check(true);
      if (rater) begin(rater);
      else $("rater").focus();
    });
  };

  const check = (strict) => {
    const text = $("rater").value.trim();
    const rater = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
    const valid = rater >= 1 && rater <= study.orders.length;
    const wrong = !valid && (strict || text !== "");
    const saved = valid ? load(rater) : null;
    $("rater").setAttribute("aria-invalid", String(wrong));
    $("rater-note").classList.toggle("wrong", wrong);
    $("rater-note").textContent = wrong
      ? `Please enter the number that you received, from 1 to ${study.orders.length}.`
      : saved ? `Welcome back: ${Math.min(saved.position, saved.records.length)} of ${saved.records.length} are done.` : "";
    $("begin-button").textContent = saved ? "Continue" : "Begin";
    return valid ? rater : 0;
  };

  const begin = (rater) => {
    state = load(rater) ?? {
      rater,
      token: randomToken(),
      started: new Date().toISOString(),
      position: 0,
      question: 0,
      records: study.orders[rater - 1].map(([item, ...clips]) => ({
        item, clips, plays: clips.map(() => 0), starts: clips.map(() => 0), answers: {}, seconds: {},
      })),
    };
    save();
    if (state.position >= order().length) finish();
    else task();
  };

  // --- videos -------------------------------------------------------------------------------------------------------
  const sourceOf = (clip) => {
    if (!study.inline) return `clips/${clip}.mp4`;
    const text = atob($(`clip-${clip}`).textContent);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  };

  const player = (clip, index) => {
    const figure = document.createElement("figure");
    const video = document.createElement("video");
    const button = Object.assign(document.createElement("button"), { type: "button", className: "play" });
    const label = document.createElement("span");
    const track = Object.assign(document.createElement("div"), { className: "track" });
    const time = Object.assign(document.createElement("div"), { className: "time" });
    track.append(time);
    const ariaName = pairwise ? `video ${"AB"[index]}` : "video";
    Object.assign(video, { playsInline: true, preload: "auto", src: sourceOf(clip), disablePictureInPicture: true, tabIndex: -1 });
    video.setAttribute("aria-label", ariaName);
    button.append(label);
    figure.append(video, track, button);
    if (pairwise) figure.append(Object.assign(document.createElement("figcaption"), { textContent: "AB"[index] }));
    const update = () => {
      const running = !video.paused && !video.ended;
      figure.classList.toggle("running", running);
      label.textContent = running ? "Pause" : video.currentTime > 0 && !video.ended ? "Continue" : record().plays[index] ? "Play again" : "Play";
      button.setAttribute("aria-label", `${label.textContent} ${ariaName}`);
    };
    const toggle = () => {
      if (!video.paused && !video.ended) return video.pause();
      for (const other of players) if (other.video !== video) other.video.pause();
      if (video.ended || video.currentTime === 0) record().starts[index] += 1;
      return video.play().catch(() => {}); // a video that fails shows an error of its own
    };
    video.addEventListener("timeupdate", () => {
      time.style.width = `${(100 * video.currentTime) / (video.duration || 1)}%`;
    });
    video.addEventListener("ended", () => {
      let seen = 0; // some keyboards have keys that jump to the end
      for (let k = 0; k < video.played.length; k += 1) seen += video.played.end(k) - video.played.start(k);
      if (seen >= FULL * video.duration) record().plays[index] += 1;
      update();
      save();
      open();
    });
    video.addEventListener("ratechange", () => {
      if (video.playbackRate !== 1) video.playbackRate = 1;
    });
    for (const event of ["play", "pause", "loadeddata"]) video.addEventListener(event, update);
    video.addEventListener("error", () => {
      const text = "This video does not play here. Please try another browser, or tell the person who invited you.";
      figure.replaceChildren(Object.assign(document.createElement("p"), { className: "failed", textContent: text }));
    });
    button.addEventListener("click", toggle);
    update();
    return { video, figure, toggle, button };
  };

  const clear = () => {
    for (const { video } of players) {
      video.pause();
      if (video.src.startsWith("blob:")) URL.revokeObjectURL(video.src);
    }
    players = [];
  };

  // --- questions ----------------------------------------------------------------------------------------------------
  const task = () => {
    show("task");
    clear();
    $("task").classList.toggle("pair", pairwise);
    players = record().clips.map(player);
    $("stage").replaceChildren(...players.map(({ figure }) => figure));
    ask();
    players[0].button.focus({ preventScroll: true });
    scrollTo(0, 0);
  };

  const ask = () => {
    const { title, text, best, worst } = question();
    $("place").textContent = `${noun} ${state.position + 1} of ${order().length}`;
    $("progress").value = (state.position + state.question / study.questions.length) / order().length;
    $("step").textContent = `Question ${state.question + 1} of ${study.questions.length}`;
    $("aspect").textContent = title;
    $("text").textContent = text;
    $("best").textContent = best;
    $("worst").textContent = worst;
    $("keys").innerHTML = pairwise
      ? "Keys: <kbd>Space</kbd> play, <kbd>A</kbd> <kbd>B</kbd> choose, <kbd>Enter</kbd> next"
      : "Keys: <kbd>Space</kbd> play, <kbd>1</kbd> to <kbd>5</kbd> answer, <kbd>Enter</kbd> next";
    const choices = pairwise
      ? record().clips.map((clip, index) => [clip, `${"AB"[index]} is better`, "AB"[index]])
      : [1, 2, 3, 4, 5].map((value) => [value, { 1: "1, very poor", 5: "5, very good" }[value] ?? String(value), String(value)]);
    $("scale").replaceChildren(
      ...choices.map(([value, description, key]) => {
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), { type: "radio", name: "answer", value: String(value) });
        input.setAttribute("aria-label", description);
        input.dataset.key = key.toLowerCase();
        input.checked = record().answers[question().aspect] === value;
        input.addEventListener("change", () => choose(value));
        label.append(input, Object.assign(document.createElement("span"), { textContent: pairwise ? description : key }));
        return label;
      }),
    );
    $("back").disabled = state.question === 0;
    $("next").textContent = state.question + 1 < study.questions.length ? "Next" : state.position + 1 < order().length ? `Next ${noun.toLowerCase()}` : "Finish";
    open();
  };

  const unlocked = () => record().plays.every((count) => count > 0);
  const chosen = () => record().answers[question().aspect] !== undefined;

  const open = () => {
    const isOpen = unlocked();
    if (isOpen && $("answers").disabled) since = performance.now();
    $("answers").disabled = !isOpen;
    $("next").disabled = !(isOpen && chosen());
    const instruction = pairwise ? "Watch both to the end, then choose." : "Watch to the end, then answer.";
    $("state").textContent = !isOpen ? instruction : chosen() ? "" : pairwise ? "Which one is better here?" : "Now your answer, from 1 to 5.";
  };

  const choose = (value) => {
    if (!unlocked()) return;
    record().answers[question().aspect] = value;
    for (const input of $("scale").querySelectorAll("input")) input.checked = input.value === String(value);
    save();
    open();
  };

  const leave = () => {
    const { aspect } = question();
    const spent = (performance.now() - since) / 1000;
    record().seconds[aspect] = Math.round(100 * ((record().seconds[aspect] ?? 0) + spent)) / 100;
    since = performance.now();
  };

  const next = () => {
    if (!unlocked() || !chosen()) return;
    leave();
    state.question += 1;
    if (state.question < study.questions.length) {
      save();
      ask();
      $("legend").focus({ preventScroll: true });
      return;
    }
    state.question = 0;
    state.position += 1;
    $("answers").disabled = true;
    save();
    if (state.position < order().length) task();
    else finish();
  };

  const back = () => {
    if (state.question === 0) return;
    leave();
    state.question -= 1;
    save();
    ask();
    $("legend").focus({ preventScroll: true });
  };

  // --- end ------------------------------------------------------------------------------------------------------
  const result = () => JSON.stringify({
    schema: "vast.study.answers/1",
    study: study.study,
    mode: study.mode,
    judge: state.rater,
    token: state.token,
    started: state.started,
    finished: state.finished,
    user_agent: navigator.userAgent,
    screen: { width: screen.width, height: screen.height, pixel_ratio: devicePixelRatio, window_width: innerWidth, window_height: innerHeight },
    answers: state.records.map(({ item, plays, starts, answers, seconds }) => ({ item, plays, starts, answers, seconds })),
  }, null, 1);

  const finish = () => {
    clear();
    state.finished ??= new Date().toISOString();
    save();
    show("done");
    $("place").textContent = "All done";
    $("progress").value = 1;
    const text = result();
    $("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    $("download").download = `answers-${study.study}-judge-${state.rater}.json`;
    $("plain").value = text;
    $("download").focus();
  };

  $("download").addEventListener("click", () => {
    state.saved = true;
    save();
    $("done-note").textContent = `Saved as ${$("download").download}, probably in your downloads.`;
  });
  $("copy").addEventListener("click", async () => {
    $("plain").hidden = false;
    $("plain").select();
    try {
      await navigator.clipboard.writeText($("plain").value);
      $("done-note").textContent = "Copied. Paste it into a message.";
    } catch {
      $("done-note").textContent = "Copy the text below and paste it into a message.";
    }
  });

  $("question").addEventListener("submit", (event) => {
    event.preventDefault();
    next();
  });
  $("back").addEventListener("click", back);

  document.addEventListener("keydown", (event) => {
    if ($("task").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target.closest("button, a");
    const key = event.key.toLowerCase();
    if (event.key === "Enter" && (!target || target.classList.contains("play"))) {
      if (target && !chosen()) return; // the button handles it
      event.preventDefault();
      next();
    } else if (event.key === " " && !target && event.target.type !== "radio") {
      event.preventDefault();
      const active = players.find(({ video }) => !video.paused && !video.ended);
      const waiting = players.find((_, index) => record().plays[index] === 0);
      (active ?? waiting ?? players[0]).toggle();
    } else if (!event.repeat) {
      const input = $("scale").querySelector(`input[data-key="${CSS.escape(key)}"]`);
      if (input && unlocked()) choose(pairwise ? input.value : Number(input.value));
    }
  });
  addEventListener("beforeunload", (event) => {
    if (state && !state.saved && !canStore) event.preventDefault();
  });

  document.documentElement.style.setProperty("--ratio", study.ratio);
  intro();
  show("intro");
})();

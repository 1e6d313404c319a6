"""Does the style of the prompt arrive? Judged from outside, on people that the style model never saw.

    python benchmarks/style.py --corpus ../shared/data/video --tracks build/tracks
        [--split val|dev|train] [--style FILE] [--avatar obama] [--json out.json] [--quick] [--tracked-only]

The prompt is the first half of a clip, the judge its second half, so that statistics of the prompt cannot judge
themselves; one clip a person, 3 s of face or more in each half. What is predicted speaks the audio of other people.
`real` is the real first half in the place of the prediction: the ceiling. Nothing is judged by E^p.

    nearest    of all people, whose second half is the prediction nearest to? `of 12`: the same in line-ups of twelve
    slopes     how far level and log spread follow the prompt from person to person
    Dvt        variation within 3 s, prediction / prompt, and whether its order over people is the prompt's
    emotions   of acted emotions of one person relative to neutral: how much of the way arrives
    lips       r with the true lips, closures at P B M, spread of measures; the style is of the clip's other half
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import style_figures as figures
import torch
from scipy.stats import spearmanr
from style_clips import (
    Clip,
    Models,
    choose_audio,
    choose_people,
    encode,
    load_clips,
    speak,
    speak_part,
)
from style_figures import Array, Moments, estimate

from vast_cli.core.arrays import Float32

Report = dict[str, Any]
BASE_EMOTION = "neutral"
KINDS: dict[str, Callable[[Moments], Array]] = {
    "mean+sd": lambda m: np.concatenate([m.level, m.log_sd]),
    "mean": lambda m: m.level,
    "sd": lambda m: m.log_sd,
    "sd strong": lambda m: m.log_sd[figures.STRONG],
}
MEASURES = ("gap", "width", "jaw", "corners", "protrusion", "brows", "lids")


@dataclass(frozen=True)
class Size:
    """How much is predicted."""

    audios: int = 8
    frames: int = 150
    lip_clips: int = 1000
    both_halves: bool = True


QUICK = Size(audios=4, lip_clips=14, both_halves=False)


@dataclass(frozen=True)
class Person:
    """A prompt, its judge, and what was predicted in the prompt's style."""

    clip: Clip
    vector: Float32  # of the first half
    spoken: list[Float32]  # [n, 233] for each audio of another person

    @property
    def prompt(self) -> Float32:
        return self.clip.expression(self.clip.halves[0])

    @property
    def judge(self) -> Float32:
        return self.clip.expression(self.clip.halves[1])


def main() -> None:
    """Read the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--split", choices=("val", "dev", "train"), default="val")
    parser.add_argument("--style", type=Path, help="style model, if not the shipped one")
    parser.add_argument("--avatar", default="obama")
    parser.add_argument("--cache", type=Path, default=Path("build/style"), help="of the training")
    parser.add_argument("--json", type=Path, help="write all figures")
    parser.add_argument("--quick", action="store_true", help="fewer audio clips, fewer lips, 90 s")
    parser.add_argument("--tracked-only", action="store_true", help="leave out clips that have no track yet")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    models = Models.load(options.style)
    clips = load_clips(
        options.corpus,
        options.tracks,
        options.cache,
        options.split,
        face=models.face,
        tracked_only=options.tracked_only,
    )
    report = measure(clips, models, QUICK if options.quick else Size(), split=options.split)
    report["seconds"] = time.time() - started
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(report)


def measure(clips: list[Clip], models: Models, size: Size, *, split: str) -> Report:
    """All figures."""
    audios = choose_audio(clips, n_frames=size.frames, count=size.audios)
    people = [speak_as(clip, audios, models, size) for clip in choose_people(clips)]
    return {
        "split": split,
        "style_model": models.style.hash,
        "people": len(people),
        "audios": [a.row.name for a in audios],
        "nearest": nearest(people, models),
        "slopes": slopes(people, models),
        "variation": variation(people),
        "emotions": emotions(clips, audios[:4], models),
        "lips": lips(clips, models, size),
    }


def speak_as(clip: Clip, audios: Sequence[Clip], models: Models, size: Size) -> Person:
    """The audio of other people in the style of a clip's first half."""
    vector = encode(clip, models, clip.halves[0])
    others = [a.ppg for a in audios if a.row.speaker != clip.row.speaker and a.ppg is not None]
    return Person(clip, vector, [speak(ppg, vector, models, size.frames) for ppg in others])


# --- does it arrive --------------------------------------------------------------------------------------------------


def nearest(people: list[Person], models: Models) -> Report:
    """Top-1 among all people, by mean and spread."""
    sd = models.face.sd
    made = [figures.moments(x, sd) for p in people for x in p.spoken]
    owners = np.array([k for k, p in enumerate(people) for _ in p.spoken])
    prompts = [figures.moments(p.prompt, sd) for p in people]
    judges = [figures.moments(p.judge, sd) for p in people]
    report: Report = {"n": len(people), "chance": 1 / max(len(people), 1)}
    for name, pick in KINDS.items():
        references = np.stack([pick(m) for m in judges])
        units = references.std(0) + 1e-3
        queries = np.stack([pick(m) for m in made]) / units
        real = np.stack([pick(m) for m in prompts]) / units
        report[name] = line_up(queries, owners, real, references / units)
    return report


def line_up(queries: Array, owners: Array, real: Array, references: Array) -> Report:
    """Top-1 of predictions [q, d] and of real halves [k, d] among references [k, d], raw and centred."""
    report: Report = {}
    everyone = np.arange(len(references))
    for name, centred in (("raw", False), ("centred", True)):
        rank = figures.ranks(queries, owners, references, centred=centred)
        rank_real = figures.ranks(real, everyone, references, centred=centred)
        few = figures.top1_of(rank, len(references))
        report[name] = {
            "top1": estimate(np.mean, figures.by_owner((rank == 0).astype(float), owners)),
            "real": estimate(np.mean, (rank_real == 0).astype(float)),
            "of_few": estimate(np.mean, figures.by_owner(few, owners)),
            "real_of_few": estimate(np.mean, figures.top1_of(rank_real, len(references))),
        }
    return report


def slopes(people: list[Person], models: Models) -> Report:
    """How far level and log spread of the predictions follow the prompt, and the real other half."""
    sd = models.face.sd

    def stack(kind: str, of: Callable[[Person], Sequence[Float32]]) -> Array:
        return np.stack([np.mean([getattr(figures.moments(x, sd), kind) for x in of(person)], 0) for person in people])

    report: Report = {}
    for kind in ("level", "log_sd"):
        made, prompt = stack(kind, lambda p: p.spoken), stack(kind, lambda p: [p.prompt])
        judge = stack(kind, lambda p: [p.judge])
        for group, columns in (("strong", figures.STRONG), ("weak", figures.WEAK)):
            m, p, j = made[:, columns], prompt[:, columns], judge[:, columns]
            report[f"{kind} {group}"] = {
                "slope": estimate(figures.slope, m, p),
                "real": estimate(figures.slope, j, p),
                "on_judge": estimate(figures.slope, m, j),
            }
            if kind == "log_sd":
                report[f"sd ratio {group}"] = estimate(lambda a, b: float(np.exp(np.median(a - b))), m, p)
    return report


def variation(people: list[Person]) -> Report:
    """Dvt of predictions over that of the prompts, mesh units."""
    report: Report = {}
    for name, columns in (("X", slice(None)), ("X^st", slice(0, 85)), ("X^wk", slice(85, None))):
        prompt = np.array([figures.variation(p.prompt[:, columns]) for p in people])
        judge = np.array([figures.variation(p.judge[:, columns]) for p in people])
        made = np.array([np.mean([figures.variation(x[:, columns]) for x in p.spoken]) for p in people])
        report[name] = {
            "prediction": float(made.mean()),
            "prompt": float(prompt.mean()),
            "ratio": estimate(lambda a, b: float(np.median(a / b)), made, prompt),
            "spearman": estimate(_spearman, made, prompt),
            "real": estimate(_spearman, judge, prompt),
        }
    return report


def _spearman(a: Array, b: Array) -> float:
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return float(spearmanr(a, b)[0])


# --- emotions --------------------------------------------------------------------------------------------------------


def emotions(clips: list[Clip], audios: Sequence[Clip], models: Models) -> Report:
    """Changes from neutral to an acted emotion of the same person, predicted against the second half's."""
    measures = figures.face_measures(models.face)
    groups: dict[str, Callable[[Array], Array]] = {
        "strong": lambda x: x[:85],
        "brows eyes": lambda x: np.array(
            [x @ measures[k] for k in ("brow_inner", "brow_outer", "brow_distance", "lids")]
        ),
        "corners": lambda x: np.array([x @ measures["corners"]]),
    }
    ppgs = [a.ppg for a in audios if a.ppg is not None]
    rows = []
    for actor, by_emotion in acted(clips).items():
        if len(by_emotion) < 2:
            continue
        base = BASE_EMOTION if BASE_EMOTION in by_emotion else sorted(set(by_emotion) - {"happy"})[0]
        made, first, second = {}, {}, {}
        for emotion, clip in by_emotion.items():
            vector = encode(clip, models, clip.halves[0])
            made[emotion] = np.mean([speak(ppg, vector, models, 120).mean(0) for ppg in ppgs], 0)
            first[emotion], second[emotion] = (clip.expression(half).mean(0) for half in clip.halves)
        for emotion in sorted(set(by_emotion) - {base}):
            row: Report = {"actor": actor, "emotion": emotion, "base": base}
            for name, pick in groups.items():
                truth = pick(second[emotion] - second[base])
                for source, means in (("made", made), ("real", first)):
                    change = pick(means[emotion] - means[base])
                    row[f"{name} {source} way"] = figures.way(change, truth)
                    row[f"{name} {source} cos"] = figures.cosine(change, truth)
                    if name == "corners":
                        row[f"corners {source}"] = float(change[0])
                        row["corners true"] = float(truth[0])
            rows.append(row)
    summary: Report = {}
    for name in groups:
        for figure, statistic in (("way", np.median), ("cos", np.mean)):
            for source in ("made", "real"):
                summary[f"{name} {source} {figure}"] = estimate(
                    statistic, [r[f"{name} {source} {figure}"] for r in rows]
                )
    return {"summary": summary, "rows": rows}


def acted(clips: list[Clip]) -> dict[str, dict[str, Clip]]:
    """The longest clip of each emotion of each actor, of 2.4 s or more."""
    actors: dict[str, dict[str, Clip]] = {}
    for clip in sorted(clips, key=lambda c: -c.n):
        halves = [int(clip.track.valid[half].sum()) for half in clip.halves]
        if clip.row.set == "mead" and clip.row.emotion and min(halves) >= 30:
            actors.setdefault(clip.row.speaker, {}).setdefault(clip.row.emotion, clip)
    return actors


# --- lips ------------------------------------------------------------------------------------------------------------


def lips(clips: list[Clip], models: Models, size: Size) -> Report:
    """How the lips follow the audio, in the style of the clip's other half (talk) or another clip (grid_s1)."""
    report: Report = {}
    for name in ("talk", "grid_s1"):
        chosen = [c for c in clips if c.row.set == name and c.in_sync and c.n >= 50]
        chosen = chosen[:: max(1, len(chosen) // size.lip_clips)][: size.lip_clips]
        rows = [lips_of(clip, chosen[k - 1], models, size) for k, clip in enumerate(chosen) if len(chosen) > 1]
        if rows:
            report[name] = {key: _pooled(key, [r[key] for r in rows]) for key in rows[0]} | {"n": len(rows)}
    return report


def _pooled(name: str, values: list[float]) -> dict[str, float]:
    usable = [v for v in values if np.isfinite(v)]
    return estimate(np.median if name.startswith("sd ") else np.mean, usable)


def lips_of(clip: Clip, other: Clip, models: Models, size: Size) -> dict[str, float]:
    """Figures of one clip, the mean over what is measured of it."""
    stranger = encode(other, models)
    if clip.row.set == "grid_s1":  # too short to be halved: another clip of the speaker is the prompt
        cases = [(slice(0, clip.n), stranger, encode(clip, models))]
    else:
        first, second = (encode(clip, models, half) for half in clip.halves)
        cases = [(clip.halves[1], first, second), (clip.halves[0], second, first)][: 2 if size.both_halves else 1]
    found: dict[str, list[float]] = {}
    for part, vector, same_words in cases:
        for name, value in _lips_of_part(clip, other, models, part, vector, same_words, stranger).items():
            found.setdefault(name, []).append(value)
    return {name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for name, v in found.items()}


def _lips_of_part(
    clip: Clip, other: Clip, models: Models, part: slice, vector: Float32, same_words: Float32, stranger: Float32
) -> dict[str, float]:
    """Figures of some frames: `vector` is the style of other frames, `same_words` that of the same ones."""
    assert clip.ppg is not None and clip.raw_ppg is not None and other.ppg is not None
    face, use = models.face, clip.track.valid[part]
    measures = figures.face_measures(face)

    def say(ppg: Any, style: Float32) -> Float32:
        return speak_part(ppg, style, models, part, clip.n)

    def gap(x: Float32) -> Array:
        return face.lip_gap(clip.track.identity, x)

    truth, own = clip.track.expression[part], say(clip.ppg, vector)
    true_gap, own_gap = gap(truth), gap(own)
    width, true_width = own @ measures["width"], truth @ measures["width"]
    other_gap = gap(say(other.ppg, vector))
    r = figures.correlation(own_gap[use], true_gap[use])
    r_words = figures.correlation(gap(say(clip.ppg, same_words))[use], true_gap[use])
    places = [
        slice(p.start - part.start, p.stop - part.start)
        for p in figures.phone_frames(clip.ppg.values)
        if p.start >= part.start and p.stop <= part.stop
    ]
    random = np.random.default_rng(0)
    anywhere = [
        slice(start, start + p.stop - p.start)
        for p in places
        for start in random.integers(0, max(1, len(truth) - (p.stop - p.start)), 3)
    ]
    row = {
        "r": r,
        "r raw audio": figures.correlation(gap(say(clip.raw_ppg, vector))[use], true_gap[use]),
        "r best lag": figures.best_lag_correlation(own_gap, true_gap),
        "r other audio": figures.correlation(other_gap[use], true_gap[use]),
        "r other audio best lag": figures.best_lag_correlation(other_gap, true_gap),
        "r other style": figures.correlation(gap(say(clip.ppg, stranger))[use], true_gap[use]),
        "r same words": r_words,
        "dr of words": r_words - r,
        "r width": figures.correlation(width[use], true_width[use]),
        "r width best lag": figures.best_lag_correlation(width, true_width),
        "closed": figures.closed_share(own_gap, places),
        "closed true": figures.closed_share(true_gap, places),
        "closed anywhere": figures.closed_share(own_gap, anywhere),
        "closed true anywhere": figures.closed_share(true_gap, anywhere),
        "LMD-m of static": figures.lip_distance(_lip_points(own, models), _lip_points(truth, models)),
    }
    for name in MEASURES:
        made_sd, true_sd = (
            figures.low_pass(x[:, None] if x.ndim == 1 else x).std()
            for x in (own @ measures[name], truth @ measures[name])
        )
        row[f"sd {name}"] = float(made_sd / max(true_sd, 1e-6))
    return row


def _lip_points(x: Float32, models: Models) -> Array:
    """Lips in the plane of the face, [n, 40, 2], relative to the neutral face."""
    columns = [3 * v + k for v in LIPS for k in (0, 1)]
    return (x @ models.face.basis[:, columns]).reshape(len(x), -1, 2)


LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)  # fmt: skip


# --- print -----------------------------------------------------------------------------------------------------------


def show(figure: dict[str, float]) -> str:
    """Value and interval."""
    return f"{figure['value']:.3f} ({figure['low']:.2f}-{figure['high']:.2f})"


def print_report(report: Report) -> None:
    """The compact table."""
    n = report["nearest"]
    print(f"style model {report['style_model']}, split {report['split']}: {report['people']} people, "
          f"{len(report['audios'])} audio clips; chance {n['chance']:.3f}")  # fmt: skip
    for name in KINDS:
        cells = [
            f"{mode} top1 {show(n[name][mode]['top1'])} real {n[name][mode]['real']['value']:.2f}, "
            f"of 12 {n[name][mode]['of_few']['value']:.2f} real {n[name][mode]['real_of_few']['value']:.2f}"
            for mode in ("raw", "centred")
        ]
        print(f"nearest {name:10s} " + " | ".join(cells))
    for group in ("strong", "weak"):
        s = report["slopes"]
        cells = [
            f"{k} {show(s[f'{k} {group}']['slope'])} real {s[f'{k} {group}']['real']['value']:.2f}"
            for k in ("level", "log_sd")
        ]
        print(f"slopes  {group:10s} " + " | ".join(cells) + f" | sd / prompt {s[f'sd ratio {group}']['value']:.2f}")
    for name, v in report["variation"].items():
        print(f"Dvt     {name:10s} {v['prediction']:.2f} prompt {v['prompt']:.2f}, ratio {show(v['ratio'])}, "
              f"Spearman {show(v['spearman'])} real {v['real']['value']:.2f}")  # fmt: skip
    e = report["emotions"]
    if e["rows"]:
        for name in ("strong", "brows eyes", "corners"):
            s = e["summary"]
            cells = [
                f"{k} {show(s[f'{name} made {k}'])} real {s[f'{name} real {k}']['value']:.2f}" for k in ("way", "cos")
            ]
            print(f"emotion {name:10s} " + ", ".join(cells) + f", n {len(e['rows'])}")
        cells = [
            f"{r['actor']} {r['emotion']} {r['corners true']:+.1f} -> {r['corners made']:+.1f}"
            for r in e["rows"]
            if r["emotion"] in ("happy", "sad")
        ]
        print("emotion corners, %IOD over neutral: " + ", ".join(cells))
    for name, figure in report["lips"].items():
        print(
            f"lips    {name} ({figure['n']} clips): "
            + ", ".join(f"{k} {show(v)}" for k, v in figure.items() if k != "n" and not k.startswith("sd "))
        )
        print(
            "        sd / true: "
            + ", ".join(f"{k[3:]} {v['value']:.2f}" for k, v in figure.items() if k.startswith("sd "))
        )
    print(f"{report['seconds']:.0f} s")


if __name__ == "__main__":
    main()

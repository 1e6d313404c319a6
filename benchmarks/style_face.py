"""Lips, leak, eyes and speed of predictions in a style: sections of `benchmarks/style.py`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import style_figures as figures
from style_clips import Clip, Models, encode, fill, speak, speak_part
from style_figures import Array, estimate
from style_transfer import Person

from vast_cli.core.arrays import Float32
from vast_cli.expression import predict
from vast_cli.face import FaceModel
from vast_cli.records import N_STRONG, Posteriorgram
from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.limiter import limit_expression
from vast_cli.training.corpora import audio_offset_basis

Report = dict[str, Any]

MEASURES = ("gap", "width", "jaw", "corners", "protrusion", "brows", "lids")
LEAK_AUDIOS = 2
MINUTE = 1500  # frames
STILL = 0.02  # mean change of weak components from frame to frame, in their units, below which a face stands still
PIXELS = 4.0  # a canonical unit, where meshes are placed in an image


# --- lips ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LipCase:
    """Frames of a clip whose lips are measured, and styles to say them in."""

    clip: Clip
    part: slice
    prompt: Array  # [233], mean expression of the prompt
    own: Float32  # style of other frames of the person: the prompt
    same_words: Float32  # style of the measured frames themselves
    stranger: Float32  # style of another clip (of another person, in talk)


def lips(clips: Sequence[Clip], models: Models, *, most: int, both_halves: bool) -> Report:
    """How the lips follow the audio, in the style of the clip's other half (talk) or of another clip (grid_s1).

    The clips whose constant offset of the audio is known are reported once more by themselves: the others count as in
    sync, but some are not.

    Args:
        clips: of the split.
        models: the models.
        most: clips of each set.
        both_halves: measure the first half as well as the second.
    """
    report: Report = {}
    for name in ("talk", "grid_s1"):
        chosen = [c for c in clips if c.row.set == name and c.in_sync and c.n >= 50]
        chosen = chosen[:: max(1, len(chosen) // most)][:most]
        if len(chosen) < 2:
            continue
        rows = []
        for clip in chosen:
            other = _other(clip, chosen)
            cases = _lip_cases(clip, other, models)[: 2 if both_halves else 1]
            measured = [_lip_figures(case, other, models) for case in cases]
            rows.append({key: _mean([m[key] for m in measured]) for key in measured[0]})
        report[name] = _pooled(rows)
        report[name]["rows"] = [{"clip": c.row.name} | row for c, row in zip(chosen, rows, strict=True)]
        known = [row for c, row in zip(chosen, rows, strict=True) if audio_offset_basis(c.row) is not None]
        if 1 < len(known) < len(rows):
            report[f"{name}, offset known"] = _pooled(known)
    return report


def _other(clip: Clip, clips: Sequence[Clip]) -> Clip:
    """The clip before, of another speaker if there is one."""
    k = next(k for k, c in enumerate(clips) if c is clip)
    before = [*clips[k + 1 :], *clips[:k]][::-1]
    return next((c for c in before if c.row.speaker != clip.row.speaker), before[0])


def _mean(values: Sequence[float]) -> float:
    usable = [v for v in values if np.isfinite(v)]
    return float(np.mean(usable)) if usable else float("nan")


def _pooled(rows: Sequence[dict[str, float]]) -> Report:
    """Means over clips, of closures over places, of spreads the median; intervals over clips."""
    report: Report = {}
    places = np.array([row["places"] for row in rows])
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        usable = np.isfinite(values)
        if name.startswith("closed"):
            report[name] = estimate(lambda v, w: float((v * w).sum() / w.sum()), values[usable], places[usable])
        elif name != "places":
            report[name] = estimate(np.median if name.startswith("sd ") else np.mean, values[usable])
    return report | {"n": len(rows), "places": float(places.sum())}


def _lip_cases(clip: Clip, other: Clip, models: Models) -> list[LipCase]:
    stranger = encode(other, models)
    if clip.row.set == "grid_s1":  # too short to be halved: another clip of the speaker is the prompt
        whole = slice(0, clip.n)
        return [LipCase(clip, whole, other.expression().mean(0), stranger, encode(clip, models), stranger)]
    first, second = (encode(clip, models, half) for half in clip.halves)
    means = [clip.expression(half).mean(0) for half in clip.halves]
    return [
        LipCase(clip, clip.halves[1], means[0], first, second, stranger),
        LipCase(clip, clip.halves[0], means[1], second, first, stranger),
    ]


def _lip_figures(case: LipCase, other: Clip, models: Models) -> dict[str, float]:
    """Figures of one case; `other` gives the audio that does not belong to it."""
    clip, part, measures = case.clip, case.part, models.measures
    assert clip.ppg is not None and clip.raw_ppg is not None and other.ppg is not None
    use = clip.track.valid[part]

    def say(ppg: Posteriorgram, style: Float32) -> Float32:
        return speak_part(ppg, style, models, part, clip.n)

    def gap(x: Float32) -> Array:
        return models.face.lip_gap(clip.track.identity, x)

    truth, own = clip.track.expression[part], say(clip.ppg, case.own)
    true_gap, own_gap, other_gap = gap(truth), gap(own), gap(say(other.ppg, case.own))
    width, true_width = own @ measures["width"], truth @ measures["width"]

    def r(series: Array, true: Array) -> float:
        return figures.correlation(series[use], true[use])

    own_r, same_words_r = r(own_gap, true_gap), r(gap(say(clip.ppg, case.same_words)), true_gap)
    row = {
        "r": own_r,
        "r raw audio": r(gap(say(clip.raw_ppg, case.own)), true_gap),
        "r best lag": figures.best_lag_correlation(own_gap, true_gap),
        "r other audio": r(other_gap, true_gap),
        "r other audio best lag": figures.best_lag_correlation(other_gap, true_gap),
        "r other style": r(gap(say(clip.ppg, case.stranger)), true_gap),
        "r same words": same_words_r,
        "r same words - r": same_words_r - own_r,
        "r width": r(width, true_width),
        "r width best lag": figures.best_lag_correlation(width, true_width),
    }
    row |= _closures(own_gap, true_gap, clip.ppg, part)
    row |= _lip_distances(own, truth, case.prompt, models)
    for name in MEASURES:
        row[f"sd {name}"] = figures.spread(own @ measures[name]) / max(figures.spread(truth @ measures[name]), 1e-6)
    return row


def _closures(own: Array, true: Array, ppg: Posteriorgram, part: slice) -> dict[str, float]:
    """Share of P, B, M with closed lips, predicted and true, and of random places as long."""
    spans = [p for p in figures.phone_frames(ppg.values) if p.start >= part.start and p.stop <= part.stop]
    places = [slice(p.start - part.start, p.stop - part.start) for p in spans]
    random = np.random.default_rng(0)
    lengths = [p.stop - p.start for p in places]
    starts = [int(s) for length in lengths for s in random.integers(0, max(1, len(own) - length), 3)]
    anywhere = [slice(s, s + n) for s, n in zip(starts, np.repeat(lengths, 3).tolist(), strict=True)]
    return {
        "places": len(places),
        "closed": figures.closed_share(own, places),
        "closed true": figures.closed_share(true, places),
        "closed anywhere": figures.closed_share(own, anywhere),
        "closed true anywhere": figures.closed_share(true, anywhere),
    }


def _lip_distances(own: Array, truth: Array, prompt: Array, models: Models) -> dict[str, float]:
    """LMD-m as a share of a face that stands still: at the truth's mean, at the prompt's mean; of motion only."""
    columns = [3 * v + k for v in models.lips for k in (0, 1)]
    basis = models.face.basis[:, columns]

    def points(x: Array) -> Array:
        return (x @ basis).reshape(len(x), -1, 2)

    own_points, true_points, still = points(own), points(truth), points(prompt[None])
    moving, true_moving = own_points - own_points.mean(0), true_points - true_points.mean(0)
    return {
        "LMD-m / static": figures.lip_distance(own_points, true_points, true_points.mean(0)),
        "LMD-m / static prompt": figures.lip_distance(own_points, true_points, still[0]),
        "LMD-m / static, motion": figures.lip_distance(moving, true_moving, np.zeros(true_moving.shape[1:])),
    }


# --- leak ------------------------------------------------------------------------------------------------------------


def leak(people: Sequence[Person], audios: Sequence[Clip], avatar: Avatar, models: Models) -> Report:
    """How far the neutral face that the tracker finds in the output is from the avatar's, rms in %IOD.

    `limited` is after the renderer's limiter, as in a video. `own` is the avatar in its own style, if this style model
    encoded it: what the estimate costs. `towards` is the share of the way to the prompt's face.
    """
    identity = avatar.subject.identity
    rows = []
    for person in people:
        x = np.concatenate(person.spoken[:LEAK_AUDIOS])
        found = neutral_of(x, identity, models.face)
        limited, _ = limit_expression(x, avatar.expression_range, max_exaggeration=1.0)
        way = figures.way((found - identity).ravel(), (person.clip.track.identity - identity).ravel())
        rows.append(
            {
                "clip": person.clip.row.name,
                "distance": figures.neutral_distance(found, identity, models.face.iod),
                "limited": figures.neutral_distance(
                    neutral_of(limited, identity, models.face), identity, models.face.iod
                ),
                "towards": way,
            }
        )
    report: Report = {"rows": rows}
    for name in ("distance", "limited"):
        values = [row[name] for row in rows]
        report[name] = {"median": estimate(np.median, values), "largest": max(values)}
    report["towards"] = estimate(np.median, [row["towards"] for row in rows])
    own = avatar.neutral_style(models.style.hash)
    if own is not None:
        ppgs = [a.ppg for a in audios[:LEAK_AUDIOS] if a.ppg is not None]
        x = np.concatenate([speak(ppg, own, models, 150) for ppg in ppgs])
        report["own"] = figures.neutral_distance(neutral_of(x, identity, models.face), identity, models.face.iod)
    return report


def neutral_of(expression: Float32, identity: Float32, face: FaceModel) -> Float32:
    """Neutral mesh that the tracker would find in a video of a person with these expressions: [478, 3]."""
    n = len(expression)
    still, there = np.zeros((n, 3), np.float32), np.full((n, 3), (128, 128, 0), np.float32)
    return face.neutral(face.place(face.decode(identity, expression), still, np.full(n, PIXELS, np.float32), there))


# --- eyes ------------------------------------------------------------------------------------------------------------


def eyes(
    people: Sequence[Person], audios: Sequence[Clip], identity: Float32, models: Models, *, prompts: int
) -> Report:
    """Blinks over a minute, spread of brows, lids and gaze, stillness; two seeds.

    Args:
        people: the spread is over all of them.
        audios: joined to a minute of speech.
        identity: of the face that is blinking, [478, 3].
        models: the models.
        prompts: how many speak for a minute: those with the longest clips, whose own rate is known best.
    """
    ppgs = [a.ppg for a in audios if a.ppg is not None]
    minute = fill(replace(ppgs[0], values=np.concatenate([p.values for p in ppgs])), MINUTE)
    longest = sorted(people, key=lambda p: -p.clip.n)[:prompts]
    units = figures.component_units(models.face.sd)[N_STRONG : N_STRONG + 12]
    rows = []
    for person in longest:
        x = speak(minute, person.vector, models, MINUTE)
        change = np.abs(np.diff(x[:, N_STRONG : N_STRONG + 12] / units, axis=0)).mean(1)
        rows.append(
            {
                "clip": person.clip.row.name,
                "seconds": person.clip.n / 25,
                "blinks": figures.blinks(models.face, identity, x),
                "blinks prompt": figures.blinks(models.face, person.clip.track.identity, person.clip.expression()),
                "longest still s": figures.longest_run(change < STILL) / 25,
            }
        )
    made, prompt = (np.array([row[k] for row in rows]) for k in ("blinks", "blinks prompt"))
    factor = np.exp(np.abs(np.log((made + 1) / (prompt + 1))))
    report: Report = {
        "rows": rows,
        "blinks": {"least": float(made.min()), "median": float(np.median(made)), "most": float(made.max())},
        "blinks prompt": {
            "least": float(prompt.min()),
            "median": float(np.median(prompt)),
            "most": float(prompt.max()),
        },
        "blinks factor": estimate(np.median, factor),
        "blinks within 1.5": float((factor <= 1.5).mean()),
        "longest still s": max(row["longest still s"] for row in rows),
        "seeds": _seeds(longest[0], minute, models),
    }
    for name in ("brows", "lids", "gaze_x", "gaze_y"):
        direction = models.measures[name]
        own = np.array([np.mean([figures.spread(x @ direction) for x in p.spoken]) for p in people])
        true = np.array([figures.spread(p.prompt @ direction) for p in people])
        report[f"sd {name}"] = estimate(np.median, own / true.clip(1e-6))
    return report


def _seeds(person: Person, minute: Posteriorgram, models: Models) -> dict[str, float]:
    """r of two predictions with different seeds: near 0 means that the seed moves them, 1 that it does nothing."""
    first, second = (speak(minute, person.vector, models, 500, seed=seed) for seed in (1, 2))
    return {
        name: figures.correlation(first @ models.measures[name], second @ models.measures[name])
        for name in ("brows", "lids", "gaze_x", "gap")
    }


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(people: Sequence[Person], audios: Sequence[Clip], models: Models, *, minutes: int) -> Report:
    """CPU seconds to encode a prompt of 10 s, frames predicted in one, and growth of memory over long audio.

    Args:
        people: whose prompts are encoded; the longest clip is cut or is shorter than 10 s.
        audios: repeated to the length.
        models: the models.
        minutes: of audio that memory is watched over; 0 for none.
    """
    clip = max((p.clip for p in people), key=lambda c: c.n)
    track = clip.track.at_frames(slice(0, min(clip.n, 250)))
    taken = []
    for _ in range(5):
        started = time.process_time()
        encode(replace(clip, track=track, raw_ppg=None), models)
        taken.append(time.process_time() - started)
    ppg, vector = audios[0].ppg, people[0].vector
    assert ppg is not None
    started = time.process_time()
    speak(ppg, vector, models, 500)
    report: Report = {
        "encode s": float(np.median(taken)),
        "prompt s": track.n_frames / 25,
        "frames/s": 500 / (time.process_time() - started),
    }
    if minutes:
        resident = [_resident() for _ in predict(fill(ppg, minutes * MINUTE), vector, models.expression, chunk=500)]
        report["memory MiB"] = {"after 20 s": resident[0], "at the end": resident[-1], "minutes": minutes}
    return report


def _resident() -> float:
    """Memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20

"""Does the style arrive? Nearest prompt, slopes, variation, emotions: sections of `benchmarks/style.py`.

All compare what was predicted for other people's audio with the second half of the prompt's clip or with the prompt.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import style_figures as figures
import torch
from scipy.stats import spearmanr
from style_clips import Clip, Models, encode, speak
from style_figures import Array, Moments, estimate
from style_judge import Judge

from vast_cli.core.arrays import Float32
from vast_cli.records import N_STRONG

Report = dict[str, Any]

KINDS: dict[str, Callable[[Moments], Array]] = {
    "mean+sd": lambda m: np.concatenate([m.level, m.log_sd]),
    "mean": lambda m: m.level,
    "sd": lambda m: m.log_sd,
    "sd strong": lambda m: m.log_sd[figures.STRONG],
}
PARTS = {"X": slice(None), "X^st": slice(0, N_STRONG), "X^wk": slice(N_STRONG, None)}
BASE_EMOTION = "neutral"
EMOTION_FRAMES = 120
ACTED_LEAST = 30  # frames of face in each half
UNTRAINED = 3  # encoders


@dataclass(frozen=True)
class Person:
    """A prompt, its judge, and what was predicted in the prompt's style."""

    clip: Clip
    vector: Float32  # style of the first half
    audios: list[str]  # of other people
    spoken: list[Float32]  # [n, 233] for each of them

    @property
    def prompt(self) -> Float32:
        return self.clip.expression(self.clip.halves[0])

    @property
    def judge(self) -> Float32:
        return self.clip.expression(self.clip.halves[1])


def speak_as(clip: Clip, audios: Sequence[Clip], models: Models, n_frames: int) -> Person:
    """The audio of other people in the style of a clip's first half."""
    vector = encode(clip, models, clip.halves[0])
    others = [a for a in audios if a.row.speaker != clip.row.speaker]
    spoken = [speak(a.ppg, vector, models, n_frames) for a in others if a.ppg is not None]
    return Person(clip, vector, [a.row.name for a in others], spoken)


# --- nearest ---------------------------------------------------------------------------------------------------------


def nearest(people: Sequence[Person], models: Models) -> Report:
    """Top-1 among all people, by level and spread."""
    sd = models.face.sd
    made = [figures.moments(x, sd) for p in people for x in p.spoken]
    prompts = [figures.moments(p.prompt, sd) for p in people]
    judges = [figures.moments(p.judge, sd) for p in people]
    report: Report = {"n": len(people), "chance": 1 / len(people)}
    for name, pick in KINDS.items():
        units = np.stack([pick(m) for m in judges]).std(0) + 1e-3
        queries, real, references = (np.stack([pick(m) for m in group]) / units for group in (made, prompts, judges))
        report[name] = line_up(queries, owners(people), real, references)
    return report


def judged(people: Sequence[Person], judges: dict[str, Judge], models: Models) -> Report:
    """Top-1 among all people, by the outside judges; and how far a judge hears the audio instead of the style."""
    report: Report = {}
    audios = np.array([name for p in people for name in p.audios])
    for name, judge in judges.items():

        def see(expressions: Sequence[Float32], judge: Judge = judge) -> Array:
            return np.stack([judge.vector(x, models.face.sd) for x in expressions])

        made = see([x for p in people for x in p.spoken])
        report[name] = line_up(made, owners(people), see([p.prompt for p in people]), see([p.judge for p in people]))
        similarity = made @ made.T
        similarity[owners(people)[:, None] == owners(people)[None]] = -np.inf
        same = audios[similarity.argmax(1)] == audios
        report[name]["same audio"] = {"value": float(same.mean()), "chance": 1 / len(set(audios))}
    return report


def owners(people: Sequence[Person]) -> figures.Ints:
    """Index of the person of each prediction."""
    return np.array([k for k, p in enumerate(people) for _ in p.spoken])


def line_up(queries: Array, owner: figures.Ints, real: Array, references: Array) -> Report:
    """Top-1 of predictions [q, d] and of real halves [k, d] among references [k, d], raw and centred."""
    report: Report = {}
    n = len(references)
    for name, centred in (("raw", False), ("centred", True)):
        rank = figures.ranks(queries, owner, references, centred=centred)
        rank_real = figures.ranks(real, np.arange(n), references, centred=centred)
        report[name] = {
            "top1": estimate(np.mean, figures.by_owner((rank == 0).astype(float), owner)),
            "real": estimate(np.mean, (rank_real == 0).astype(float)),
            "of_few": estimate(np.mean, figures.by_owner(figures.top1_of(rank, n), owner)),
            "real_of_few": estimate(np.mean, figures.top1_of(rank_real, n)),
        }
    return report


# --- slopes and variation --------------------------------------------------------------------------------------------


def slopes(people: Sequence[Person], models: Models) -> Report:
    """How far level and log spread of the predictions follow the prompt, and the real other half does."""
    sd = models.face.sd

    def stack(kind: str, of: Callable[[Person], Sequence[Float32]]) -> Array:
        return np.stack([np.mean([getattr(figures.moments(x, sd), kind) for x in of(p)], 0) for p in people])

    report: Report = {}
    for kind in ("level", "log_sd"):
        made, prompt, judge = (stack(kind, of) for of in (_spoken, _prompt, _judge))
        for group, columns in (("strong", figures.STRONG), ("weak", figures.WEAK)):
            m, p, j = made[:, columns], prompt[:, columns], judge[:, columns]
            report[f"{kind} {group}"] = {
                "slope": estimate(figures.slope, m, p),
                "real": estimate(figures.slope, j, p),
                "on_judge": estimate(figures.slope, m, j),
            }
            if kind == "log_sd":
                report[f"sd ratio {group}"] = {
                    "made": estimate(_median_ratio, np.exp(m), np.exp(p)),
                    "real": estimate(_median_ratio, np.exp(j), np.exp(p)),
                }
    return report


def slopes_of_measures(people: Sequence[Person], models: Models) -> Report:
    """The same for single measures of the face, in %IOD: corners, brows, lids ..."""
    report: Report = {}
    for name, direction in models.measures.items():
        row: Report = {}
        for kind, statistic in (("level", _level), ("log_sd", _log_sd)):
            made, prompt, judge = (
                np.array([np.mean([statistic(x @ direction) for x in of(p)]) for p in people])[:, None]
                for of in (_spoken, _prompt, _judge)
            )
            row[kind] = {"slope": estimate(figures.slope, made, prompt), "real": estimate(figures.slope, judge, prompt)}
            if kind == "log_sd":
                row["sd ratio"] = estimate(_median_ratio, np.exp(made), np.exp(prompt))
        report[name] = row
    return report


def variation(people: Sequence[Person]) -> Report:
    """Dvt of predictions over that of the prompts, mesh units."""
    report: Report = {}
    for name, columns in PARTS.items():
        made, prompt, judge = (
            np.array([np.mean([figures.variation(x[:, columns]) for x in of(p)]) for p in people])
            for of in (_spoken, _prompt, _judge)
        )
        report[name] = {
            "prediction": float(made.mean()),
            "prompt": float(prompt.mean()),
            "ratio": estimate(_median_ratio, made, prompt),
            "spearman": estimate(_spearman, made, prompt),
            "real": estimate(_spearman, judge, prompt),
        }
    return report


def _spoken(person: Person) -> Sequence[Float32]:
    return person.spoken


def _prompt(person: Person) -> Sequence[Float32]:
    return [person.prompt]


def _judge(person: Person) -> Sequence[Float32]:
    return [person.judge]


def _level(series: Array) -> float:
    return float(series.mean())


def _log_sd(series: Array) -> float:
    return float(np.log(figures.low_pass(series[:, None]).std() + 1e-3))


def _median_ratio(a: Array, b: Array) -> float:
    return float(np.median(a / b))


def _spearman(a: Array, b: Array) -> float:
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return float(spearmanr(a, b)[0])


# --- emotions --------------------------------------------------------------------------------------------------------


def emotions(clips: Sequence[Clip], audios: Sequence[Clip], models: Models) -> Report:
    """Changes from neutral to an acted emotion of one person: what is predicted, against that of the second halves.

    An actor without a neutral clip is compared with another emotion, named in the row.
    """
    ppgs = [a.ppg for a in audios if a.ppg is not None]
    measures = models.measures
    brows_eyes = np.stack([measures[k] for k in ("brow_inner", "brow_outer", "brow_distance", "lids")], 1)
    groups: dict[str, Callable[[Array], Array]] = {
        "strong": lambda x: x[:N_STRONG],
        "brows eyes": lambda x: x @ brows_eyes,
        "corners": lambda x: x @ measures["corners"][:, None],
    }
    rows = []
    for actor, by_emotion in _actors(clips).items():
        base = BASE_EMOTION if BASE_EMOTION in by_emotion else sorted(set(by_emotion) - {"happy"})[0]
        made: dict[str, Array] = {}
        for emotion, clip in by_emotion.items():
            vector = encode(clip, models, clip.halves[0])
            made[emotion] = np.mean([speak(ppg, vector, models, EMOTION_FRAMES).mean(0) for ppg in ppgs], 0)
        first, second = ({e: clip.expression(clip.halves[k]).mean(0) for e, clip in by_emotion.items()} for k in (0, 1))
        for emotion in sorted(set(by_emotion) - {base}):
            row: Report = {"actor": actor, "emotion": emotion, "base": base}
            for name, pick in groups.items():
                truth = pick(second[emotion] - second[base])
                for source, means in (("made", made), ("real", first)):
                    change = pick(means[emotion] - means[base])
                    row[f"{name} {source} way"] = figures.way(change, truth)
                    row[f"{name} {source} cos"] = figures.cosine(change, truth)
                    row[f"{name} {source}"], row[f"{name} true"] = change.tolist(), truth.tolist()
            rows.append(row)
    summary = {
        f"{name} {source} {figure}": estimate(statistic, [row[f"{name} {source} {figure}"] for row in rows])
        for name in groups
        for figure, statistic in (("way", np.median), ("cos", np.mean))
        for source in ("made", "real")
    }
    return {"summary": summary, "rows": rows}


def _actors(clips: Sequence[Clip]) -> dict[str, dict[str, Clip]]:
    """The longest clip of each emotion of actors with several."""
    actors: dict[str, dict[str, Clip]] = {}
    for clip in sorted(clips, key=lambda c: -c.n):
        if clip.row.set == "mead" and clip.row.emotion and _shown(clip):
            actors.setdefault(clip.row.speaker, {}).setdefault(clip.row.emotion, clip)
    return {actor: by_emotion for actor, by_emotion in actors.items() if len(by_emotion) > 1}


def _shown(clip: Clip) -> bool:
    return min(int(clip.track.valid[half].sum()) for half in clip.halves) >= ACTED_LEAST


def purity(clips: Sequence[Clip], names: set[str], models: Models) -> Report:
    """How often the nearest clip of another person shows the same emotion: by s, by mean + sd, by untrained encoders.

    Args:
        clips: acted clips of all people.
        names: clips that are asked for, the unseen ones.
        models: the models.
    """
    clips = [clip for clip in clips if _shown(clip)]
    asked = np.array([clip.row.name in names for clip in clips])
    emotions, people = [clip.row.emotion for clip in clips], [clip.row.speaker for clip in clips]

    def score(vectors: Array) -> dict[str, Any]:
        spread = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6)
        return {
            unit: estimate(np.mean, figures.purity(v, emotions, people, asked))
            for unit, v in (("plain", vectors), ("standardised", spread))
        }

    report: Report = {"clips": len(clips), "s": score(np.stack([encode(clip, models) for clip in clips]))}
    moments = [figures.moments(clip.expression(), models.face.sd) for clip in clips]
    report["mean+sd"] = score(np.stack([KINDS["mean+sd"](m) for m in moments]))
    for seed in range(UNTRAINED):
        report[f"untrained {seed}"] = score(np.stack([encode(clip, _untrained(models, seed)) for clip in clips]))
    random = np.random.default_rng(0)
    drawn = [figures.purity(random.standard_normal((len(clips), 8)), emotions, people, asked) for _ in range(100)]
    chance = float(np.mean(drawn)) if len(drawn[0]) else float("nan")
    return report | {"chance": chance}


def _untrained(models: Models, seed: int) -> Models:
    """The models with new random weights in the encoder."""
    torch.manual_seed(seed)
    encoder = copy.deepcopy(models.style.encoder)
    for module in encoder.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return replace(models, style=replace(models.style, encoder=encoder))

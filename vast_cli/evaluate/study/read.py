"""`vast study read`: answers of people to opinion scores with intervals that hold, paired tests and agreement."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli.evaluate import statistics
from vast_cli.evaluate.study.answers import Judge, Key, read_answers, read_key
from vast_cli.evaluate.study.design import Item
from vast_cli.evaluate.study.exclude import reasons
from vast_cli.evaluate.study.questions import ASPECTS, Aspect, Mode

SCHEMA = "vast.study/1"
ALPHA = 0.05  # of Holm's adjusted p

Ratings = NDArray[np.float64]  # [judges, sentences]


@dataclass(frozen=True)
class _Comparison:
    """Two methods under one question: the difference of ratings, or the share of choices."""

    aspect: Aspect
    a: str
    b: str
    values: Ratings


def read_study(folder: Path, paths: Sequence[Path], *, seed: int = 0) -> dict[str, Any]:
    """The result of a study as one document.

    Means are over judges of each judge's mean. Intervals are a bootstrap over judges and sentences. Tests flip the
    signs of each judge's mean difference, which asks of a t test that nothing be normal; Holm adjusts over all tests.

    Args:
        folder: of the study, with its key.
        paths: files that judges sent back; without any every figure is null, `no_judges`.
        seed: of the bootstrap and the flips.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`, `vast_record_version`.
    """
    key = read_key(folder)
    judges = read_answers(key, paths)
    left_out = {judge.number: why for judge in judges if (why := reasons(key, judge))}
    kept = [judge for judge in judges if judge.number not in left_out]
    grid = _grid(key, kept)
    scores = _scores(key, grid, seed=seed) if key.mode == "rating" else _not_asked(key)
    n_answers = len(key.items) * len(kept)
    return {
        "schema": SCHEMA,
        "study": key.study,
        "mode": key.mode,
        "seed": seed,
        "judges": {
            "given": len(judges),
            "kept": len(kept),
            "left_out": [
                {"judge": judge.number, "file": str(judge.path), "reasons": left_out[judge.number]}
                for judge in judges
                if judge.number in left_out
            ],
        },
        "rule": list(key.rule),
        "sentences": len({item.sentence for item in key.items.values()}),
        "plays_per_item": round(sum(judge.plays for judge in kept) / n_answers, 3) if n_answers else None,
        "methods": scores,
        "comparisons": _compare(key.mode, grid, key.methods, seed=seed),
        "agreement": {f"mos_{aspect}": _agreement(key, kept, aspect) for aspect in ASPECTS},
    }


def _grid(key: Key, judges: Sequence[Judge]) -> dict[tuple[Aspect, str], Ratings]:
    """Ratings by question and method; of pairs, by question and `a|b`: 1 where a was chosen, else 0."""
    main = [item for item in key.items.values() if item.kind == "main"]
    sentences = {name: k for k, name in enumerate(dict.fromkeys(item.sentence for item in main))}
    grid: dict[tuple[Aspect, str], Ratings] = {}
    for aspect in ASPECTS:
        for item in main:
            values = grid.setdefault((aspect, _name(key, item)), np.full((len(judges), len(sentences)), np.nan))
            for row, judge in enumerate(judges):
                given = judge.answers[item.token][aspect]
                values[row, sentences[item.sentence]] = (
                    float(given) if key.mode == "rating" else float(given == item.clips[0])
                )
    return grid


def _name(key: Key, item: Item) -> str:
    return "|".join(key.clips[clip].method for clip in item.clips)


def _scores(key: Key, grid: dict[tuple[Aspect, str], Ratings], *, seed: int) -> dict[str, Any]:
    return {
        method: {f"mos_{aspect}": _score(grid[aspect, method], seed=seed) for aspect in ASPECTS}
        for method in key.methods
    }


def _score(ratings: Ratings, *, seed: int) -> dict[str, Any]:
    value = statistics.judge_mean(ratings)
    ci95 = statistics.two_way_interval(ratings, seed=seed) if value is not None else None
    reason = "no_judges" if value is None else "too_few_clips" if ci95 is None else None
    return {"value": value, "ci95": ci95, "n": len(ratings), "unit": "1-5", "better": "higher", "reason": reason}


def _not_asked(key: Key) -> dict[str, Any]:
    nothing = {"value": None, "ci95": None, "n": 0, "unit": "1-5", "better": "higher", "reason": "not_asked"}
    return {method: {f"mos_{aspect}": dict(nothing) for aspect in ASPECTS} for method in key.methods}


def _compare(
    mode: Mode, grid: dict[tuple[Aspect, str], Ratings], methods: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Every two methods under every question: a - b in points, or the share that prefers a."""
    compared = []
    for aspect in ASPECTS:
        for a, b in combinations(methods, 2):
            values = grid[aspect, a] - grid[aspect, b] if mode == "rating" else grid[aspect, f"{a}|{b}"] - 0.5
            compared.append(_Comparison(aspect, a, b, values))
    if not compared or not len(compared[0].values):
        return []
    p = [statistics.sign_flip(one.values.mean(axis=1), seed=seed) for one in compared]
    return [
        _compared(one, mode, p=raw, adjusted=adjusted, seed=seed)
        for one, raw, adjusted in zip(compared, p, statistics.holm(p), strict=True)
    ]


def _compared(one: _Comparison, mode: Mode, *, p: float, adjusted: float, seed: int) -> dict[str, Any]:
    mean = statistics.judge_mean(one.values)
    ci95 = statistics.two_way_interval(one.values, seed=seed)
    assert mean is not None
    decided = ci95 is not None and not ci95[0] <= 0 <= ci95[1] and adjusted < ALPHA
    zero = 0.0 if mode == "rating" else 0.5
    return {
        "question": f"mos_{one.aspect}" if mode == "rating" else f"choice_{one.aspect}",
        "a": one.a,
        "b": one.b,
        "difference" if mode == "rating" else "share_a": mean + zero,
        "ci95": (ci95[0] + zero, ci95[1] + zero) if ci95 is not None else None,
        "p": p,
        "p_holm": adjusted,
        "n": len(one.values),
        "better": (one.a if mean > 0 else one.b) if decided else None,
    }


def _agreement(key: Key, judges: Sequence[Judge], aspect: Aspect) -> float | None:
    """Krippendorff's alpha over all videos of the study, checks apart."""
    main = [item for item in key.items.values() if item.kind == "main"]
    given = [[judge.answers[item.token][aspect] for item in main] for judge in judges]
    if not given:
        return None
    if key.mode == "pairwise":
        return statistics.krippendorff_alpha(
            [[float(value == item.clips[0]) for value, item in zip(row, main, strict=True)] for row in given]
        )
    return statistics.krippendorff_alpha([[float(value) for value in row] for row in given])

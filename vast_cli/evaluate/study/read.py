"""Evaluates the answers of a study (`vast study read`): opinion scores with intervals, paired tests, agreement."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli.evaluate import statistics
from vast_cli.evaluate.study.answers import RaterAnswers, StudyKey, read_answers, read_key
from vast_cli.evaluate.study.design import StudyItem
from vast_cli.evaluate.study.exclude import exclusion_reasons
from vast_cli.evaluate.study.questions import ASPECTS, Aspect, Mode

SCHEMA = "vast.study/1"
ALPHA = 0.05  # of Holm's adjusted p

Ratings = NDArray[np.float64]  # [raters, sentences]
RatingGrid = dict[tuple[Aspect, str], Ratings]  # by question and method, or `a|b` in pairwise studies


@dataclass(frozen=True)
class _MethodComparison:
    """Two methods under one question: the differences of ratings, or of choices from one half."""

    aspect: Aspect
    a: str
    b: str
    values: Ratings


def read_study(folder: Path, paths: Sequence[Path], *, seed: int = 0) -> dict[str, Any]:
    """The result of a study as one document.

    Means are over raters of each rater's mean. Intervals are a bootstrap over raters and sentences. Tests flip the
    signs of each rater's mean difference and so, unlike a t test, assume no normal distribution; Holm adjusts over all
    tests.

    Args:
        folder: of the study, with its key.
        paths: files that raters sent back; without any, every figure is null with the reason `no_judges`.
        seed: of the bootstrap and the flips.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`, `vast_record_version`.
    """
    key = read_key(folder)
    raters = read_answers(key, paths)
    left_out = {rater.number: reasons for rater in raters if (reasons := exclusion_reasons(key, rater))}
    kept = [rater for rater in raters if rater.number not in left_out]
    grid = _rating_grid(key, kept)
    scores = _scores(key, grid, seed=seed) if key.mode == "rating" else _missing_scores(key)
    n_answers = len(key.items) * len(kept)
    return {
        "schema": SCHEMA,
        "study": key.study,
        "mode": key.mode,
        "seed": seed,
        "judges": {
            "given": len(raters),
            "kept": len(kept),
            "left_out": [
                {"judge": rater.number, "file": str(rater.path), "reasons": left_out[rater.number]}
                for rater in raters
                if rater.number in left_out
            ],
        },
        "rule": list(key.rule),
        "sentences": len({item.sentence for item in key.items.values()}),
        "plays_per_item": round(sum(rater.plays for rater in kept) / n_answers, 3) if n_answers else None,
        "methods": scores,
        "comparisons": _compare_methods(key.mode, grid, key.methods, seed=seed),
        "agreement": {f"mos_{aspect}": _agreement(key, kept, aspect) for aspect in ASPECTS},
    }


def _rating_grid(key: StudyKey, raters: Sequence[RaterAnswers]) -> RatingGrid:
    """The ratings of the main items; in pairwise studies 1 where the first was chosen, else 0."""
    main = [item for item in key.items.values() if item.kind == "main"]
    sentences = {name: k for k, name in enumerate(dict.fromkeys(item.sentence for item in main))}
    grid: RatingGrid = {}
    for aspect in ASPECTS:
        for item in main:
            values = grid.setdefault((aspect, _condition(key, item)), np.full((len(raters), len(sentences)), np.nan))
            for row, rater in enumerate(raters):
                choice = rater.answers[item.token][aspect]
                values[row, sentences[item.sentence]] = (
                    float(choice) if key.mode == "rating" else float(choice == item.clips[0])
                )
    return grid


def _condition(key: StudyKey, item: StudyItem) -> str:
    return "|".join(key.clips[clip].method for clip in item.clips)


def _scores(key: StudyKey, grid: RatingGrid, *, seed: int) -> dict[str, Any]:
    return {
        method: {f"mos_{aspect}": _score(grid[aspect, method], seed=seed) for aspect in ASPECTS}
        for method in key.methods
    }


def _score(ratings: Ratings, *, seed: int) -> dict[str, Any]:
    value = statistics.rater_mean(ratings)
    ci95 = statistics.two_way_interval(ratings, seed=seed) if value is not None else None
    reason = "no_judges" if value is None else "too_few_clips" if ci95 is None else None
    return {"value": value, "ci95": ci95, "n": len(ratings), "unit": "1-5", "better": "higher", "reason": reason}


def _missing_scores(key: StudyKey) -> dict[str, Any]:
    missing = {"value": None, "ci95": None, "n": 0, "unit": "1-5", "better": "higher", "reason": "not_asked"}
    return {method: {f"mos_{aspect}": dict(missing) for aspect in ASPECTS} for method in key.methods}


def _compare_methods(mode: Mode, grid: RatingGrid, methods: Sequence[str], *, seed: int) -> list[dict[str, Any]]:
    """Every two methods under every question: a - b in points, or the share that prefers a."""
    comparisons = []
    for aspect in ASPECTS:
        for a, b in combinations(methods, 2):
            values = grid[aspect, a] - grid[aspect, b] if mode == "rating" else grid[aspect, f"{a}|{b}"] - 0.5
            comparisons.append(_MethodComparison(aspect, a, b, values))
    if not comparisons or not len(comparisons[0].values):
        return []
    p = [statistics.sign_flip(comparison.values.mean(axis=1), seed=seed) for comparison in comparisons]
    return [
        _comparison_entry(comparison, mode, p=raw, adjusted=adjusted, seed=seed)
        for comparison, raw, adjusted in zip(comparisons, p, statistics.holm(p), strict=True)
    ]


def _comparison_entry(
    comparison: _MethodComparison, mode: Mode, *, p: float, adjusted: float, seed: int
) -> dict[str, Any]:
    mean = statistics.rater_mean(comparison.values)
    ci95 = statistics.two_way_interval(comparison.values, seed=seed)
    assert mean is not None
    decided = ci95 is not None and not ci95[0] <= 0 <= ci95[1] and adjusted < ALPHA
    zero = 0.0 if mode == "rating" else 0.5
    return {
        "question": f"mos_{comparison.aspect}" if mode == "rating" else f"choice_{comparison.aspect}",
        "a": comparison.a,
        "b": comparison.b,
        "difference" if mode == "rating" else "share_a": mean + zero,
        "ci95": (ci95[0] + zero, ci95[1] + zero) if ci95 is not None else None,
        "p": p,
        "p_holm": adjusted,
        "n": len(comparison.values),
        "better": (comparison.a if mean > 0 else comparison.b) if decided else None,
    }


def _agreement(key: StudyKey, raters: Sequence[RaterAnswers], aspect: Aspect) -> float | None:
    """Krippendorff's alpha over all videos of the study except checks."""
    main = [item for item in key.items.values() if item.kind == "main"]
    choices = [[rater.answers[item.token][aspect] for item in main] for rater in raters]
    if not choices:
        return None
    if key.mode == "pairwise":
        return statistics.krippendorff_alpha(
            [[float(value == item.clips[0]) for value, item in zip(row, main, strict=True)] for row in choices]
        )
    return statistics.krippendorff_alpha([[float(value) for value in row] for row in choices])

"""Decides which raters are left out, and why, by the rule that was fixed when the study was made."""

from statistics import fmean

from vast_cli.evaluate.study.answers import RaterAnswers, StudyKey
from vast_cli.evaluate.study.design import StudyItem
from vast_cli.evaluate.study.questions import ASPECTS, FLOOR, MAX_FAILED, MAX_REPEAT_STEP, MISMATCH_FAILS_FROM, TRUTH


def exclusion_reasons(key: StudyKey, rater: RaterAnswers) -> list[str]:
    """Why the answers of a rater do not count; empty if they do."""
    answered = sum(len(rater.answers.get(token, {})) for token in key.items)
    total = len(key.items) * len(ASPECTS)
    if answered < total:
        return [f"incomplete: {answered} of {total} answers"]
    reasons = []
    checks = [item for item in key.items.values() if item.kind != "main"]
    failed = sum(_fails(key, rater, item) for item in checks)
    if failed > MAX_FAILED:
        reasons.append(f"failed {failed} of {len(checks)} checks")
    if key.mode == "rating":
        step = max(_repeat_step(rater, item) for item in checks if item.kind == "repeat")
        if step > MAX_REPEAT_STEP:
            reasons.append(f"{step} points apart on the repeated video")
    if {TRUTH, FLOOR} <= set(key.methods):
        reasons += _truth_below_floor(key, rater)
    return reasons


def _fails(key: StudyKey, rater: RaterAnswers, item: StudyItem) -> bool:
    answers = rater.answers[item.token]
    if item.kind == "button":
        return any(str(value) != item.answer for value in answers.values())
    if item.kind == "other_audio":
        return answers["sync"] != item.answer if key.mode == "pairwise" else int(answers["sync"]) >= MISMATCH_FAILS_FROM
    if key.mode == "pairwise":
        first = rater.answers[item.of or ""]
        return sum(answers[aspect] != first[aspect] for aspect in ASPECTS) > len(ASPECTS) / 2
    return False  # `_repeat_step` checks repeated ratings


def _repeat_step(rater: RaterAnswers, item: StudyItem) -> int:
    repeated, first = rater.answers[item.token], rater.answers[item.of or ""]
    return max(abs(int(repeated[aspect]) - int(first[aspect])) for aspect in ASPECTS)


def _truth_below_floor(key: StudyKey, rater: RaterAnswers) -> list[str]:
    main = [item for item in key.items.values() if item.kind == "main"]
    if key.mode == "pairwise":
        chosen = [
            key.clips[str(value)].method
            for item in main
            if {key.clips[clip].method for clip in item.clips} == {TRUTH, FLOOR}
            for value in rater.answers[item.token].values()
        ]
        share = chosen.count(FLOOR) / len(chosen)
        return [f"prefers the floor to the truth in {100 * share:.0f} %"] if share > 0.5 else []
    means = {
        method: fmean(
            int(value)
            for item in main
            if key.clips[item.clips[0]].method == method
            for value in rater.answers[item.token].values()
        )
        for method in (TRUTH, FLOOR)
    }
    if means[TRUTH] < means[FLOOR]:
        return [f"rates the truth {means[TRUTH]:.2f}, below the floor's {means[FLOOR]:.2f}"]
    return []

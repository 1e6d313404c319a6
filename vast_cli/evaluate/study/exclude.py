"""Which judges are left out, and why: the rule was fixed when the study was made."""

from statistics import fmean

from vast_cli.evaluate.study.answers import Judge, Key
from vast_cli.evaluate.study.design import Item
from vast_cli.evaluate.study.questions import ASPECTS, DEAF_FROM, FLOOR, MAX_FAILED, MAX_REPEAT_STEP, TRUTH


def reasons(key: Key, judge: Judge) -> list[str]:
    """Why the answers of `judge` do not count; empty if they do."""
    answered = sum(len(judge.answers.get(token, {})) for token in key.items)
    wanted = len(key.items) * len(ASPECTS)
    if answered < wanted:
        return [f"incomplete: {answered} of {wanted} answers"]
    found = []
    checks = [item for item in key.items.values() if item.kind != "main"]
    failed = sum(_fails(key, judge, item) for item in checks)
    if failed > MAX_FAILED:
        found.append(f"failed {failed} of {len(checks)} checks")
    if key.mode == "rating":
        step = max(_repeat_step(judge, item) for item in checks if item.kind == "repeat")
        if step > MAX_REPEAT_STEP:
            found.append(f"{step} points apart on the repeated video")
    if {TRUTH, FLOOR} <= set(key.methods):
        found += _truth_below_floor(key, judge)
    return found


def _fails(key: Key, judge: Judge, item: Item) -> bool:
    given = judge.answers[item.token]
    if item.kind == "button":
        return any(str(value) != item.answer for value in given.values())
    if item.kind == "other_audio":
        return given["sync"] != item.answer if key.mode == "pairwise" else int(given["sync"]) >= DEAF_FROM
    if key.mode == "pairwise":
        before = judge.answers[item.of or ""]
        return sum(given[aspect] != before[aspect] for aspect in ASPECTS) > len(ASPECTS) / 2
    return False  # a repeated rating has a limit of its own


def _repeat_step(judge: Judge, item: Item) -> int:
    now, before = judge.answers[item.token], judge.answers[item.of or ""]
    return max(abs(int(now[aspect]) - int(before[aspect])) for aspect in ASPECTS)


def _truth_below_floor(key: Key, judge: Judge) -> list[str]:
    main = [item for item in key.items.values() if item.kind == "main"]
    if key.mode == "pairwise":
        chosen = [
            key.clips[str(value)].method
            for item in main
            if {key.clips[clip].method for clip in item.clips} == {TRUTH, FLOOR}
            for value in judge.answers[item.token].values()
        ]
        share = chosen.count(FLOOR) / len(chosen)
        return [f"prefers the floor to the truth in {100 * share:.0f} %"] if share > 0.5 else []
    means = {
        method: fmean(
            int(value)
            for item in main
            if key.clips[item.clips[0]].method == method
            for value in judge.answers[item.token].values()
        )
        for method in (TRUTH, FLOOR)
    }
    if means[TRUTH] < means[FLOOR]:
        return [f"rates the truth {means[TRUTH]:.2f}, below the floor's {means[FLOOR]:.2f}"]
    return []

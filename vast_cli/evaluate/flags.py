"""Marks the figures of a clip that a producer should look at, by the table of limits; marks are no verdicts."""

from collections.abc import Mapping

from vast_cli.core.limits import LIMITS, Limit
from vast_cli.evaluate.measures.spec import Reading


def flags(readings: Mapping[str, Reading]) -> list[dict[str, str]]:
    """A mark for each measure beyond its limit, failures first.

    Limits of the ratio to the avatar's footage mark nothing where the footage's own value is not known.
    """
    marks = []
    for limit in LIMITS.values():
        reading = readings.get(limit.measure)
        mark = None if reading is None else _mark(limit, reading)
        if mark is not None:
            marks.append(mark)
    return sorted(marks, key=lambda mark: mark["level"])


def _mark(limit: Limit, reading: Reading) -> dict[str, str] | None:
    value, footage = reading.value, reading.controls.get("real") if limit.of_footage else None
    if value is None or (limit.of_footage and not footage):
        return None
    level = limit.level(value / footage if footage else value)
    if level is None:
        return None
    template = limit.fail_text if level == "fail" and limit.fail_text else limit.text
    text = template.format(value=value, magnitude=abs(value), percent=100 * value, footage=footage)
    return {"measure": limit.measure, "level": level, "text": text}

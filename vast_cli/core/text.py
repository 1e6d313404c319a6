"""Text for messages: suggestions for unknown names, sizes, durations, times."""

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to `word`, or None if none is close."""
    names = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), names, n=1)
    return names[matches[0]] if matches else None


def suggest(word: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """A hint for an unknown name: `did you mean ...?`, or else the known names.

    Args:
        word: the unknown name.
        known: the known names.
        otherwise: the hint if no known name is close; by default the list of all.
    """
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean `{near}`?"
    return otherwise if otherwise is not None else f"there are {', '.join(names)}"


def short_number(value: float | None, *, missing: str = "") -> str:
    """A number with three significant digits, whole from 1000 on; `missing` for None."""
    if value is None:
        return missing
    if abs(value) < 1e-6:  # rounding noise around zero
        return "0"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def counted(number: int, noun: str) -> str:
    """A number of things: `1 clip`, `2 clips`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def human_size(n_bytes: float) -> str:
    """A number of bytes for people: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """A duration for people: `42 s`, `3 min`, `2 h 14 min`, `1 d 3 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def clock_in(seconds: float, *, now: datetime | None = None) -> str:
    """The time of day `seconds` from now: `05:12`, with the date or weekday if that is another day."""
    now = now or datetime.now()
    then = now + timedelta(seconds=seconds)
    if then.date() == now.date():
        return f"{then:%H:%M}"
    return f"{then:%a %H:%M}" if then - now < timedelta(days=6) else f"{then:%Y-%m-%d %H:%M}"


def timestamp(seconds: float) -> str:
    """A position in a video: `0:03.2`, or `1:02:03` from an hour on."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"

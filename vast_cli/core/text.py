"""Words for messages that several commands share: the nearest known name, sizes, durations."""

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely stands for, or None."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), names, n=1)
    return names[found[0]] if found else None


def suggest(word: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """A hint for an unknown name: `did you mean ...?`, or else what there is.

    Args:
        word: what was given.
        known: what there is.
        otherwise: said instead of the list of all names if none is near.
    """
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean `{near}`?"
    return otherwise if otherwise is not None else f"there are {', '.join(names)}"


def human_size(n_bytes: float) -> str:
    """A number of bytes as people read it: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """A duration as people say it: `42 s`, `3 min`, `2 h 14 min`, `1 d 3 h`."""
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
    """The time on the wall in `seconds`: `05:12`, with the day if it is another."""
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

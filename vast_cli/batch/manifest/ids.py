"""Ids of jobs that have none: as much of sound, manner and avatar as tells them apart."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

MAX_ID = 128
ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def check_id(text: str) -> str:
    """The id, if it can name files everywhere.

    Raises:
        ValueError: it cannot; one that could is named.
    """
    if not ID.fullmatch(text):
        raise ValueError(
            f"`{text[:MAX_ID]}` may hold A-Z a-z 0-9 . _ - only, {MAX_ID} at most, and begin with none of . and -; "
            f"`{plain(text)}` would do"
        )
    return text


def plain(text: str) -> str:
    """Text as an id: letters without accents, `_` for what an id cannot hold."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".-")[:MAX_ID] or "_"


def derive(candidates: Sequence[Sequence[str]], taken: Iterable[str]) -> list[str]:
    """An id for each job, unlike all others and all `taken` ones, whatever the case of letters.

    Args:
        candidates: per job, stems from what must be in the id to what may help to tell it apart; `` for none.
        taken: ids that were given.
    """
    used = {name.casefold() for name in taken}
    found = [""] * len(candidates)
    open_jobs = list(range(len(candidates)))
    names: dict[int, str] = {}
    for level in range(1, max(map(len, candidates), default=0) + 1):
        names = {k: plain("-".join(filter(None, candidates[k][:level]))) for k in open_jobs}
        count: dict[str, int] = {}
        for name in names.values():
            count[name.casefold()] = count.get(name.casefold(), 0) + 1
        unique = [k for k in open_jobs if count[names[k].casefold()] == 1 and names[k].casefold() not in used]
        for k in unique:
            found[k] = names[k]
            used.add(names[k].casefold())
        open_jobs = [k for k in open_jobs if not found[k]]
    last: dict[str, int] = {}
    for k in open_jobs:  # the same in all of it: a number decides
        name, number = names[k], last.get(names[k].casefold(), 1)
        while name.casefold() in used:
            number += 1
            name = f"{names[k][: MAX_ID - 8]}-{number}"
        last[names[k].casefold()] = number
        used.add(name.casefold())
        found[k] = name
    return found

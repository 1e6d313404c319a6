"""Checks ids of jobs, and derives missing ones from as much of audio, style and avatar as makes them unique."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

MAX_ID = 128
ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def check_id(text: str) -> str:
    """The id, if it can be part of a file name on every system.

    Raises:
        ValueError: it cannot; the message suggests one that can.
    """
    if not ID.fullmatch(text):
        raise ValueError(
            f"`{text[:MAX_ID]}` is not a valid id: A-Z a-z 0-9 . _ - only, at most {MAX_ID}, not starting with . or -; "
            f"try `{slugify(text)}`"
        )
    return text


def slugify(text: str) -> str:
    """The text as a valid id: letters without accents, `_` for what an id cannot hold."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".-")[:MAX_ID] or "_"


def derive_ids(candidates: Sequence[Sequence[str]], taken: Iterable[str]) -> list[str]:
    """An id for each job that differs from all others and from all `taken` ones, ignoring case.

    Args:
        candidates: per job, stems from the one that must be in the id to those that may make it unique; empty for none.
        taken: ids that the manifest gives.
    """
    used = {name.casefold() for name in taken}
    ids = [""] * len(candidates)
    pending = list(range(len(candidates)))
    names: dict[int, str] = {}
    for n_stems in range(1, max(map(len, candidates), default=0) + 1):
        names = {job: slugify("-".join(filter(None, candidates[job][:n_stems]))) for job in pending}
        count = Counter(name.casefold() for name in names.values())
        for job in pending:
            key = names[job].casefold()
            if count[key] == 1 and key not in used:
                ids[job] = names[job]
                used.add(key)
        pending = [job for job in pending if not ids[job]]
    last_number: dict[str, int] = {}
    for job in pending:  # all stems are equal: a number makes them unique
        stem = names[job].casefold()
        name, number = names[job], last_number.get(stem, 1)
        while name.casefold() in used:
            number += 1
            name = f"{names[job][: MAX_ID - 8]}-{number}"
        last_number[stem] = number
        used.add(name.casefold())
        ids[job] = name
    return ids


def stem(path: str | None) -> str:
    """The name of a file without folder and suffix; empty for None."""
    return "" if path is None else os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122

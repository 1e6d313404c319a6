"""Jobs by combination: `matrix` makes every one, `zip` goes side by side, `exclude` leaves some out."""

import fnmatch
import glob
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import FILES, KEYS, as_text
from vast_cli.batch.manifest.tables import MAX_JOBS, Row, Sheet, keyed, tables_of

LAST = 1 << 40  # their faults come after those of all jobs


def combine(document: dict[str, Any], folder: Path, sheet: Sheet, faults: Faults) -> None:
    """Rows of `matrix` and `zip`, less what `exclude` names."""
    rules = [
        (where, keyed(table, where, line, faults))
        for table, where, line in tables_of("exclude", document.get("exclude"), faults)
    ]
    used: set[str] = set()
    defaults = sheet.defaults.cells if sheet.defaults else {}
    for name in ("matrix", "zip"):
        for place, cells in enumerate(_rows(name, document.get(name), folder, faults)):
            hit = next((where for where, rule in rules if rule and _matches(rule, defaults | cells)), None)
            if hit is not None:
                used.add(hit)
            elif not sheet.add(Row(f"{name}[{place}]", LAST + place, cells), faults):
                return
    sheet.warnings += [f"{where} matches no combination" for where, _ in rules if where not in used]


def _rows(name: str, table: Any, folder: Path, faults: Faults) -> Iterator[dict[str, Any]]:
    """Cells of each row of a `matrix` or `zip`."""
    if table is None:
        return
    if not isinstance(table, dict):
        faults.add(name, "must be a table of lists", order=LAST)
        return
    lists = _lists(name, table, folder, faults)
    lengths = [len(values) for values in lists.values()]
    if name == "zip" and len(set(lengths)) > 1:
        shown = ", ".join(f"{key} {length}" for key, length in zip(lists, lengths, strict=True))
        faults.add(name, f"lists of unequal lengths: {shown}", order=LAST)
    elif name == "matrix" and math.prod(lengths) > MAX_JOBS:
        faults.add(name, f"{math.prod(lengths):,} combinations; {MAX_JOBS:,} jobs at most", order=LAST)
    elif lists:
        rows = itertools.product(*lists.values()) if name == "matrix" else zip(*lists.values(), strict=True)
        for row in rows:
            yield {key: value for key, value in zip(lists, row, strict=True) if value is not None}


def _lists(name: str, table: dict[str, Any], folder: Path, faults: Faults) -> dict[str, list[Any]]:
    """The lists of a `matrix` or `zip`; globs of files become what they match."""
    keys = tuple(key for key in KEYS if key != "id" or name == "zip")
    found: dict[str, list[Any]] = {}
    for key, given in keyed(table, name, LAST, faults, keys).items():
        values = given if isinstance(given, list) else [given]
        if key in FILES:
            values, unmatched = _globbed(values, folder)
            for pattern in unmatched:
                faults.add(name, f"`{pattern}` matches no file", key=key, order=LAST)
        if not values and not given:
            faults.add(name, "an empty list", key=key, order=LAST)
        found[key] = values
    return found


def _globbed(values: list[Any], folder: Path) -> tuple[list[Any], list[str]]:
    """Values with globs replaced by the files they match, sorted; and the globs that match none."""
    found: list[Any] = []
    unmatched = []
    for value in values:
        if not isinstance(value, str) or not glob.has_magic(value) or (folder / value).exists():
            found.append(value)
            continue
        matches = sorted(glob.glob(value, root_dir=folder, recursive=True))  # noqa: PTH207 - its paths stay as written
        matches = [match for match in matches if not (folder / match).is_dir()]
        found += matches
        if not matches:
            unmatched.append(value)
    return found, unmatched


def _matches(rule: dict[str, Any], cells: dict[str, Any]) -> bool:
    return all(_fits(plain_text(pattern), plain_text(cells.get(key)), key) for key, pattern in rule.items())


def _fits(pattern: str | list[str] | None, value: str | list[str] | None, key: str) -> bool:
    if not isinstance(pattern, str) or not isinstance(value, str):
        return pattern == value
    if fnmatch.fnmatchcase(value, pattern):
        return True
    if key in FILES:
        return "/" not in pattern and fnmatch.fnmatchcase(os.path.basename(value), pattern)  # noqa: PTH119
    try:
        return float(value) == float(pattern)
    except ValueError:
        return False


def plain_text(value: Any) -> str | list[str] | None:
    """`as_text`, None for what is none."""
    try:
        return as_text(value)
    except ValueError:
        return None

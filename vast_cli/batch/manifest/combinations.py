"""Makes jobs by combination: `matrix` takes every combination, `zip` pairs lists, `exclude` leaves some out."""

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
from vast_cli.batch.manifest.tables import MAX_JOBS, RawManifest, RawRow, list_tables, with_known_keys

AFTER_JOBS = 1 << 40  # order of faults of `matrix` and `zip`: after those of all jobs


def add_combinations(document: dict[str, Any], folder: Path, raw: RawManifest, faults: Faults) -> None:
    """Add the rows of `matrix` and `zip` that no rule of `exclude` matches."""
    rules = [
        (where, with_known_keys(table, where, order, faults))
        for table, where, order in list_tables("exclude", document.get("exclude"), faults)
    ]
    used: set[str] = set()
    defaults = raw.defaults.cells if raw.defaults else {}
    for name in ("matrix", "zip"):
        for index, cells in enumerate(_combinations(name, document.get(name), folder, faults)):
            matching = next((where for where, rule in rules if rule and _matches(rule, defaults | cells)), None)
            if matching is not None:
                used.add(matching)
            elif not raw.add(RawRow(f"{name}[{index}]", AFTER_JOBS + index, cells), faults):
                return
    raw.warnings += [f"{where} matches no combination" for where, _ in rules if where not in used]


def _combinations(name: str, table: Any, folder: Path, faults: Faults) -> Iterator[dict[str, Any]]:
    """The cells of each row of a `matrix` or `zip`."""
    if table is None:
        return
    if not isinstance(table, dict):
        faults.add(name, "must be a table of lists", order=AFTER_JOBS)
        return
    lists = _lists(name, table, folder, faults)
    lengths = [len(values) for values in lists.values()]
    if name == "zip" and len(set(lengths)) > 1:
        shown = ", ".join(f"{key} {length}" for key, length in zip(lists, lengths, strict=True))
        faults.add(name, f"lists of unequal lengths: {shown}", order=AFTER_JOBS)
    elif name == "matrix" and math.prod(lengths) > MAX_JOBS:
        faults.add(name, f"{math.prod(lengths):,} combinations; {MAX_JOBS:,} jobs at most", order=AFTER_JOBS)
    elif lists:
        rows = itertools.product(*lists.values()) if name == "matrix" else zip(*lists.values(), strict=True)
        for row in rows:
            yield {key: value for key, value in zip(lists, row, strict=True) if value is not None}


def _lists(name: str, table: dict[str, Any], folder: Path, faults: Faults) -> dict[str, list[Any]]:
    """The lists of a `matrix` or `zip`; globs of files are replaced by the files they match."""
    keys = tuple(key for key in KEYS if key != "id" or name == "zip")
    lists: dict[str, list[Any]] = {}
    for key, cell in with_known_keys(table, name, AFTER_JOBS, faults, keys).items():
        values = cell if isinstance(cell, list) else [cell]
        if key in FILES:
            values, unmatched = _expand_globs(values, folder)
            for pattern in unmatched:
                faults.add(name, f"`{pattern}` matches no file", key=key, order=AFTER_JOBS)
        if not values and not cell:
            faults.add(name, "an empty list", key=key, order=AFTER_JOBS)
        lists[key] = values
    return lists


def _expand_globs(values: list[Any], folder: Path) -> tuple[list[Any], list[str]]:
    """Values with globs replaced by the files they match, sorted; and the globs that match none."""
    expanded: list[Any] = []
    unmatched = []
    for value in values:
        if not isinstance(value, str) or not glob.has_magic(value) or (folder / value).exists():
            expanded.append(value)
            continue
        matches = sorted(glob.glob(value, root_dir=folder, recursive=True))  # noqa: PTH207 - its paths stay as written
        matches = [match for match in matches if not (folder / match).is_dir()]
        expanded += matches
        if not matches:
            unmatched.append(value)
    return expanded, unmatched


def _matches(rule: dict[str, Any], cells: dict[str, Any]) -> bool:
    return all(_cell_matches(plain_text(pattern), plain_text(cells.get(key)), key) for key, pattern in rule.items())


def _cell_matches(pattern: str | list[str] | None, value: str | list[str] | None, key: str) -> bool:
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
    """`as_text`, or None where it raises."""
    try:
        return as_text(value)
    except ValueError:
        return None

"""Manifests of one job a row: CSV as spreadsheets write it, and JSON Lines."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import KEYS, key_of

MAX_JOBS = 100_000
MAX_COLUMNS = 1000


@dataclass(frozen=True)
class Row:
    """A job as it is written: where, and its cells as text or lists, keys in our spelling."""

    where: str
    order: int
    cells: dict[str, Any]


@dataclass
class Sheet:
    """All that a manifest says, before anything is checked but its form."""

    rows: list[Row] = field(default_factory=list)
    defaults: Row | None = None
    warnings: list[str] = field(default_factory=list)

    def add(self, row: Row, faults: Faults) -> bool:
        """Take a row; gives whether there may be another."""
        if len(self.rows) >= MAX_JOBS:
            faults.add(row.where, f"more than {MAX_JOBS:,} jobs; make several manifests", order=row.order)
            return False
        self.rows.append(row)
        return True


def read_csv(text: str, faults: Faults, *, delimiter: str | None = None) -> Sheet:
    """A table with a header. Rows are numbered as a spreadsheet shows them: the header is row 1.

    Args:
        delimiter: found in the header if not given; Excel's first line `sep=;` names it too.
    """
    excel = re.match(r"sep=(.)(\r\n|\r|\n)", text, re.IGNORECASE)
    if excel:
        delimiter, text = excel[1], text[excel.end() :]  # spreadsheets do not count this line
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    records = _records(text, delimiter or _delimiter(head), faults)
    columns = _header(next(records, []), faults)
    sheet = Sheet()
    for number, cells in enumerate(records, start=2):
        if not any(cell and not cell.isspace() for cell in cells):
            continue
        where = f"row {number}"
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            faults.add(
                where,
                f"{len(cells)} cells, but {len(columns)} columns; quote cells that hold a separator",
                order=number,
            )
        for name, cell in zip(columns, cells, strict=False):
            if name is None and cell.strip():
                faults.add(where, f"`{cell.strip()[:60]}` stands in a column without a name", order=number)
        given = {name: cell for name, cell in zip(columns, cells, strict=False) if name and cell}
        if not sheet.add(Row(where, number, given), faults):
            break
    return sheet


def _records(text: str, delimiter: str, faults: Faults) -> Iterator[list[str]]:
    # strict: else a quote that is never closed swallows the rest of the file
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 1
    while True:
        start = reader.line_num + 1
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(f"row {number} (line {start} of the file)", f"broken quotes or cells: {error}", order=number)
            return
        number += 1


def _delimiter(head: str) -> str:
    bare = "".join(head.split('"')[::2])  # outside of quotes
    return max(",;\t", key=bare.count)


def _header(cells: list[str], faults: Faults) -> list[str | None]:
    columns: list[str | None] = []
    if len(cells) > MAX_COLUMNS:
        faults.add("", f"{len(cells):,} columns; {MAX_COLUMNS:,} at most", order=1)
        return []
    for place, cell in enumerate(cells, start=1):
        name: str | None = None
        if cell.strip():
            try:
                name = key_of(cell)
            except ValueError as error:
                faults.add("", str(error), key=f"`{cell.strip()[:60]}`", order=1)
                name = f"?{place}"
            if name in columns:
                faults.add("", "stands in the header twice", key=f"`{cell.strip()}`", order=1)
        columns.append(name)
    return columns


def read_json_lines(text: str, faults: Faults) -> Sheet:
    """A JSON object a line; empty lines are passed over."""
    sheet = Sheet()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            value = read_json(line)
        except ValueError as error:
            faults.add(where, str(error), order=number)
            continue
        if not isinstance(value, dict):
            faults.add(where, "no JSON object (`{...}`)", order=number)
        elif not sheet.add(Row(where, number, keyed(value, where, number, faults)), faults):
            break
    return sheet


def read_json(text: str) -> Any:
    """JSON with numbers as the text they were written as; a key given twice is a fault.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise ValueError(f"no valid JSON: {error.msg} ({line}column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key `{twice[:60]}` is given twice")
    return table


def _no_number(text: str) -> Any:
    raise ValueError(f"`{text}` is no number in JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_no_number)


def keyed(
    table: dict[str, Any], where: str, order: int, faults: Faults, keys: tuple[str, ...] = KEYS
) -> dict[str, Any]:
    """The table with keys in our spelling; unknown ones are faults."""
    cells: dict[str, Any] = {}
    for name, value in table.items():
        try:
            key = key_of(name, keys)
        except ValueError as error:
            faults.add(where, str(error), key=f"`{name[:60]}`", order=order)
            continue
        if key in cells:
            faults.add(where, "is given twice, with `-` and with `_`", key=f"`{key}`", order=order)
        cells[key] = value
    return cells


def tables_of(name: str, value: Any, faults: Faults) -> list[tuple[dict[str, Any], str, int]]:
    """The tables of a list, with where each is and its order."""
    if value is None:
        return []
    if not isinstance(value, list):
        faults.add(name, "must be a list of tables")
        return []
    found = []
    for k, table in enumerate(value):
        label = f"{name}[{k}]"
        if not isinstance(table, dict):
            faults.add(label, "must be a table", order=k)
            continue
        line = getattr(table, "line", 0)  # YAML knows
        found.append((table, f"{label} (line {line})" if line else label, line or k))
    return found

"""Reads manifests with one job per row: CSV as spreadsheets write it, and JSON Lines."""

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
class RawRow:
    """A job as it is written: its place, and its cells as text or lists under known keys."""

    where: str
    order: int
    cells: dict[str, Any]


@dataclass
class RawManifest:
    """A manifest of which only the syntax was checked."""

    rows: list[RawRow] = field(default_factory=list)
    defaults: RawRow | None = None
    warnings: list[str] = field(default_factory=list)

    def add(self, row: RawRow, faults: Faults) -> bool:
        """Add a row; returns False if there are too many."""
        if len(self.rows) >= MAX_JOBS:
            faults.add(row.where, f"more than {MAX_JOBS:,} jobs; make several manifests", order=row.order)
            return False
        self.rows.append(row)
        return True


# --- CSV ------------------------------------------------------------------------------------------------------------


def read_csv(text: str, faults: Faults, *, delimiter: str | None = None) -> RawManifest:
    """A table with a header. Rows are numbered as a spreadsheet shows them: the header is row 1.

    Args:
        text: of the file.
        faults: collects what is wrong.
        delimiter: guessed from the header if not given; Excel's first line `sep=;` may name it too.
    """
    excel = re.match(r"sep=(.)(\r\n|\r|\n)", text, re.IGNORECASE)
    if excel:
        delimiter, text = excel[1], text[excel.end() :]  # spreadsheets do not count this line
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    records = _records(text, delimiter or _guess_delimiter(header), faults)
    columns = _columns(next(records, []), faults)
    raw = RawManifest()
    for number, cells in enumerate(records, start=2):
        if not any(cell and not cell.isspace() for cell in cells):
            continue
        where = f"row {number}"
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            message = f"{len(cells)} cells, but {len(columns)} columns; quote cells that hold a separator"
            faults.add(where, message, order=number)
        for name, cell in zip(columns, cells, strict=False):
            if name is None and cell.strip():
                faults.add(where, f"`{cell.strip()[:60]}` is in a column without a name", order=number)
        named = {name: cell for name, cell in zip(columns, cells, strict=False) if name and cell}
        if not raw.add(RawRow(where, number, named), faults):
            break
    return raw


def _records(text: str, delimiter: str, faults: Faults) -> Iterator[list[str]]:
    # strict: otherwise an unclosed quote swallows the rest of the file
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


def _guess_delimiter(header: str) -> str:
    unquoted = "".join(header.split('"')[::2])
    return max(",;\t", key=unquoted.count)


def _columns(cells: list[str], faults: Faults) -> list[str | None]:
    """The key of each column; None for one without a name, `?N` for one with an unknown name."""
    columns: list[str | None] = []
    if len(cells) > MAX_COLUMNS:
        faults.add("", f"{len(cells):,} columns; {MAX_COLUMNS:,} at most", order=1)
        return []
    for number, cell in enumerate(cells, start=1):
        name: str | None = None
        if cell.strip():
            try:
                name = key_of(cell)
            except ValueError as error:
                faults.add("", str(error), key=f"`{cell.strip()[:60]}`", order=1)
                name = f"?{number}"
            if name in columns:
                faults.add("", "is in the header twice", key=f"`{cell.strip()}`", order=1)
        columns.append(name)
    return columns


# --- JSON -----------------------------------------------------------------------------------------------------------


def read_json_lines(text: str, faults: Faults) -> RawManifest:
    """One JSON object per line; empty lines are skipped."""
    raw = RawManifest()
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
            faults.add(where, "not a JSON object (`{...}`)", order=number)
        elif not raw.add(RawRow(where, number, with_known_keys(value, where, number, faults)), faults):
            break
    return raw


def read_json(text: str) -> Any:
    """JSON with numbers as the text they were written as; a repeated key is a fault.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise ValueError(f"invalid JSON: {error.msg} ({line}column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key `{repeated[:60]}` is given twice")
    return table


def _reject_constant(text: str) -> Any:
    raise ValueError(f"`{text}` is not a number in JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_reject_constant)


# --- tables of any syntax -------------------------------------------------------------------------------------------


def with_known_keys(
    table: dict[str, Any], where: str, order: int, faults: Faults, keys: tuple[str, ...] = KEYS
) -> dict[str, Any]:
    """The table with `_` in its keys; unknown and repeated keys are faults."""
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


def list_tables(name: str, value: Any, faults: Faults) -> list[tuple[dict[str, Any], str, int]]:
    """The tables of a list, each with its place and its order."""
    if value is None:
        return []
    if not isinstance(value, list):
        faults.add(name, "must be a list of tables")
        return []
    tables = []
    for index, table in enumerate(value):
        label = f"{name}[{index}]"
        if not isinstance(table, dict):
            faults.add(label, "must be a table", order=index)
            continue
        line = getattr(table, "line", 0)  # only YAML tables know it
        tables.append((table, f"{label} (line {line})" if line else label, line or index))
    return tables

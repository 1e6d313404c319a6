"""Reads the table of a study: sentence, method and video of each row. Reports all faults at once."""

import csv
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.text import human_size

COLUMNS = ("sentence", "method", "video")
MIN_SENTENCES = 3  # fewer have no order without a sentence twice in a row
MIN_METHODS = 2
MAX_BYTES = 4_000_000
MAX_NAME = 80
MAX_SHOWN_FAULTS = 30


@dataclass(frozen=True)
class StudyEntry:
    """One row of the table."""

    row: int  # line of the file; the header is 1
    sentence: str
    method: str
    video: Path


@dataclass(frozen=True)
class StudyManifest:
    """A complete table: every method on every sentence."""

    path: Path
    sentences: tuple[str, ...]  # in the file's order
    methods: tuple[str, ...]
    entries: tuple[StudyEntry, ...]

    def entry(self, sentence: str, method: str) -> StudyEntry:
        """The row of one combination."""
        return next(entry for entry in self.entries if (entry.sentence, entry.method) == (sentence, method))


def table_error(path: Path, faults: list[str]) -> VastError:
    """The error that lists all faults of a table."""
    shown = faults[:MAX_SHOWN_FAULTS] + (
        [f"and {len(faults) - MAX_SHOWN_FAULTS} more"] if len(faults) > MAX_SHOWN_FAULTS else []
    )
    head = f"`{path}` has {len(faults)} fault{'s' if len(faults) > 1 else ''}:"
    return VastError(
        "vast_manifest_invalid",
        "\n  ".join([head, *shown]),
        hint="a table with the columns sentence, method, video; every method on every sentence",
    )


def read_manifest(path: Path) -> StudyManifest:
    """Read and check a CSV; video paths are relative to its folder.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_manifest_invalid`.
    """
    files.check_input(path)
    if path.stat().st_size > MAX_BYTES:
        raise table_error(path, [f"larger than {human_size(MAX_BYTES)}"])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise table_error(path, ["not UTF-8 text"]) from error
    try:
        lines = list(csv.reader(text.splitlines(keepends=True), strict=True))
    except csv.Error as error:
        raise table_error(path, [f"not CSV: {error}"]) from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise table_error(path, [f"row 1: no column {', '.join(missing)}"])
    faults: list[str] = []
    entries = []
    for row, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        entry = _parse_entry(row, dict(zip(header, cells, strict=False)), path.parent, faults)
        if entry is not None:
            entries.append(entry)
    faults += _combination_faults(entries)
    if faults:
        raise table_error(path, sorted(faults, key=_row_of))
    sentences = tuple(dict.fromkeys(entry.sentence for entry in entries))
    return StudyManifest(path, sentences, tuple(dict.fromkeys(entry.method for entry in entries)), tuple(entries))


def _parse_entry(row: int, cells: dict[str, str], folder: Path, faults: list[str]) -> StudyEntry | None:
    values = {name: cells.get(name, "").strip() for name in COLUMNS}
    empty = [name for name, value in values.items() if not value]
    if empty:
        faults.append(f"row {row}: no {', '.join(empty)}")
        return None
    for name in ("sentence", "method"):
        if len(values[name]) > MAX_NAME or not values[name].isprintable():
            faults.append(f"row {row}: {name} is longer than {MAX_NAME} characters or not printable")
            return None
    video = folder / values["video"]
    if not video.is_file():
        faults.append(f"row {row}: no file `{video}`")
    return StudyEntry(row, values["sentence"], values["method"], video)


def _combination_faults(entries: list[StudyEntry]) -> list[str]:
    faults = []
    first: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.sentence, entry.method)
        if key in first:
            faults.append(f"row {entry.row}: `{entry.method}` on `{entry.sentence}` again, as in row {first[key]}")
        first.setdefault(key, entry.row)
    sentences = dict.fromkeys(entry.sentence for entry in entries)
    methods = dict.fromkeys(entry.method for entry in entries)
    for sentence in sentences:
        missing = [method for method in methods if (sentence, method) not in first]
        if missing:
            faults.append(f"sentence `{sentence}`: no video of {', '.join(f'`{method}`' for method in missing)}")
    if len(sentences) < MIN_SENTENCES:
        faults.append(f"{len(sentences)} sentences, at least {MIN_SENTENCES} are needed")
    if len(methods) < MIN_METHODS:
        faults.append(f"{len(methods)} methods, at least {MIN_METHODS} are needed")
    return faults


def _row_of(fault: str) -> int:
    return int(fault[4:].split(":")[0]) if fault.startswith("row ") else 1 << 30

"""Encodes, decodes and checks the lines of a journal: JSON objects with a checksum.

A line torn by `kill -9` or power loss is the last one and is skipped; a broken line anywhere else was edited or damaged
and is reported. Lines are ordered by their position, not by their times, because clocks jump.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vast_cli.core.errors import VastError

VERSION = 1
EVENTS = ("run_started", "job_started", "job_done", "job_failed", "job_interrupted", "run_done")
OTHER_VERSION_HINT = "continue with the version of vast that wrote it, or start over with another `--state`"
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')

JournalRow = dict[str, Any]


# --- single lines ---------------------------------------------------------------------------------------------------


def encode_line(row: Mapping[str, Any]) -> bytes:
    """A line of the journal, with its checksum and newline. Numbers that JSON lacks become null."""
    try:
        text = json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_json_default)
    except ValueError:
        text = json.dumps(_without_nan(row), separators=(",", ":"), ensure_ascii=False, default=_json_default)
    try:
        body = text.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8
        body = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=True).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def decode_line(line: bytes) -> JournalRow:
    """The row of a line without its newline; the checksum is checked and dropped.

    Raises:
        ValueError: the line is not as it was written.
        VastError: `vast_record_version`.
    """
    match = _CRC.search(line)
    body = line[: match.start()] + b"}" if match else line
    row = json.loads(body)
    if not isinstance(row, dict):
        raise ValueError("not an object")
    intact = match is not None and zlib.crc32(body) == int(match[1], 16)
    if isinstance(row.get("v"), int) and row["v"] != VERSION and (intact or not match):
        raise VastError(
            "vast_record_version",
            f"the journal has format {row['v']}, this version of vast reads {VERSION}",
            hint=OTHER_VERSION_HINT,
        )
    if not intact:
        raise ValueError("wrong checksum")
    if not isinstance(row.get("seq"), int) or not isinstance(row.get("event"), str) or "run" not in row:
        raise ValueError("not a line of a journal")
    return row


def _json_default(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"a journal cannot hold a {type(value).__name__}")


def _without_nan(value: Any) -> Any:
    """The value with NaN and infinities replaced by None."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


# --- whole journals -------------------------------------------------------------------------------------------------


@dataclass
class JournalScan:
    """The contents of a journal.

    Attributes:
        rows: of the intact lines.
        lines: the bytes of `rows`, without newlines.
        broken: numbers of the broken lines, from 1.
        end: number of bytes before the torn tail.
        torn: the last line is half-written.
    """

    rows: list[JournalRow] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    end: int = 0
    torn: bool = False

    def check(self, path: Path) -> None:
        """Refuse a journal with broken lines.

        Raises:
            VastError: `vast_journal_corrupt`.
        """
        if self.broken:
            numbers = ", ".join(map(str, self.broken[:5])) + (" ..." if len(self.broken) > 5 else "")
            which = f"line {numbers} is" if len(self.broken) == 1 else f"lines {numbers} are"
            raise VastError("vast_journal_corrupt", f"{which} not as written", where=str(path))


def scan_journal(data: bytes, *, where: str | None = None) -> JournalScan:
    """Read the bytes of a journal. What follows the last newline is torn: it was never acknowledged.

    A last line with NUL bytes is torn too: power was lost when the file had grown but its data was not on the disk yet.

    Raises:
        VastError: `vast_record_version`.
    """
    scan = JournalScan()
    *lines, tail = data.split(b"\n")
    scan.torn = bool(tail)
    scan.end = len(data) - len(tail)
    for number, line in enumerate(lines, 1):
        try:
            scan.rows.append(decode_line(line))
            scan.lines.append(line)
        except VastError as error:
            raise VastError(error.code, error.message, where=where, hint=error.hint) from error
        except (ValueError, RecursionError):
            if number == len(lines) and not tail and b"\0" in line:
                scan.end -= len(line) + 1
                scan.torn = True
            else:
                scan.broken.append(number)
    return scan


def read_journal(path: Path) -> JournalScan:
    """Read a journal, even while a run writes it; a missing one is empty.

    Raises:
        VastError: `vast_record_version`, `vast_input_unreadable`.
    """
    try:
        return scan_journal(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        return JournalScan()
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error.strerror or error}") from error

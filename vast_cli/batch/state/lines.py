"""Lines of a journal with their checksums, and the reading of all of them.

A line torn by `kill -9` or power loss is the last one and is passed over; a broken line elsewhere is somebody's doing
and is reported. Order is the order of lines: clocks jump.
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
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')

Row = dict[str, Any]


# --- lines ----------------------------------------------------------------------------------------------------------


def encode(row: Mapping[str, Any]) -> bytes:
    """A line of the journal, with its checksum and newline. Numbers that JSON lacks become null."""
    try:
        text = json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(row), separators=(",", ":"), ensure_ascii=False, default=_plain)
    try:
        body = text.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8
        body = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=True).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Row:
    """A line without its newline; the checksum is checked and dropped.

    Raises:
        ValueError: it is not what was written.
        VastError: `vast_record_version`.
    """
    found = _CRC.search(line)
    body = line[: found.start()] + b"}" if found else line
    row = json.loads(body)
    if not isinstance(row, dict):
        raise ValueError("no object")
    intact = found is not None and zlib.crc32(body) == int(found[1], 16)
    if isinstance(row.get("v"), int) and row["v"] != VERSION and (intact or not found):
        raise VastError(
            "vast_record_version",
            f"the journal has format {row['v']}, this version of vast reads {VERSION}",
            hint="go on with the version of vast that wrote it, or begin anew with another `--state`",
        )
    if not intact:
        raise ValueError("wrong checksum")
    if not isinstance(row.get("seq"), int) or not isinstance(row.get("event"), str) or "run" not in row:
        raise ValueError("no journal line")
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot stand in a journal")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass
class Scan:
    """What a journal's bytes hold."""

    rows: list[Row] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)  # of `rows`, without newlines
    broken: list[int] = field(default_factory=list)  # line numbers, from 1
    end: int = 0  # bytes before the torn tail
    torn: bool = False

    def check(self, path: Path) -> None:
        """Refuse a journal with broken lines.

        Raises:
            VastError: `vast_journal_corrupt`.
        """
        if self.broken:
            numbers = ", ".join(map(str, self.broken[:5])) + (" ..." if len(self.broken) > 5 else "")
            which = f"line {numbers} is" if len(self.broken) == 1 else f"lines {numbers} are"
            raise VastError("vast_journal_corrupt", f"{which} not as it was written", where=str(path))


def scan(data: bytes, *, where: str | None = None) -> Scan:
    """Read the bytes of a journal. What follows the last newline was torn: it was never acknowledged.

    So is a last line that power loss left full of holes: the file had grown, the data had not come.

    Raises:
        VastError: `vast_record_version`.
    """
    result = Scan()
    *lines, tail = data.split(b"\n")
    result.torn = bool(tail)
    result.end = len(data) - len(tail)
    for number, line in enumerate(lines, 1):
        try:
            result.rows.append(decode(line))
            result.lines.append(line)
        except VastError as error:
            raise VastError(error.code, error.message, where=where, hint=error.hint) from error
        except (ValueError, RecursionError):
            if number == len(lines) and not tail and b"\0" in line:
                result.end -= len(line) + 1
                result.torn = True
            else:
                result.broken.append(number)
    return result


def read(path: Path) -> Scan:
    """Read a journal as it stands, also while it is written; one that is not there is empty.

    Raises:
        VastError: `vast_record_version`, `vast_input_unreadable`.
    """
    try:
        return scan(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        return Scan()
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error.strerror or error}") from error

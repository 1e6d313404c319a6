"""The journal of a batch: one JSON object a line, append-only, each line one `write` and one `fsync` with a checksum.

What is acknowledged (`append` came back) survives `kill -9` and power loss. A line torn by either is the last one and
is cut off at the next start; a broken line elsewhere is somebody's doing and is reported. Order is the order of lines:
clocks jump.
"""

import errno
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from vast_cli import files
from vast_cli.errors import VastError

VERSION = 1
EVENTS = ("run_started", "job_started", "job_done", "job_failed", "job_interrupted", "run_done")
RESERVE_BYTES = 64 * 1024  # some fifty lines
FULL = (errno.ENOSPC, errno.EDQUOT)
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')

Row = dict[str, Any]
log = logging.getLogger(__name__)


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


# --- writing --------------------------------------------------------------------------------------------------------


class Journal:
    """A journal that is written. Only one process may: the caller holds the lock of the state folder."""

    def __init__(self, path: Path, descriptor: int, *, run: str, seq: int, size: int) -> None:
        self.path = path
        self.run = run
        self.seq = seq  # of the last line
        self._descriptor = descriptor
        self._size = size  # of the whole lines
        self._ragged = False  # something half-written could not be cut off
        self._reserve = path.with_name(path.name.replace("journal", "reserve", 1).removesuffix(".jsonl"))

    @classmethod
    def open(cls, path: Path, *, run: str, repair: bool = False) -> "Journal":
        """Open for writing, making it if need be; a torn last line is cut off.

        Args:
            path: `journal.jsonl` in the state folder.
            run: id of this run, in every line.
            repair: keep the good lines of a broken journal; the old file stays as `journal.jsonl.broken-N`.

        Raises:
            VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_disk_full`, `vast_output_unwritable`.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.write_error(error, path) from error
        found = read(path)
        if repair and found.broken:
            _repair(path, found)
            found = read(path)
        found.check(path)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise files.write_error(error, path) from error
        journal = cls(path, descriptor, run=run, seq=max((row["seq"] for row in found.rows), default=0), size=found.end)
        try:
            if found.torn:
                log.warning("the last line of `%s` was torn and is cut off", path)
                journal._cut()
            os.fsync(descriptor)
            files.fsync_folder(path.absolute().parent)  # the name of a new journal
            journal._keep_reserve()
        except OSError as error:
            journal.close()
            raise files.write_error(error, path) from error
        return journal

    def append(self, event: str, **fields: Any) -> int:
        """Write a line; when this returns its `seq`, the line is on the disk. On failure nothing of it remains.

        Raises:
            VastError: `vast_disk_full` if the reserve did not help either, `vast_write_failed`.
        """
        assert event in EVENTS, event
        row = {"v": VERSION, "seq": self.seq + 1, "t": _now(), "run": self.run, "event": event, **fields}
        line = encode(row)
        try:
            try:
                self._write(line)
            except OSError as error:
                if error.errno not in FULL or not self._free_reserve():
                    raise
                log.warning("the disk is full; the reserve for the last lines of `%s` is used", self.path)
                self._write(line)
        except OSError as error:
            raise files.write_error(error, self.path) from error
        self.seq += 1
        return self.seq

    def _write(self, line: bytes) -> None:
        if self._ragged:
            self._cut()
        try:
            self._ragged = True
            written = os.write(self._descriptor, line)
            if written < len(line):  # the rest did not fit
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError:
            self._cut()
            raise
        self._size += len(line)
        self._ragged = False

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)
        self._ragged = False

    def _keep_reserve(self) -> None:
        try:
            if self._reserve.is_file() and self._reserve.stat().st_size == RESERVE_BYTES:
                return
            with files.atomic_write(self._reserve) as part:
                part.write_bytes(os.urandom(RESERVE_BYTES))  # some file systems store zeros for nothing
        except (VastError, OSError) as error:
            log.warning("no reserve for a full disk: %s", error)

    def _free_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back; the reserve stays for the next run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _repair(path: Path, found: Scan) -> None:
    taken = 1
    while (keep := path.with_name(f"{path.name}.broken-{taken}")).exists():
        taken += 1
    with files.atomic_write(keep, overwrite=False) as part:
        shutil.copyfile(path, part)
    with files.atomic_write(path) as part:
        part.write_bytes(b"".join(line + b"\n" for line in found.lines))
    log.warning("`%s` lost %d broken lines; the old file is `%s`", path, len(found.broken), keep.name)

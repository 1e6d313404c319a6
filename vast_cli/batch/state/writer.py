"""A journal that is written: append-only, each line one `write` and one `fsync`.

What is acknowledged (`append` came back) survives `kill -9` and power loss; what is torn is cut off at the next start.
"""

import errno
import logging
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from vast_cli.batch.state.lines import EVENTS, VERSION, Scan, encode, read
from vast_cli.core import files
from vast_cli.core.errors import VastError

RESERVE_BYTES = 64 * 1024  # some fifty lines
FULL = (errno.ENOSPC, errno.EDQUOT)
log = logging.getLogger(__name__)


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

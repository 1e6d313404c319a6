"""Writes the journal of a batch: append-only, one `write` and one `fsync` per line.

A line is safe from `kill -9` and power loss once `Journal.append` has returned; a torn line is cut off when the next
run starts.
"""

import errno
import logging
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from vast_cli.batch.state.journal_lines import EVENTS, VERSION, JournalScan, encode_line, read_journal
from vast_cli.batch.timestamps import utc_timestamp
from vast_cli.core import files
from vast_cli.core.errors import VastError

RESERVE_BYTES = 64 * 1024  # about fifty lines
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
log = logging.getLogger(__name__)


class Journal:
    """A journal open for writing. Only one process may write it: the caller holds the lock of the state folder."""

    def __init__(self, path: Path, descriptor: int, *, run: str, seq: int, size: int) -> None:
        self.path = path
        self.run = run
        self.seq = seq  # of the last line
        self._descriptor = descriptor
        self._size = size  # of all whole lines
        self._has_torn_tail = False  # a half-written line could not be cut off
        self._reserve = path.with_name(path.name.replace("journal", "reserve", 1).removesuffix(".jsonl"))

    @classmethod
    def open(cls, path: Path, *, run: str, repair: bool = False) -> "Journal":
        """Open a journal for writing and create it if needed; a torn last line is cut off.

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
        scan = read_journal(path)
        if repair and scan.broken:
            _repair(path, scan)
            scan = read_journal(path)
        scan.check(path)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise files.write_error(error, path) from error
        journal = cls(path, descriptor, run=run, seq=max((row["seq"] for row in scan.rows), default=0), size=scan.end)
        try:
            if scan.torn:
                log.warning("cut off the torn last line of `%s`", path)
                journal._truncate()
            os.fsync(descriptor)
            files.fsync_folder(path.absolute().parent)  # the name of a new journal
            journal._create_reserve()
        except OSError as error:
            journal.close()
            raise files.write_error(error, path) from error
        return journal

    def append(self, event: str, **fields: Any) -> int:
        """Write a line and return its `seq`; the line is then on the disk. On failure nothing of it remains.

        Raises:
            VastError: `vast_disk_full` if the reserve did not help either, `vast_write_failed`.
        """
        assert event in EVENTS, event
        row = {"v": VERSION, "seq": self.seq + 1, "t": utc_timestamp(), "run": self.run, "event": event, **fields}
        line = encode_line(row)
        try:
            try:
                self._write(line)
            except OSError as error:
                if error.errno not in DISK_FULL_ERRORS or not self._free_reserve():
                    raise
                log.warning("the disk is full; the last lines of `%s` use its reserve", self.path)
                self._write(line)
        except OSError as error:
            raise files.write_error(error, self.path) from error
        self.seq += 1
        return self.seq

    def _write(self, line: bytes) -> None:
        if self._has_torn_tail:
            self._truncate()
        try:
            self._has_torn_tail = True
            written = os.write(self._descriptor, line)
            if written < len(line):  # the rest did not fit
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError:
            self._truncate()
            raise
        self._size += len(line)
        self._has_torn_tail = False

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)
        self._has_torn_tail = False

    def _create_reserve(self) -> None:
        """Keep a file beside the journal that gives its space to the last lines when the disk is full."""
        try:
            if self._reserve.is_file() and self._reserve.stat().st_size == RESERVE_BYTES:
                return
            with files.atomic_write(self._reserve) as part:
                part.write_bytes(os.urandom(RESERVE_BYTES))  # some file systems store zeros without using space
        except (VastError, OSError) as error:
            log.warning("no reserve for a full disk: %s", error)

    def _free_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file; the reserve stays for the next run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


def _repair(path: Path, scan: JournalScan) -> None:
    number = 1
    while (backup := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    with files.atomic_write(backup, overwrite=False) as part:
        shutil.copyfile(path, part)
    with files.atomic_write(path) as part:
        part.write_bytes(b"".join(line + b"\n" for line in scan.lines))
    log.warning("removed %d broken lines from `%s`; the old file is `%s`", len(scan.broken), path, backup.name)

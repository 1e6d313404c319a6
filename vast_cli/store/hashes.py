"""What files hold, remembered by path, size and time of change: SHA-256, and how long a sound is.

The memory is `hashes.jsonl` in the cache folder. Many processes append to it at once, each line one `write`; lines that
cannot be read are passed over. Losing it costs time, nothing else.
"""

import json
import logging
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from vast_cli.core import files, locks
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

FileState: TypeAlias = tuple[int, int, str]  # size, mtime in ns, SHA-256
NAME = "hashes.jsonl"
YOUNG_NS = 2_000_000_000  # a file changed so lately may change again under the same time stamp (FAT counts in 2 s)
MAX_FILES = 200_000  # remembered; the oldest lines go first
SPARE_LINES = 2_000  # the memory is rewritten when it holds twice what is needed and so many lines more
TRIES = 3  # at a file that changes while it is read
UNKNOWN = -1.0  # the length of what is no sound, or does not say


@dataclass
class _Known:
    size: int
    mtime_ns: int
    sha256: str | None = None
    audio_s: float | None = None  # None: never looked; UNKNOWN: looked, not to be known

    def fits(self, status: os.stat_result) -> bool:
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass
class _Memory:
    """What this process knows of the file, and how far it has read it."""

    known: dict[str, _Known] = field(default_factory=dict)
    inode: int = -1
    offset: int = 0
    lines: int = 0


class FileHashes:
    """Contents of files, without reading them twice.

    Args:
        folder: where the memory lies; None: only this process remembers.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder.absolute() / NAME
        self._memory = _Memory()
        self._guard = threading.Lock()
        self._warned = False

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, hexadecimal.

        Raises:
            VastError: as `state`.
        """
        return self.state(path)[2]

    def state(self, path: Path) -> FileState:
        """Size, time of change in ns and SHA-256 of a file.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`; `vast_input_changed` if it changes while read.
        """
        name = str(path.absolute())
        status = _stat(path)
        known = self._look_up(name, status)
        if known is not None and known.sha256 is not None:
            return status.st_size, status.st_mtime_ns, known.sha256
        status, sha256 = _read(path)
        self._remember(name, status, sha256=sha256)
        return status.st_size, status.st_mtime_ns, sha256

    def audio_s(self, path: Path, *, measure: Callable[[Path], float | None]) -> float | None:
        """Seconds of audio in a media file by its headers, remembered; None if it has none, or they do not say.

        Args:
            path: the file.
            measure: reads the headers when the length is not remembered.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`.
        """
        name = str(path.absolute())
        status = _stat(path)
        known = self._look_up(name, status)
        if known is None or known.audio_s is None:
            measured = measure(path)
            seconds = UNKNOWN if measured is None else measured
            self._remember(name, status, audio_s=seconds)
        else:
            seconds = known.audio_s
        return None if seconds == UNKNOWN else seconds

    def preload(self, states: Mapping[str, FileState]) -> None:
        """Take over what another process knows, by path."""
        for name, (size, mtime_ns, sha256) in states.items():
            self._memory.known[str(Path(name).absolute())] = _Known(size, mtime_ns, sha256)

    def _look_up(self, name: str, status: os.stat_result) -> _Known | None:
        known = self._memory.known.get(name)
        if known is None or not known.fits(status):
            self._read_new()
            known = self._memory.known.get(name)
        return known if known is not None and known.fits(status) else None

    def _remember(
        self, name: str, status: os.stat_result, *, sha256: str | None = None, audio_s: float | None = None
    ) -> None:
        if time.time_ns() - status.st_mtime_ns < YOUNG_NS:
            return
        line: dict[str, Any] = {"p": name, "s": status.st_size, "m": status.st_mtime_ns}
        line |= {"h": sha256} if sha256 is not None else {"d": audio_s}
        _take(self._memory.known, line)
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, _encode(line))
            finally:
                os.close(descriptor)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        log.log(logging.DEBUG if self._warned else logging.WARNING, "`%s` cannot be used: %s", self._path, error)
        self._warned = True

    def _read_new(self) -> None:
        """Lines that came since the last look, of whichever process."""
        if self._path is None:
            return
        with self._guard:
            memory = self._memory
            try:
                with self._path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    if status.st_ino != memory.inode or status.st_size < memory.offset:  # rewritten
                        memory.inode, memory.offset, memory.lines = status.st_ino, 0, 0
                    if status.st_size == memory.offset:
                        return
                    file.seek(memory.offset)
                    content = file.read()
            except FileNotFoundError:
                return
            except OSError as error:
                self._warn(error)
                return
            whole = content.rfind(b"\n") + 1
            memory.offset += whole
            for line in content[:whole].decode("ascii", "replace").splitlines():  # twice as fast as bytes
                memory.lines += 1
                _take(memory.known, _decode(line))
            if memory.lines > 2 * len(memory.known) + SPARE_LINES or len(memory.known) > MAX_FILES:
                self._compact()

    def _compact(self) -> None:
        """Write what still counts into a new file; lines appended meanwhile by others are lost, as any may be."""
        assert self._path is not None
        known = self._memory.known
        if len(known) > MAX_FILES:
            for name in list(known)[: -MAX_FILES // 2]:
                del known[name]
        try:
            with (
                locks.hold(self._path.with_name("hashes.lock"), record_owner=False, keep_file=False),
                files.atomic_write(self._path) as part,
                part.open("wb") as file,
            ):
                for name, entry in list(known.items()):
                    file.writelines(map(_encode, _lines(name, entry)))
        except VastError as error:  # another process does it, or nobody can
            log.debug("`%s` was not rewritten: %s", self._path, error.message)


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"  # ASCII, file names that are no text included


def _decode(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # torn, or not ours
        return None


def _lines(name: str, known: _Known) -> list[dict[str, Any]]:
    head = {"p": name, "s": known.size, "m": known.mtime_ns}
    tails = ({"h": known.sha256}, {"d": known.audio_s})
    return [head | tail for tail in tails if None not in tail.values()]


def _take(known: dict[str, _Known], line: Any) -> None:
    """Add what a line says; the last word about a file counts."""
    match line:
        case {"p": str(name), "s": int(size), "m": int(mtime_ns), **rest}:
            pass
        case _:
            return
    old = known.get(name)
    entry = old if old is not None and (old.size, old.mtime_ns) == (size, mtime_ns) else _Known(size, mtime_ns)
    match rest:
        case {"h": str(sha256)} if len(sha256) == 64:
            entry.sha256 = sha256
        case {"d": int() | float() as seconds} if math.isfinite(seconds):
            entry.audio_s = float(seconds)
        case _:
            return
    known.pop(name, None)
    known[name] = entry  # the newest last


def _stat(path: Path) -> os.stat_result:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            return status
        files.check_input(path)  # says what is wrong
        return status
    except FileNotFoundError as error:
        raise VastError("vast_input_missing", f"no file `{path}`") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> tuple[os.stat_result, str]:
    """The state of a file that stood still while it was read."""
    try:
        for _ in range(TRIES):
            before = path.stat()
            sha256 = files.sha256(path)
            after = path.stat()
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                return after, sha256
    except OSError as error:
        raise _unreadable(path, error) from error
    raise VastError("vast_input_changed", f"`{path}` changes while it is read")


def _unreadable(path: Path, error: OSError) -> VastError:
    return VastError("vast_input_unreadable", f"`{path}` cannot be read: {(error.strerror or str(error)).lower()}")

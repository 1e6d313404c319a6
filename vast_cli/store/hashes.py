"""Remembers SHA-256 and audio duration of input files by path, size and modification time.

They are stored in `hashes.jsonl` in the cache folder. Many processes append to it at once, each line with one `write`;
invalid lines are skipped. If the file is lost, input files are read again.
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

FileState: TypeAlias = tuple[int, int, str]  # size, modification time in ns, SHA-256
NAME = "hashes.jsonl"
RECENT_NS = 2_000_000_000  # a file modified this recently may change again under the same time stamp (FAT: 2 s)
MAX_FILES = 200_000  # remembered; the oldest are forgotten first
SPARE_LINES = 2_000  # rewrite the file when it has this many lines more than twice the number of files
READ_ATTEMPTS = 3  # of a file that changes while it is read
UNKNOWN = -1.0  # duration of files without audio, or whose headers do not state it


@dataclass
class _FileInfo:
    size: int
    mtime_ns: int
    sha256: str | None = None
    audio_s: float | None = None  # None: never measured

    def matches(self, status: os.stat_result) -> bool:
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass
class _ReadState:
    """What this process has read of `hashes.jsonl`, and up to where."""

    files: dict[str, _FileInfo] = field(default_factory=dict)
    inode: int = -1
    offset: int = 0
    n_lines: int = 0


class FileHashes:
    """Hashes and audio durations of files, without reading an unchanged file twice.

    Args:
        folder: folder of `hashes.jsonl`; None remembers within this process only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder.absolute() / NAME
        self._read_state = _ReadState()
        self._lock = threading.Lock()
        self._warned = False

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, hexadecimal.

        Raises:
            VastError: as `state`.
        """
        return self.state(path)[2]

    def state(self, path: Path) -> FileState:
        """Size, modification time in ns and SHA-256 of a file.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`; `vast_input_changed` if it changes meanwhile.
        """
        name = str(path.absolute())
        status = _stat(path)
        info = self._look_up(name, status)
        if info is not None and info.sha256 is not None:
            return status.st_size, status.st_mtime_ns, info.sha256
        status, sha256 = _read_unchanged(path)
        self._remember(name, status, sha256=sha256)
        return status.st_size, status.st_mtime_ns, sha256

    def audio_s(self, path: Path, *, measure: Callable[[Path], float | None]) -> float | None:
        """Seconds of audio in a media file by its headers; None if it has none or they do not state it.

        Args:
            path: the file.
            measure: reads the headers if the duration is not remembered.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`.
        """
        name = str(path.absolute())
        status = _stat(path)
        info = self._look_up(name, status)
        if info is None or info.audio_s is None:
            measured = measure(path)
            seconds = UNKNOWN if measured is None else measured
            self._remember(name, status, audio_s=seconds)
        else:
            seconds = info.audio_s
        return None if seconds == UNKNOWN else seconds

    def preload(self, states: Mapping[str, FileState]) -> None:
        """Take over the states of files, by path, that another process has determined."""
        for name, (size, mtime_ns, sha256) in states.items():
            self._read_state.files[str(Path(name).absolute())] = _FileInfo(size, mtime_ns, sha256)

    def _look_up(self, name: str, status: os.stat_result) -> _FileInfo | None:
        info = self._read_state.files.get(name)
        if info is None or not info.matches(status):
            self._read_new_lines()
            info = self._read_state.files.get(name)
        return info if info is not None and info.matches(status) else None

    def _remember(
        self, name: str, status: os.stat_result, *, sha256: str | None = None, audio_s: float | None = None
    ) -> None:
        if time.time_ns() - status.st_mtime_ns < RECENT_NS:
            return
        line: dict[str, Any] = {"p": name, "s": status.st_size, "m": status.st_mtime_ns}
        line |= {"h": sha256} if sha256 is not None else {"d": audio_s}
        _apply(line, self._read_state.files)
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

    def _read_new_lines(self) -> None:
        """Read the lines that this and other processes have appended since the last read."""
        if self._path is None:
            return
        with self._lock:
            state = self._read_state
            try:
                with self._path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    if status.st_ino != state.inode or status.st_size < state.offset:  # rewritten
                        state.inode, state.offset, state.n_lines = status.st_ino, 0, 0
                    if status.st_size == state.offset:
                        return
                    file.seek(state.offset)
                    content = file.read()
            except FileNotFoundError:
                return
            except OSError as error:
                self._warn(error)
                return
            complete = content.rfind(b"\n") + 1
            state.offset += complete
            for line in content[:complete].decode("ascii", "replace").splitlines():  # twice as fast as bytes
                state.n_lines += 1
                _apply(_decode(line), state.files)
            if state.n_lines > 2 * len(state.files) + SPARE_LINES or len(state.files) > MAX_FILES:
                self._compact()

    def _compact(self) -> None:
        """Rewrite the file with the latest state of each file; lines appended in the meantime may be lost."""
        assert self._path is not None
        infos = self._read_state.files
        if len(infos) > MAX_FILES:
            for name in list(infos)[: -MAX_FILES // 2]:
                del infos[name]
        try:
            with (
                locks.hold(self._path.with_name("hashes.lock"), record_owner=False, keep_file=False),
                files.atomic_write(self._path) as part,
                part.open("wb") as file,
            ):
                for name, info in list(infos.items()):
                    file.writelines(map(_encode, _lines(name, info)))
        except VastError as error:  # another process is rewriting it, or the folder is read-only
            log.debug("`%s` was not rewritten: %s", self._path, error.message)


def _encode(line: Mapping[str, Any]) -> bytes:
    return (
        json.dumps(line, separators=(",", ":")).encode() + b"\n"
    )  # ASCII, also for file names that are not valid Unicode


def _decode(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # incomplete or foreign
        return None


def _lines(name: str, info: _FileInfo) -> list[dict[str, Any]]:
    head = {"p": name, "s": info.size, "m": info.mtime_ns}
    tails = ({"h": info.sha256}, {"d": info.audio_s})
    return [head | tail for tail in tails if None not in tail.values()]


def _apply(line: Any, infos: dict[str, _FileInfo]) -> None:
    """Update `infos` from a line; the last line about a file counts."""
    match line:
        case {"p": str(name), "s": int(size), "m": int(mtime_ns), **rest}:
            pass
        case _:
            return
    old = infos.get(name)
    info = old if old is not None and (old.size, old.mtime_ns) == (size, mtime_ns) else _FileInfo(size, mtime_ns)
    match rest:
        case {"h": str(sha256)} if len(sha256) == 64:
            info.sha256 = sha256
        case {"d": int() | float() as seconds} if math.isfinite(seconds):
            info.audio_s = float(seconds)
        case _:
            return
    infos.pop(name, None)
    infos[name] = info  # the newest last


def _stat(path: Path) -> os.stat_result:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            return status
        files.check_input(path)  # raises the specific error
        return status
    except FileNotFoundError as error:
        raise VastError("vast_input_missing", f"no file `{path}`") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_unchanged(path: Path) -> tuple[os.stat_result, str]:
    """Status and SHA-256 of a file that did not change while it was read."""
    try:
        for _ in range(READ_ATTEMPTS):
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

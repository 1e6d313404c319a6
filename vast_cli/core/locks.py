"""Locks between processes, freed by the kernel when their holder dies.

Where a file system has none (Lustre mounted without `flock`), a file that its holder touches every few seconds stands
in. Not the package `filelock`: its versions differ in what they do with a lock file that was removed meanwhile (a cache
may be emptied at any time), and where there are no locks they leave a marker behind that nobody touches.
"""

import errno
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from vast_cli.core import files
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

BEAT_S = 10.0  # how often the stand-in for a lock is touched
STALE_S = 60.0  # untouched for so long it counts as left behind
GRACE_S = 0.1  # even who does not want to wait looks again: `owner` holds a lock for an instant to try it
_POLL_S = (0.002, 0.1)  # first and longest pause between two looks
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}


@dataclass(frozen=True)
class Owner:
    """Who holds a lock."""

    pid: int  # 0 if not known
    host: str
    since: str  # UTC, ISO 8601

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}" if self.pid else "another process"


@contextmanager
def hold(
    path: Path, *, wait_s: float | None = 0, what: str | None = None, named: bool = True, keep: bool = True
) -> Iterator[None]:
    """Hold the lock `path` against other processes and other threads of this one. It cannot be taken twice.

    Args:
        path: the lock's file; made with its folder where missing.
        wait_s: how long to wait for it; None is for ever.
        what: what it stands for, for the message.
        named: say in `NAME.owner.json` beside it who holds it.
        keep: leave the lock's file behind; without, it is removed again, which is as safe.

    Raises:
        VastError: `vast_locked`; `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed` for its file.
    """
    path = _canonical(path)
    deadline = None if wait_s is None else time.monotonic() + max(wait_s, GRACE_S)
    with _turn(path, deadline) as mine:
        grip = _wait(path, deadline) if mine else None
        if grip is None:
            raise VastError(
                "vast_locked", f"{what or f'`{path}`'} is in use by {_read_owner(path) or 'another process'}"
            )
        process = os.getpid()
        try:
            if named:
                _write_owner(path)
            yield
        finally:
            if os.getpid() == process:  # else a forked child came out of the block: the lock is its parent's
                if named:
                    with suppress(OSError):
                        _owner_path(path).unlink(missing_ok=True)
                grip.release(keep=keep)


def owner(path: Path) -> Owner | None:
    """Who holds the lock `path` now; nobody, if a dead process left its name behind.

    Raises:
        VastError: `vast_output_unwritable`, `vast_write_failed` where the lock cannot be tried.
    """
    path = _canonical(path)
    if not path.exists():
        return None
    with _turn(path, time.monotonic()) as mine:
        if mine:
            try:
                grip = _grasp(path, create=False)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise files.write_error(error, path) from error
            if grip is not None:
                grip.release(keep=True)
                return None
    return _read_owner(path) or Owner(0, "", "")


def remove_unheld(path: Path) -> None:
    """Remove the file of a lock that nobody holds."""
    with suppress(VastError, OSError), hold(path, named=False, keep=False):
        pass


# --- the lock itself -------------------------------------------------------------------------------------------------


class _Grip(Protocol):
    """A lock that is held."""

    def release(self, *, keep: bool) -> None: ...


def _wait(path: Path, deadline: float | None) -> _Grip | None:
    """The lock, or None if it stayed with somebody else until `deadline`."""
    pause_s, longest_s = _POLL_S
    vanished = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            grip = _grasp(path, create=True)
            if grip is not None:
                return grip
        except OSError as error:
            vanished += isinstance(error, FileNotFoundError)  # its folder was removed between the two lines
            if not 0 < vanished < 20:
                raise files.write_error(error, path) from error
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)


def _grasp(path: Path, *, create: bool) -> _Grip | None:
    """Try once; None if somebody holds it.

    Raises:
        OSError: the file cannot be opened or locked.
    """
    descriptor = _open(path, create=create)
    try:
        taken = _lock(descriptor) and _is_file(descriptor, path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return _Heartbeat.take(path)
    else:
        if taken:
            grip, descriptor = _OsLock(path, descriptor), -1
            return grip
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(path: Path, *, create: bool) -> int:
    if create:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:  # somebody else's; good enough to try the lock
        return os.open(path, os.O_RDONLY)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the file that was locked: a removed file locks nobody out."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@dataclass
class _OsLock:
    path: Path
    descriptor: int

    def __post_init__(self) -> None:
        _descriptors.add(self.descriptor)

    def release(self, *, keep: bool) -> None:
        if not keep and os.name != "nt":  # whoever waits for it sees that the file is gone and takes a new one
            with suppress(OSError):
                self.path.unlink()
        _descriptors.discard(self.descriptor)
        os.close(self.descriptor)
        if not keep and os.name == "nt":  # open files cannot be removed there, so nobody else's is
            with suppress(OSError):
                self.path.unlink()


# --- where the file system has no locks ------------------------------------------------------------------------------


@dataclass
class _Heartbeat:
    """`NAME.held`, made exclusively, touched every `BEAT_S`."""

    file: Path
    token: str
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def take(cls, path: Path) -> "_Heartbeat | None":
        file = path.with_name(path.name + ".held")
        beat = cls(file, uuid.uuid4().hex)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            _remove_stale(file)
            return None
        with os.fdopen(descriptor, "w") as stream:
            stream.write(beat.token)
        threading.Thread(target=beat.run, name="vast-lock", daemon=True).start()
        return beat

    def run(self) -> None:
        while not self.stop.wait(BEAT_S):
            try:
                if self.file.read_text() != self.token:
                    log.warning("`%s` was taken by somebody else: this process stood still for too long", self.file)
                    return
                os.utime(self.file)
            except OSError as error:
                log.warning("`%s` cannot be kept: %s", self.file, error)

    def release(self, *, keep: bool) -> None:
        self.stop.set()
        with suppress(OSError):
            if self.file.read_text() == self.token:
                self.file.unlink()
                if not keep:
                    self.file.with_suffix("").unlink()


def _remove_stale(file: Path) -> None:
    """Remove the stand-in of a holder that no longer touches it. Ages are taken by the file server's clock."""
    probe, grave = files.part_path(file), files.part_path(file)
    try:
        token, touched = file.read_text(), file.stat().st_mtime
        probe.touch()
        age_s = probe.stat().st_mtime - touched
        probe.unlink()
        if age_s <= STALE_S:
            return
        file.rename(grave)  # of several who do this, one succeeds
        if grave.read_text() != token:  # another one's, made since we looked
            os.link(grave, file)
        grave.unlink()
    except OSError as error:
        log.debug("`%s`: %s", file, error)
    finally:
        for path in (probe, grave):
            with suppress(OSError):
                path.unlink(missing_ok=True)


# --- threads of this process take turns ------------------------------------------------------------------------------


@dataclass
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


_guard = threading.Lock()
_turns: dict[Path, _Turn] = {}
_descriptors: set[int] = set()


@contextmanager
def _turn(path: Path, deadline: float | None) -> Iterator[bool]:
    """Whether it is this thread's turn; kernel locks do not tell threads apart everywhere."""
    with _guard:
        turn = _turns.setdefault(path, _Turn())
        turn.users += 1
    left_s = -1 if deadline is None else min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)
    mine = turn.lock.acquire(timeout=left_s)
    try:
        yield mine
    finally:
        if mine:
            turn.lock.release()
        with _guard:
            turn.users -= 1
            if turn.users == 0:
                _turns.pop(path, None)


def _forget_in_child() -> None:
    """A forked child holds nothing, and must not keep its parent's locks after the parent's death."""
    global _guard
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()
    _turns.clear()
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


# --- names -----------------------------------------------------------------------------------------------------------


def _canonical(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _owner_path(path: Path) -> Path:
    return path.with_name(path.name + ".owner.json")


def _write_owner(path: Path) -> None:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    me = Owner(pid=os.getpid(), host=socket.gethostname(), since=now)
    try:
        with files.atomic_write(_owner_path(path)) as part:
            part.write_text(json.dumps(asdict(me)), encoding="utf-8")
    except VastError as error:  # on a full disk the lock holds all the same
        log.warning("who holds `%s` could not be noted: %s", path, error.message)


def _read_owner(path: Path) -> Owner | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        document = json.loads(_owner_path(path).read_text(encoding="utf-8"))
        return Owner(int(document["pid"]), str(document["host"]), str(document["since"]))
    return None

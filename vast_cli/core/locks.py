"""Locks between processes and threads, which the kernel releases when their holder dies.

On file systems without locks `heartbeat` stands in. The package `filelock` does not serve: its versions differ in what
they do when a lock file is removed by others (a cache may be emptied at any time), and without locks of the file system
it leaves a marker that is never refreshed.
"""

import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.heartbeat import Heartbeat

log = logging.getLogger(__name__)

GRACE_S = 0.1  # tried again for so long even without waiting: `owner` holds a lock for an instant to test it
_POLL_S = (0.002, 0.1)  # first and longest pause between two attempts
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    pid: int  # 0 if unknown
    host: str
    since: str  # UTC, ISO 8601

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}" if self.pid else "another process"


@contextmanager
def hold(
    path: Path, *, wait_s: float | None = 0, name: str | None = None, record_owner: bool = True, keep_file: bool = True
) -> Iterator[None]:
    """Hold the lock `path` against other processes and other threads of this process. It is not reentrant.

    Args:
        path: the lock file; created with its folder if missing.
        wait_s: how long to wait for the lock; None waits for ever.
        name: what the lock protects, for the message; the path if not given.
        record_owner: write `FILE.owner.json` beside the lock file: which process holds it.
        keep_file: leave the lock file behind; removing it is as safe.

    Raises:
        VastError: `vast_locked`; `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed` for the lock file.
    """
    path = _canonical(path)
    deadline = None if wait_s is None else time.monotonic() + max(wait_s, GRACE_S)
    with _thread_turn(path, deadline) as has_turn:
        lock = _acquire(path, deadline) if has_turn else None
        if lock is None:
            raise VastError(
                "vast_locked", f"{name or f'`{path}`'} is in use by {_read_owner(path) or 'another process'}"
            )
        process = os.getpid()
        try:
            if record_owner:
                _write_owner(path)
            yield
        finally:
            if os.getpid() == process:  # a forked child that leaves the block does not release its parent's lock
                if record_owner:
                    with suppress(OSError):
                        _owner_path(path).unlink(missing_ok=True)
                lock.release(keep_file=keep_file)


def owner(path: Path) -> Owner | None:
    """The process that holds the lock `path` now; None if only a dead process left its name.

    Raises:
        VastError: `vast_output_unwritable`, `vast_write_failed` if the lock cannot be tested.
    """
    path = _canonical(path)
    if not path.exists():
        return None
    with _thread_turn(path, time.monotonic()) as has_turn:
        if has_turn:
            try:
                lock = _try_acquire(path, create=False)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise files.write_error(error, path) from error
            if lock is not None:
                lock.release(keep_file=True)
                return None
    return _read_owner(path) or Owner(0, "", "")


def remove_unheld(path: Path) -> None:
    """Remove the file of a lock unless the lock is held."""
    with suppress(VastError, OSError), hold(path, record_owner=False, keep_file=False):
        pass


# --- the lock itself -------------------------------------------------------------------------------------------------


class _HeldLock(Protocol):
    """A lock that this process holds."""

    def release(self, *, keep_file: bool) -> None: ...


def _acquire(path: Path, deadline: float | None) -> _HeldLock | None:
    """The lock, or None if others held it until `deadline`."""
    pause_s, longest_s = _POLL_S
    n_vanished = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _try_acquire(path, create=True)
            if lock is not None:
                return lock
        except OSError as error:
            n_vanished += isinstance(error, FileNotFoundError)  # the folder was removed between mkdir and open
            if not 0 < n_vanished < 20:
                raise files.write_error(error, path) from error
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)


def _try_acquire(path: Path, *, create: bool) -> _HeldLock | None:
    """Try once to take the lock; None if it is held.

    Raises:
        OSError: the file cannot be opened or locked.
    """
    descriptor = _open(path, create=create)
    try:
        acquired = _lock(descriptor) and _is_file(descriptor, path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return Heartbeat.try_acquire(path)
    else:
        if acquired:
            lock, descriptor = _KernelLock(path, descriptor), -1
            return lock
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(path: Path, *, create: bool) -> int:
    if create:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:  # another user's; reading is enough to test the lock
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
    """Whether `path` is still the locked file: the lock on a removed file excludes no other process."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@dataclass
class _KernelLock:
    path: Path
    descriptor: int

    def __post_init__(self) -> None:
        _descriptors.add(self.descriptor)

    def release(self, *, keep_file: bool) -> None:
        if not keep_file and os.name != "nt":  # a waiting process notices that the file is gone and creates a new one
            with suppress(OSError):
                self.path.unlink()
        _descriptors.discard(self.descriptor)
        os.close(self.descriptor)
        if not keep_file and os.name == "nt":  # Windows cannot remove open files, so this fails if others use it
            with suppress(OSError):
                self.path.unlink()


# --- turns of this process's threads ---------------------------------------------------------------------------------


@dataclass
class _ThreadTurn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


_guard = threading.Lock()
_turns: dict[Path, _ThreadTurn] = {}
_descriptors: set[int] = set()


@contextmanager
def _thread_turn(path: Path, deadline: float | None) -> Iterator[bool]:
    """Wait for this thread's turn and yield whether it came; not all kernels lock threads against each other."""
    with _guard:
        turn = _turns.setdefault(path, _ThreadTurn())
        turn.users += 1
    left_s = -1 if deadline is None else min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)
    has_turn = turn.lock.acquire(timeout=left_s)
    try:
        yield has_turn
    finally:
        if has_turn:
            turn.lock.release()
        with _guard:
            turn.users -= 1
            if turn.users == 0:
                _turns.pop(path, None)


def _forget_in_child() -> None:
    """Drop all locks in a forked child: they are its parent's, and must not outlive the parent."""
    global _guard
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()
    _turns.clear()
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


# --- owners ----------------------------------------------------------------------------------------------------------


def _canonical(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _owner_path(path: Path) -> Path:
    return path.with_name(path.name + ".owner.json")


def _write_owner(path: Path) -> None:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    this_process = Owner(pid=os.getpid(), host=socket.gethostname(), since=now)
    try:
        with files.atomic_write(_owner_path(path)) as part:
            part.write_text(json.dumps(asdict(this_process)), encoding="utf-8")
    except VastError as error:  # a full disk does not affect the lock itself
        log.warning("the owner of `%s` could not be recorded: %s", path, error.message)


def _read_owner(path: Path) -> Owner | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        document = json.loads(_owner_path(path).read_text(encoding="utf-8"))
        return Owner(int(document["pid"]), str(document["host"]), str(document["since"]))
    return None

"""Cache of tracks, styles and posteriorgrams on disk, shared by all processes.

An entry is `KINDs/ab/KEY.DIGEST.KIND`: KEY is the hash of everything the record was made from, DIGEST the hash of the
file's bytes, checked by every read. Of several processes and threads that need one key, one makes the record. The
folder may be emptied at any time.
"""

import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from vast_cli import records
from vast_cli.core import files, locks
from vast_cli.core.errors import Exit, VastError
from vast_cli.records import R
from vast_cli.store.hashes import FileHashes, FileState

__all__ = ["NO_CACHE", "Cache", "FileHashes", "FileState"]

log = logging.getLogger(__name__)

MAX_BYTES = 10_000_000_000
DIGEST_DIGITS = 16  # of SHA-256 in an entry's name: enough to detect damage; attacks are out of scope
FAILURE_AGE_S = 24 * 3600.0  # a remembered failure unread for longer belongs to a finished run
PRUNE_EVERY = 100  # a process prunes at its first write and after every 100th
# the names of the cache's files; other files in the folder are never touched
_ENTRY = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.[a-z]+")
_DRAFT = re.compile(r"\.+([0-9a-f]{64})\..*\.[a-z]+")  # and the temporary files of `files.atomic_write` for it
_FAILURE = re.compile(r"[0-9a-f]{64}\..+\.error\.json")
_LOCK = re.compile(r"[0-9a-f]{64}\.lock")


class Cache:
    """Records by the key of everything they were made from.

    Args:
        folder: folder of the cache; None disables it.
        max_bytes: size that `prune` reduces it to.
        run: name of the batch run; failures caused by unusable inputs are remembered for this run only.

    Attributes:
        hashes: hashes of input files, which keys are made of.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = MAX_BYTES, run: str | None = None) -> None:
        self.folder = None if folder is None else folder.absolute()
        self.hashes = FileHashes(folder)
        self._max_bytes = max_bytes
        self._run = run
        self._written = 0
        self._warned = False

    def fetch(self, kind: type[R], key: Mapping[str, str], make: Callable[[], R]) -> R:
        """The record of `key`, from the cache or else from `make`.

        If the cache cannot be read or written, `make` is called and the record is not stored.

        Raises:
            VastError: what `make` raises; with a `run`, failures of exit status 65 are raised again without a call.
        """
        if self.folder is None:
            return make()
        name = _key(kind, key)
        cached = self._find(kind, name)
        if cached is not None:
            return cached
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.hold(self._lock_path(name), wait_s=None, record_owner=False, keep_file=False))
            except VastError as error:
                self._warn(error)
                return make()
            cached = self._find(kind, name, remove_damaged=True)  # another process may have made it meanwhile
            if cached is not None:
                return cached
            return self._make(kind, name, make)

    def prune(self) -> int:
        """Remove the least recently used entries until `max_bytes` remain, and leftovers of dead processes.

        Safe while other processes use the cache; files that are not the cache's are never touched.

        Returns:
            Bytes freed.
        """
        if self.folder is None or not self.folder.is_dir():
            return 0
        try:
            with locks.hold(self.folder / "prune.lock", record_owner=False, keep_file=False):
                return self._prune()
        except VastError as error:  # another process is pruning
            log.debug("the cache was not pruned: %s", error.message)
            return 0

    # --- one entry ---------------------------------------------------------------------------------------------------

    def _lock_path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / "locks" / f"{name}.lock"

    def _entry_folder(self, kind: type[R], name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{_suffix(kind)}s" / name[:2]

    def _error_path(self, kind: type[R], name: str) -> Path | None:
        return None if self._run is None else self._entry_folder(kind, name) / f"{name}.{self._run}.error.json"

    def _find(self, kind: type[R], name: str, *, remove_damaged: bool = False) -> R | None:
        """The stored record, None if there is no intact one.

        Raises:
            VastError: the failure remembered for this run.
        """
        for path in _listing(self._entry_folder(kind, name)):
            if not (path.name.startswith(name) and _ENTRY.fullmatch(path.name)):
                continue
            record = _read(kind, path)
            if record is not None:
                return record
            if remove_damaged:
                with suppress(OSError):
                    path.unlink()
                    log.warning("`%s` was damaged; it is made again", path)
        error_path = self._error_path(kind, name)
        if error_path is not None:
            _raise_remembered(error_path)
        return None

    def _make(self, kind: type[R], name: str, make: Callable[[], R]) -> R:
        try:
            record = make()
        except VastError as error:
            error_path = self._error_path(kind, name)
            if error.exit == Exit.DATA and error_path is not None:
                self._remember_failure(error_path, error)
            raise
        self._store(kind, name, record)
        return record

    def _store(self, kind: type[R], name: str, record: R) -> None:
        folder = self._entry_folder(kind, name)
        draft = folder / f".{name}.{os.getpid()}.draft.{_suffix(kind)}"  # written by the holder of the lock only
        try:
            record.save(draft)
            draft.replace(folder / f"{name}.{files.sha256(draft)[:DIGEST_DIGITS]}.{_suffix(kind)}")
        except (VastError, OSError) as error:
            self._warn(error)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        if self._written % PRUNE_EVERY == 0:
            self.prune()
        self._written += 1

    def _remember_failure(self, path: Path, error: VastError) -> None:
        try:
            with files.atomic_write(path) as part:
                part.write_text(json.dumps(error.as_dict()), encoding="utf-8")
        except (VastError, OSError) as write_error:
            self._warn(write_error)

    def _warn(self, error: Exception) -> None:
        log.log(
            logging.DEBUG if self._warned else logging.WARNING, "the cache `%s` cannot be used: %s", self.folder, error
        )
        self._warned = True

    # --- all entries -------------------------------------------------------------------------------------------------

    def _prune(self) -> int:
        assert self.folder is not None
        entries: list[tuple[float, int, Path]] = []  # last use, size, path
        freed = 0
        for path, status in _walk(self.folder):
            age_s = time.time() - status.st_mtime
            if _ENTRY.fullmatch(path.name):
                entries.append((status.st_mtime, status.st_size, path))
            elif draft := _DRAFT.fullmatch(path.name):
                freed += self._remove_draft(path, status.st_size, draft[1])
            elif _FAILURE.fullmatch(path.name) and age_s > FAILURE_AGE_S:
                freed += _remove(path, status.st_size)
            elif _LOCK.fullmatch(path.name):
                locks.remove_unheld(path)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                break
            total -= size
            freed += _remove(path, size)
        return freed

    def _remove_draft(self, path: Path, size: int, name: str) -> int:
        """Remove a draft unless its writer, which holds the lock of its key, is still alive; gives the bytes freed."""
        try:
            with locks.hold(self._lock_path(name), record_owner=False, keep_file=False):
                return _remove(path, size)
        except VastError:
            return 0


NO_CACHE = Cache(None)


def _suffix(kind: type[R]) -> str:
    return kind.FORMAT.rpartition(".")[2]


def _key(kind: type[R], key: Mapping[str, str]) -> str:
    document = {"format": kind.FORMAT, "version": kind.VERSION, "key": dict(key)}
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # missing, or removed in the meantime
        return []


def _read(kind: type[R], path: Path) -> R | None:
    """The record of an entry, None if it is damaged or gone; reading counts as use."""
    try:
        if files.sha256(path)[:DIGEST_DIGITS] != path.name.split(".")[1]:
            return None
        record = records.load(kind, path)
    except (VastError, OSError) as error:
        log.debug("`%s`: %s", path, error)
        return None
    _touch(path)
    return record


def _touch(path: Path) -> None:
    with suppress(OSError):  # the cache may belong to another user
        os.utime(path)


def _raise_remembered(path: Path) -> None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        error = VastError(document["code"], document["message"], where=document["where"], hint=document["hint"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    _touch(path)
    raise error


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Files in `locks` and in `KINDs/ab`; files removed in the meantime are skipped."""
    subfolders = [folder / "locks"]
    for kind in _listing(folder):
        if kind.name.endswith("s"):
            subfolders += [subfolder for subfolder in _listing(kind) if len(subfolder.name) == 2]
    for subfolder in subfolders:
        for path in _listing(subfolder):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def _remove(path: Path, size: int) -> int:
    try:
        path.unlink()
    except OSError:  # already gone, or open on Windows
        return 0
    return size

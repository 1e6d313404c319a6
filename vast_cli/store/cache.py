"""Tracks, styles and posteriorgrams kept by what they were made from, shared by every process that looks.

An entry is `KINDs/ab/KEY.DIGEST.KIND`: KEY is the hash of what it was made from, DIGEST that of its bytes, so that
every read is checked. Of all who ask for the same key at once one makes it. The folder may be emptied at any time.
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
DIGEST_DIGITS = 16  # of SHA-256 in an entry's name: damage is to be found, not an attack
FAILURE_AGE_S = 24 * 3600.0  # unread for so long, the failure is of a run that is over
PRUNE_EVERY = 100  # entries that a process writes between two looks at the folder's size; the first counts
# names of ours; whatever else lies in the folder is not touched
_ENTRY = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.[a-z]+")
_DRAFT = re.compile(r"\.+([0-9a-f]{64})\..*\.[a-z]+")  # with the temporary files of `files.atomic_write` for it
_FAILURE = re.compile(r"[0-9a-f]{64}\..+\.error\.json")
_LOCK = re.compile(r"[0-9a-f]{64}\.lock")


class Cache:
    """Records by what they were made from.

    Args:
        folder: where they lie; None: nothing is kept.
        max_bytes: what `prune` leaves.
        run: name of the batch; failures of unusable inputs are remembered for it, and for it alone.

    Attributes:
        hashes: contents of files, for the keys.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = MAX_BYTES, run: str | None = None) -> None:
        self.folder = None if folder is None else folder.absolute()
        self.hashes = FileHashes(folder)
        self._max_bytes = max_bytes
        self._run = run
        self._written = 0
        self._warned = False

    def fetch(self, kind: type[R], key: Mapping[str, str], make: Callable[[], R]) -> R:
        """The record made from what `key` says, from the cache or from `make`.

        A cache that cannot be read or written costs time, not the job.

        Raises:
            VastError: what `make` raises; within a run, a failure of exit status 65 also without calling it again.
        """
        if self.folder is None:
            return make()
        name = _key(kind, key)
        found = self._find(kind, name)
        if found is not None:
            return found
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.hold(self._lock_path(name), wait_s=None, record_owner=False, keep_file=False))
            except VastError as error:
                self._warn(error)
                return make()
            found = self._find(kind, name, remove_damaged=True)  # somebody may have made it while we waited
            if found is not None:
                return found
            return self._make(kind, name, make)

    def prune(self) -> int:
        """Remove what was not used for longest until `max_bytes` are kept, and what dead processes left.

        Gives the bytes freed. Safe beside running processes; files that are not the cache's are left alone.
        """
        if self.folder is None or not self.folder.is_dir():
            return 0
        try:
            with locks.hold(self.folder / "prune.lock", record_owner=False, keep_file=False):
                return self._prune()
        except VastError as error:  # another process is at it
            log.debug("the cache was not pruned: %s", error.message)
            return 0

    # --- one entry ---------------------------------------------------------------------------------------------------

    def _lock_path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / "locks" / f"{name}.lock"

    def _place(self, kind: type[R], name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{_suffix(kind)}s" / name[:2]

    def _error_path(self, kind: type[R], name: str) -> Path | None:
        return None if self._run is None else self._place(kind, name) / f"{name}.{self._run}.error.json"

    def _find(self, kind: type[R], name: str, *, remove_damaged: bool = False) -> R | None:
        """The entry, if it is there and whole.

        Raises:
            VastError: the failure remembered for this run.
        """
        for path in _listing(self._place(kind, name)):
            if not (path.name.startswith(name) and _ENTRY.fullmatch(path.name)):
                continue
            record = _read(kind, path)
            if record is not None:
                return record
            if remove_damaged:
                with suppress(OSError):
                    path.unlink()
                    log.warning("`%s` was damaged and is made again", path)
        failed = self._error_path(kind, name)
        if failed is not None:
            _raise_remembered(failed)
        return None

    def _make(self, kind: type[R], name: str, make: Callable[[], R]) -> R:
        try:
            record = make()
        except VastError as error:
            failed = self._error_path(kind, name)
            if error.exit == Exit.DATA and failed is not None:
                self._remember_failure(failed, error)
            raise
        self._store(kind, name, record)
        return record

    def _store(self, kind: type[R], name: str, record: R) -> None:
        place = self._place(kind, name)
        draft = place / f".{name}.{os.getpid()}.draft.{_suffix(kind)}"  # only the holder of the lock writes it
        try:
            record.save(draft)
            draft.replace(place / f"{name}.{files.sha256(draft)[:DIGEST_DIGITS]}.{_suffix(kind)}")
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
        except (VastError, OSError) as trouble:
            self._warn(trouble)

    def _warn(self, error: Exception) -> None:
        log.log(
            logging.DEBUG if self._warned else logging.WARNING, "the cache `%s` is not used: %s", self.folder, error
        )
        self._warned = True

    # --- all entries -------------------------------------------------------------------------------------------------

    def _prune(self) -> int:
        assert self.folder is not None
        kept: list[tuple[float, int, Path]] = []
        freed = 0
        for path, status in _walk(self.folder):
            age_s = time.time() - status.st_mtime
            if _ENTRY.fullmatch(path.name):
                kept.append((status.st_mtime, status.st_size, path))
            elif draft := _DRAFT.fullmatch(path.name):
                freed += self._remove_draft(path, status.st_size, draft[1])
            elif _FAILURE.fullmatch(path.name) and age_s > FAILURE_AGE_S:
                freed += _remove(path, status.st_size)
            elif _LOCK.fullmatch(path.name):
                locks.remove_unheld(path)
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self._max_bytes:
                break
            total -= size
            freed += _remove(path, size)
        return freed

    def _remove_draft(self, path: Path, size: int, name: str) -> int:
        """A draft whose maker died: nobody holds its key."""
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


def _listing(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError:  # no folder, or gone meanwhile
        return []


def _read(kind: type[R], path: Path) -> R | None:
    """The record in an entry, None if it is damaged or gone; a read counts as use."""
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
    with suppress(OSError):  # the cache may be somebody else's
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
    """Files in `locks` and in `KINDs/ab`; what vanishes meanwhile is passed over."""
    places = [folder / "locks"]
    for kind in _listing(folder):
        if kind.name.endswith("s"):
            places += [place for place in _listing(kind) if len(place.name) == 2]
    for place in places:
        for path in _listing(place):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def _remove(path: Path, size: int) -> int:
    try:
        path.unlink()
    except OSError:  # gone, or open on Windows
        return 0
    return size

"""Files on disk: write whole or not at all, hash, clean up after dead runs."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vast_cli.core.errors import VastError

RUN = uuid.uuid4().hex[:8]  # names this process's temporary files
MAX_STEM = 100  # bytes of the target's stem kept in a temporary name: names of 200 characters still fit in 255 bytes


def write_error(error: OSError, path: Path) -> VastError:
    """The user's error for a failed write to `path`."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return VastError("vast_disk_full", f"no space left while writing `{path}`")
    if error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENAMETOOLONG,
    ):
        return VastError("vast_output_unwritable", f"cannot write `{path}`: {reason.lower()}")
    return VastError("vast_write_failed", f"writing `{path}` failed: {reason.lower()}")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Fail before any work if `path` could not be written at the end.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`.
    """
    if path.is_dir():
        raise VastError("vast_output_unwritable", f"`{path}` is a folder", hint="name a file with `-o`")
    if path.exists() and not overwrite:
        raise VastError("vast_output_exists", f"`{path}` exists already")
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = part_path(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(error, path) from error


def check_input(path: Path) -> None:
    """Fail with a clear message if `path` is no readable file.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`.
    """
    if not path.exists():
        raise VastError("vast_input_missing", f"no file `{path}`")
    if path.is_dir():
        raise VastError("vast_input_unreadable", f"`{path}` is a folder, not a file", hint="name a file")
    if not os.access(path, os.R_OK):
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read")


def part_path(path: Path) -> Path:
    """A temporary name beside `path`, with the same ending so that encoders know the container."""
    stem = path.stem.encode()[:MAX_STEM].decode(errors="ignore")
    return path.absolute().parent / f".{stem}.{RUN}-{uuid.uuid4().hex[:6]}.part{path.suffix}"


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end fsync it and give it its name, on any failure remove it.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    check_output(path, overwrite=overwrite)
    part = part_path(path)
    try:
        try:
            part.touch()
            mode = part.stat().st_mode  # the umask's; some writers make files that only their owner can read
            yield part
            part.chmod(mode)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            if not overwrite and path.exists():  # somebody made it while we worked
                raise VastError("vast_output_exists", f"`{path}` exists already")
            part.replace(path)
            fsync_folder(path.absolute().parent)
        except OSError as error:
            raise write_error(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Make names given in `folder` last."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_output_folder(path: Path, *, overwrite: bool) -> None:
    """Fail before any work if a folder of results could not be written at `path`.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`.
    """
    if path.exists() and not path.is_dir():
        raise VastError("vast_output_exists", f"`{path}` is a file, not a folder", hint="name another folder with `-o`")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise VastError("vast_output_exists", f"folder `{path}` holds something already")
    check_output(path / "probe", overwrite=True)

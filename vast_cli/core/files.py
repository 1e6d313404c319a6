"""Files: checks of inputs and outputs, atomic writes, hashes."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vast_cli.core.errors import VastError

run_tag = uuid.uuid4().hex[:8]  # in the names of temporary files; a batch sets its own, to find what dead jobs left
MAX_STEM = 100  # bytes of the target's stem in a temporary name, so that it fits into 255 bytes


def write_error(error: OSError, path: Path) -> VastError:
    """The error to report for a failed write to `path`."""
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
    """Check before any work that `path` can be written.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`.
    """
    if path.is_dir():
        raise VastError("vast_output_unwritable", f"`{path}` is a folder", hint="give the path of a file with `-o`")
    if path.exists() and not overwrite:
        raise VastError("vast_output_exists", f"`{path}` already exists")
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = part_path(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(error, path) from error


def check_input(path: Path) -> None:
    """Check that `path` is a readable file.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`.
    """
    if not path.exists():
        raise VastError("vast_input_missing", f"no file `{path}`")
    if path.is_dir():
        raise VastError("vast_input_unreadable", f"`{path}` is a folder, not a file", hint="give the path of a file")
    if not os.access(path, os.R_OK):
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read")


def part_path(path: Path) -> Path:
    """A temporary path beside `path`, with the same suffix so that encoders recognise the container."""
    stem = path.stem.encode()[:MAX_STEM].decode(errors="ignore")
    return path.absolute().parent / f".{stem}.{run_tag}-{uuid.uuid4().hex[:6]}.part{path.suffix}"


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end fsync and rename it to `path`, after a failure remove it.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    check_output(path, overwrite=overwrite)
    part = part_path(path)
    try:
        try:
            part.touch()
            mode = part.stat().st_mode  # as the umask says; some writers create files that only their owner can read
            yield part
            part.chmod(mode)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            if not overwrite and path.exists():  # created by another process in the meantime
                raise VastError("vast_output_exists", f"`{path}` already exists")
            part.replace(path)
            fsync_folder(path.absolute().parent)
        except OSError as error:
            raise write_error(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Flush the names of files in `folder` to disk."""
    if os.name == "nt":  # Windows cannot open folders
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
    """Check before any work that results can be written into the folder `path`.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`.
    """
    if path.exists() and not path.is_dir():
        raise VastError(
            "vast_output_exists", f"`{path}` is a file, not a folder", hint="choose another folder with `-o`"
        )
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise VastError("vast_output_exists", f"folder `{path}` is not empty")
    check_output(path / "probe", overwrite=True)

"""Removes temporary files of attempts that are over; names hold run and attempt, so no other file is touched."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path


def remove_temporary_files(folders: Iterable[Path], names: Collection[str]) -> int:
    """Remove the temporary files in `folders` whose name holds one of `names` (a run, or an attempt's tag).

    Returns:
        How many files were removed.
    """
    marks = [f".{name}{end}" for name in names for end in (".", "-")]
    removed = 0
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                is_temporary = entry.name.startswith(".") and ".part" in entry.name
                if is_temporary and any(mark in entry.name for mark in marks):
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()
                        removed += 1
    return removed


def clear_folder(folder: Path, *, keep: Collection[str] = ()) -> None:
    """Remove everything in `folder` except the names in `keep`, and the folder itself if it is empty then."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in keep:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def list_folder(folder: Path) -> list[Path]:
    """The paths in `folder`; none if it does not exist."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries]
    return []

"""Temporary files of attempts that are over: named by run and attempt, so nobody else's are touched."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path


def remove(folders: Iterable[Path], names: Collection[str]) -> int:
    """Remove the temporary files in `folders` whose name holds one of `names` (a run, or an attempt's tag).

    Returns:
        How many there were.
    """
    marks = [f".{name}{end}" for name in names for end in (".", "-")]
    removed = 0
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and ".part" in entry.name
                if hidden and any(mark in entry.name for mark in marks):
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink()
                        removed += 1
    return removed


def empty(folder: Path, *, keep: Collection[str] = ()) -> None:
    """Remove what lies in `folder`, but for the names in `keep`; the folder too when nothing is left."""
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


def within(folder: Path) -> list[Path]:
    """What lies in `folder`; nothing if it is not there."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries]
    return []

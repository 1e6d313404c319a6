"""Finds styles: shipped ones and the user's by name, all others by path."""

import os
from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.core.text import nearest
from vast_cli.store import assets, folders

SUFFIX = ".style"


def shipped_folder() -> Path:
    """Folder of the styles that ship with vast, and of their cards."""
    return assets.data_folder("presets").absolute() / "styles"


def available() -> dict[str, Path]:
    """Style files by name, absolute; the user's hide shipped ones of the same name."""
    return {
        path.stem: path
        for folder in (shipped_folder(), folders.styles_folder().absolute())
        for path in sorted(folder.glob(f"*{SUFFIX}"))
    }


def is_path(text: str) -> bool:
    """Whether a text can only mean a file: a name has neither the suffix nor a folder."""
    return text.endswith(SUFFIX) or "/" in text or os.sep in text


def find(text: str, *, folder: Path = Path()) -> Path:
    """Path of the style that a user means: a file if there is one, else the style of that name.

    Args:
        text: a path, which need not exist, or a name.
        folder: where relative paths start.

    Raises:
        VastError: `vast_style_unknown`; the hint names the closest.
    """
    path = folder / text
    if is_path(text) or os.path.isfile(path):  # noqa: PTH113 - false, not an error, for a text too long for a file
        return path
    styles = available()
    if text in styles:
        return styles[text]
    closest = nearest(text, styles)
    suggestion = f"did you mean `{closest}`? " if closest else ""
    raise VastError("vast_style_unknown", f"no style `{text}`", hint=f"{suggestion}`vast styles list` lists them")


def name_of(path: Path) -> str | None:
    """The name by which a style file is found, None if it is found by its path only."""
    named = path.suffix == SUFFIX and path.parent in (shipped_folder(), folders.styles_folder().absolute())
    return path.stem if named else None

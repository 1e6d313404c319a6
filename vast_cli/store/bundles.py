"""Finds avatar bundles: shipped ones and the user's by name, all others by path."""

from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.core.text import nearest
from vast_cli.store import assets, folders

CARD = "avatar.json"  # marks a folder as a bundle
SUFFIX = ".avatar"  # a bundle in one file


def available() -> dict[str, Path]:
    """Bundles by name; the user's hide shipped ones of the same name."""
    paths: dict[str, Path] = {}
    for folder in (assets.data_folder("weights") / "avatars", folders.avatars_folder()):
        if folder.is_dir():
            paths |= {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CARD}"))}
            paths |= {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    return paths


def find(name: str) -> Path:
    """Path of the bundle `name`: a known avatar or a path.

    Raises:
        VastError: `vast_avatar_unknown`; the hint names the closest and all known ones.
    """
    bundles = available()
    if name in bundles:
        return bundles[name]
    path = Path(name)
    if (path / CARD).is_file() or (path.is_file() and path.suffix == SUFFIX):
        return path
    closest = nearest(name, bundles)
    suggestion = f"did you mean `{closest}`? " if closest else ""
    names = ", ".join(bundles) or "none"
    raise VastError("vast_avatar_unknown", f"no avatar `{name}`", hint=f"{suggestion}known avatars: {names}")

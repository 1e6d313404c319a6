"""Where avatars lie: those that ship and those in the user's folder by name, bundles anywhere by path."""

from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.core.text import nearest
from vast_cli.store import assets, folders

CARD = "avatar.json"  # a folder that holds one is a bundle
SUFFIX = ".avatar"  # a bundle in one file


def available() -> dict[str, Path]:
    """Bundles that can be named, the user's first choice over the shipped one."""
    paths: dict[str, Path] = {}
    for folder in (assets.data_folder("weights") / "avatars", folders.avatars_folder()):
        if folder.is_dir():
            paths |= {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CARD}"))}
            paths |= {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    return paths


def find(name: str) -> Path:
    """The bundle `name`: a known avatar, or a path.

    Raises:
        VastError: `vast_avatar_unknown`, naming the nearest and all known ones.
    """
    bundles = available()
    if name in bundles:
        return bundles[name]
    path = Path(name)
    if (path / CARD).is_file() or (path.is_file() and path.suffix == SUFFIX):
        return path
    near = nearest(name, bundles)
    meant = f"did you mean `{near}`? " if near else ""
    names = ", ".join(bundles) or "none"
    raise VastError("vast_avatar_unknown", f"no avatar `{name}`", hint=f"{meant}known avatars: {names}")

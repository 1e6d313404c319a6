"""Finds and verifies the weights that ship with the package; never uses the network."""

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import files
from vast_cli.core.errors import VastError

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Asset:
    """An entry of `weights/index.json`."""

    name: str
    path: Path
    sha256: str
    kind: str
    licence: str


def data_folder(name: str) -> Path:
    """The folder `weights`, `presets` or `examples`: inside an installed package, beside it in a checkout."""
    override = os.environ.get(f"VAST_{name.upper()}")
    if override:
        return Path(override)
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


@functools.cache
def _index(folder: Path) -> dict[str, Asset]:
    path = folder / "index.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Asset(name, folder / row["file"], row["sha256"], row["kind"], row["licence"])
            for name, row in rows.items()
        }
    except OSError as error:
        raise VastError("vast_asset_missing", f"`{path}` is missing") from error
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise VastError("vast_asset_corrupt", f"`{path}` is damaged: {error}") from error


def index() -> dict[str, Asset]:
    """All shipped assets by name."""
    return _index(data_folder("weights"))


@functools.cache
def _verified(path: Path, sha256: str, size: int, mtime_ns: int) -> Path:
    if files.sha256(path) != sha256:
        raise VastError("vast_asset_corrupt", f"`{path}` is not the file that ships with vast: its SHA-256 differs")
    return path


def verify(asset: Asset) -> Path:
    """Path of the asset after its bytes were checked against the index, once per process and file state.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`.
    """
    try:
        status = asset.path.stat()
    except OSError as error:
        raise VastError("vast_asset_missing", f"`{asset.path}` is missing") from error
    return _verified(asset.path, asset.sha256, status.st_size, status.st_mtime_ns)


def check() -> None:
    """Check every shipped file against the index; takes milliseconds and does not rely on remembered hashes.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`.
    """
    for asset in index().values():
        verify(asset)


def find(name: str) -> Path:
    """Path of a shipped file after its hash was checked.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`.
    """
    if name not in index():
        raise VastError("vast_asset_missing", f"no asset `{name}` in `weights/index.json`")
    return verify(index()[name])


def model_hash(name: str) -> str:
    """The hash by which records name the model that made them."""
    return index()[name].sha256[:16]

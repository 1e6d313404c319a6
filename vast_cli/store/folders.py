"""Where a user's own files lie, by the conventions of each platform."""

import os
from pathlib import Path

from platformdirs import PlatformDirs

APP = "vast"


def cache_folder() -> Path:
    """Folder of the cache; `VAST_CACHE` moves it."""
    override = os.environ.get("VAST_CACHE")
    return Path(override) if override else _platform_dirs().user_cache_path


def presets_folder() -> Path:
    """Folder of the user's presets."""
    return _platform_dirs().user_config_path / "presets"


def avatars_folder() -> Path:
    """Folder of the user's avatars; `VAST_AVATARS` moves it."""
    override = os.environ.get("VAST_AVATARS")
    return Path(override) if override else _platform_dirs().user_data_path / "avatars"


def styles_folder() -> Path:
    """Folder of the user's styles; `VAST_STYLES` moves it."""
    override = os.environ.get("VAST_STYLES")
    return Path(override) if override else _platform_dirs().user_data_path / "styles"


def _platform_dirs() -> PlatformDirs:
    return PlatformDirs(APP, appauthor=False)  # on Windows the author would be a folder of its own

"""A user's folders follow the conventions of each platform, and environment variables move them."""

from collections.abc import Callable
from pathlib import Path

import platformdirs.macos
import platformdirs.unix
import platformdirs.windows
import pytest

from vast_cli.store import folders

UNIX, MACOS, WINDOWS = platformdirs.unix.Unix, platformdirs.macos.MacOS, platformdirs.windows.Windows
VARIABLES = ("VAST_CACHE", "VAST_AVATARS", "VAST_STYLES", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
SUPPORT = "~/Library/Application Support/vast"


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Act as if on a platform, with these environment variables alone; Windows says that local data is in `/l`."""

    def call(platform: type, environment: dict[str, str]) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(folders, "PlatformDirs", platform)
        monkeypatch.setattr(platformdirs.windows, "get_win_folder", {"CSIDL_LOCAL_APPDATA": "/l"}.__getitem__)

    return call


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        (UNIX, {"VAST_CACHE": "/x/y", "XDG_CACHE_HOME": "/z"}, "/x/y"),
        (UNIX, {"XDG_CACHE_HOME": "/z"}, "/z/vast"),
        (UNIX, {"XDG_CACHE_HOME": ""}, "~/.cache/vast"),
        (UNIX, {}, "~/.cache/vast"),
        (MACOS, {"VAST_CACHE": "/x/y"}, "/x/y"),
        (MACOS, {"XDG_CACHE_HOME": "/z"}, "/z/vast"),
        (MACOS, {}, "~/Library/Caches/vast"),
        (WINDOWS, {"VAST_CACHE": "/x/y"}, "/x/y"),
        (WINDOWS, {}, "/l/vast/Cache"),
    ],
)
def test_cache(on: Callable[..., None], platform: type, environment: dict[str, str], expected: str) -> None:
    on(platform, environment)
    assert folders.cache_folder() == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        (UNIX, {"XDG_CONFIG_HOME": "/z"}, "/z/vast/presets"),
        (UNIX, {}, "~/.config/vast/presets"),
        (MACOS, {"XDG_CONFIG_HOME": "/z"}, "/z/vast/presets"),
        (MACOS, {}, f"{SUPPORT}/presets"),
        (WINDOWS, {}, "/l/vast/presets"),
    ],
)
def test_presets(on: Callable[..., None], platform: type, environment: dict[str, str], expected: str) -> None:
    on(platform, environment)
    assert folders.presets_folder() == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        (UNIX, {"VAST_AVATARS": "/x/y", "XDG_DATA_HOME": "/z"}, "/x/y"),
        (UNIX, {"XDG_DATA_HOME": "/z"}, "/z/vast/avatars"),
        (UNIX, {}, "~/.local/share/vast/avatars"),
        (MACOS, {"XDG_DATA_HOME": "/z"}, "/z/vast/avatars"),
        (MACOS, {}, f"{SUPPORT}/avatars"),
        (WINDOWS, {"VAST_AVATARS": "/x/y"}, "/x/y"),
        (WINDOWS, {}, "/l/vast/avatars"),
    ],
)
def test_avatars(on: Callable[..., None], platform: type, environment: dict[str, str], expected: str) -> None:
    on(platform, environment)
    assert folders.avatars_folder() == Path(expected).expanduser()


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        (UNIX, {"VAST_STYLES": "/x/y", "XDG_DATA_HOME": "/z"}, "/x/y"),
        (UNIX, {}, "~/.local/share/vast/styles"),
        (MACOS, {}, f"{SUPPORT}/styles"),
        (WINDOWS, {}, "/l/vast/styles"),
    ],
)
def test_styles(on: Callable[..., None], platform: type, environment: dict[str, str], expected: str) -> None:
    on(platform, environment)
    assert folders.styles_folder() == Path(expected).expanduser()


def test_nothing_is_created(on: Callable[..., None], tmp_path: Path) -> None:
    on(UNIX, {"XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)})
    for folder in (folders.cache_folder(), folders.presets_folder(), folders.avatars_folder(), folders.styles_folder()):
        assert folder.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []

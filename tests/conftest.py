"""Shared by all tests: where real clips lie, a command line run as a process, small media made on the fly."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

# processes side by side (pytest-xdist) with two threads each would wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


class NoTorch(MetaPathFinder):
    """`make fast` promises to need no torch: importing it fails."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("a test of `make fast` imports torch")


if os.environ.get("VAST_NO_TORCH"):
    sys.meta_path.insert(0, NoTorch())
# a shell without job control hands an ignored SIGINT to what it starts in the background, and that to its children
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest goes first, so that no process ends up alone with it."""
    items.sort(key=lambda item: item.path.name != "test_evaluate.py")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the session's own: the user's is neither read nor filled."""
    folder = tmp_path_factory.mktemp("vast-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAST_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the clips of ../shared/data are not here")
    return SHARED


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., None]:
    """Run ffmpeg with a list of arguments."""
    from vast_cli.media.ffmpeg import find_ffmpeg

    def call(*arguments: str | Path) -> None:
        command = [str(find_ffmpeg()), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=120)

    return call


@pytest.fixture(scope="session")
def speech() -> Path:
    """Four seconds of synthetic speech."""
    return ROOT / "examples" / "speech.flac"


@pytest.fixture(scope="session")
def prompt() -> Path:
    """A short clip that this project rendered."""
    return ROOT / "examples" / "prompt.mp4"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, one per module: playwright keeps an event loop in this thread, which other modules must not find."""
    from tests.browser import launch_chromium

    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture
def vast(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `vast` as a process in an empty folder."""

    def call(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "vast_cli", *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"} | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=280,
        )

    return call

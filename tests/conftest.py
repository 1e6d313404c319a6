"""Fixtures of all tests: real clips, example media, ffmpeg, and `vast` run as a process or in this one."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

Vast: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]
Ffmpeg: TypeAlias = Callable[..., None]

# processes of pytest-xdist with two threads each would wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


class NoTorch(MetaPathFinder):
    """`make fast` promises to need no torch: importing it fails."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("a test of `make fast` imports torch")


if os.environ.get("VAST_NO_TORCH"):
    sys.meta_path.insert(0, NoTorch())
# a shell without job control ignores SIGINT in the processes that it starts in the background, and so do their children
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the file that takes longest first, so that no process of pytest-xdist is left alone with it."""
    items.sort(key=lambda item: item.path.name != "test_evaluate.py")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session, so that tests neither read nor fill the user's."""
    folder = tmp_path_factory.mktemp("vast-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAST_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips; skips the test where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is absent")
    return SHARED


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    """Run ffmpeg with these arguments."""
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
    """Chromium, closed after each module: the event loop that playwright runs in this thread disturbs other modules."""
    from tests.browser import launch_chromium

    with launch_chromium() as chromium:
        yield chromium


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder that `vast` and `call_vast` run in, empty at first."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def vast(work: Path) -> Vast:
    """Run `vast` as a process in the folder `work`."""

    def call(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "vast_cli", *map(str, arguments)],
            cwd=work,
            env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"} | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=280,
        )

    return call


@pytest.fixture
def call_vast(work: Path) -> Vast:
    """Run `vast` as `vast` does, but in this process: saves the seconds that importing torch takes."""
    from vast_cli.cli import app

    def call(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        words = [str(argument) for argument in arguments]
        with pytest.MonkeyPatch.context() as patch, _restored_process():
            patch.chdir(work)
            application = app.build([words[0]] if words[0] in app.COMMANDS else app.COMMANDS)
            result = CliRunner().invoke(application, words, prog_name="vast", env={"NO_COLOR": "1"} | environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)

    return call


@contextmanager
def _restored_process() -> Iterator[None]:
    """Restore what a command sets for its whole process: handlers of signals and of the log, torch's threads."""
    import torch

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    actions = {number: signal.getsignal(number) for number in numbers}
    log = logging.getLogger()
    log_handlers, log_level, n_threads = list(log.handlers), log.level, torch.get_num_threads()
    log.handlers.clear()  # a command closes those that it replaces, pytest's too
    try:
        yield
    finally:
        for number, action in actions.items():
            signal.signal(number, action)
        for handler in log.handlers:
            handler.close()
        log.handlers[:] = log_handlers
        log.setLevel(log_level)
        torch.set_num_threads(n_threads)

"""Clips made on the fly by the same ffmpeg that vast uses."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vast_cli.media import find_ffmpeg

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def ff() -> Callable[..., None]:
    """Run ffmpeg with the arguments given."""

    def run(*args: Any, stdin: bytes | None = None) -> None:
        command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, args)]
        result = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)
        assert result.returncode == 0, result.stderr.decode(errors="replace")

    return run


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for clips of the session."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def numbered(ff: Callable[..., None], clips: Path) -> Make:
    """Make a clip whose frame i shows i as 8 stripes, bright for a 1 and dark for a 0, the lowest bit at the left."""

    def make(
        name: str, *options: Any, n: int = 50, rate: Any = 25, size: str = "64x48", before: tuple[Any, ...] = ()
    ) -> Path:
        path = clips / name
        if not path.exists():
            width, height = map(int, size.split("x"))
            bits = np.arange(n)[:, None] >> (np.arange(width) * 8 // width) & 1  # [n, W]
            rows = np.where(bits, 200, 40).astype(np.uint8)[:, None, :, None]
            frames = np.broadcast_to(rows, (n, height, width, 3)).tobytes()
            raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, *before, "-i", "pipe:")
            encoder = () if "-c:v" in options else ("-c:v", "libx264", "-preset", "ultrafast", "-crf", 10)
            pixels = () if "-pix_fmt" in options else ("-pix_fmt", "yuv420p")
            ff(*raw, *encoder, *pixels, *options, path, stdin=frames)
        return path

    return make


@pytest.fixture(scope="session")
def tone(ff: Callable[..., None], clips: Path) -> Make:
    """Make audio of exactly `n` samples: a tone that rises, different at every instant."""

    def make(name: str, *options: Any, n: int, rate: int = 48_000, channels: int = 1) -> Path:
        path = clips / name
        if not path.exists():
            time = np.arange(n) / rate
            wave = (0.5 * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype("<f4")
            samples = np.repeat(wave[:, None], channels, axis=1).tobytes()
            ff("-f", "f32le", "-ar", rate, "-ac", channels, "-i", "pipe:", *options, path, stdin=samples)
        return path

    return make


def level_of(frame: NDArray[np.uint8]) -> int:
    """The number that a frame of `numbered` shows (below 256)."""
    middle = ((np.arange(8) + 0.5) * frame.shape[1] / 8).astype(int)
    return int(((frame[len(frame) // 2, middle, 1] > 120) << np.arange(8)).sum())


@pytest.fixture(scope="session")
def number_of() -> Callable[[NDArray[np.uint8]], int]:
    """Read which frame of `numbered` a frame is."""
    return level_of

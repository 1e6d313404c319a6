"""A session's sounds and cache; a folder of its own for each test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.batches import FOLDER, World


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory, speech: Path, ffmpeg: Callable[..., None]) -> Path:
    """The example's sound as 16 kHz WAV."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    ffmpeg("-i", speech, "-ar", "16000", "-ac", "1", path)
    return path


@pytest.fixture(scope="session")
def batch_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all batches of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def world(tmp_path: Path, speech_wav: Path, batch_cache: Path) -> World:
    """An empty folder for a batch."""
    return World(tmp_path / FOLDER, speech_wav, batch_cache)

"""Audio and cache shared by a session; an empty workspace for each test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.workspace import FOLDER, Workspace


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory, speech: Path, ffmpeg: Callable[..., None]) -> Path:
    """The example's audio as 16 kHz WAV."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    ffmpeg("-i", speech, "-ar", "16000", "-ac", "1", path)
    return path


@pytest.fixture(scope="session")
def batch_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all batches of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workspace(tmp_path: Path, speech_wav: Path, batch_cache: Path) -> Workspace:
    """An empty folder for a batch."""
    return Workspace(tmp_path / FOLDER, speech_wav, batch_cache)

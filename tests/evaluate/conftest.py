"""Clips for the tests of evaluation: real ones cut short, and faults made on the fly."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def val_clips(shared: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> list[Path]:
    """Twelve val clips of twelve speakers, the first 4.4 seconds of each."""
    from vast_cli.training.corpora import read_index

    folder = tmp_path_factory.mktemp("val")
    found: dict[str, Path] = {}
    for row in read_index(shared / "video"):
        if row.split == "val" and row.set == "talk" and row.sync_ok and row.n_frames >= 150 and len(found) < 12:
            if row.speaker not in found:
                found[row.speaker] = folder / f"{row.path.stem}.mp4"
                encoder = ["-c:v", "libx264", "-crf", "10", "-preset", "ultrafast", "-c:a", "aac"]
                ffmpeg("-i", row.path, "-t", "4.4", *encoder, found[row.speaker])
    return list(found.values())

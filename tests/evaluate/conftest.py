"""Clips for the tests of evaluation, and random weights for published networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def val_clips(shared: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> list[Path]:
    """Twelve val clips of twelve speakers, the first 4.4 seconds of each."""
    from vast_cli.training.corpora import audio_offset_s, read_index

    folder = tmp_path_factory.mktemp("val")
    clips: dict[str, Path] = {}
    for row in read_index(shared / "video"):
        if row.split == "val" and row.set == "talk" and row.sync_ok and row.n_frames >= 150 and len(clips) < 12:
            if row.speaker not in clips:
                clips[row.speaker] = folder / f"{row.path.stem}.mp4"
                late = audio_offset_s(row)  # the clips' constant offsets would look like faults
                shift = ["-ss", f"{late}"] if late > 0 else ["-itsoffset", f"{-late}"]
                inputs = ["-i", row.path, *shift, "-i", row.path, "-map", "0:v", "-map", "1:a"]
                encoder = ["-c:v", "libx264", "-crf", "10", "-preset", "ultrafast", "-c:a", "aac"]
                audio = ["-af", "aresample=async=1:first_pts=0,apad", "-t", "4.4"]
                ffmpeg(*inputs, *encoder, *audio, clips[row.speaker])
    return list(clips.values())


@pytest.fixture(scope="session")
def randomised() -> Callable[[Any], dict[str, Any]]:
    """Fill a published network, whose weights do not ship, with random ones."""
    import torch

    def fill(network: Any) -> dict[str, Any]:
        """Fill a network so that activations neither vanish nor explode; returns its state without counters."""
        torch.manual_seed(0)
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value) * (2 / value[0].numel()) ** 0.5)
            elif name.endswith("running_var"):
                value.fill_(1)
            elif name.endswith("weight"):
                value.copy_(torch.rand_like(value) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn_like(value) * 0.1)
        return {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}

    return fill

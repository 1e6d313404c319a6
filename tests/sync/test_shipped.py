"""The shipped weights on clips of unseen speakers: delays move the lag exactly, other audio fits less."""

from pathlib import Path

import numpy as np
import pytest

from vast_cli import media
from vast_cli.core import timebase
from vast_cli.face import FaceModel, track_landmarks
from vast_cli.sync import LagSync, MouthCropper, score
from vast_cli.training import corpora
from vast_cli.training.lagsync.corpus import synced_audio

NAMES = ("talk/fi12.mp4", "talk/fi27.mp4")
FRAMES = 375

Measured = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # crops, samples, tracked


@pytest.fixture(scope="session")
def measured(shared: Path) -> Measured:
    """The first 15 s of two val clips."""
    clips = {c.name: c for c in corpora.read_index(shared / "video") if c.split == "val"}
    result: Measured = {}
    cropper = MouthCropper()
    for name in NAMES:
        clip = clips[name]
        with media.VideoReader(clip.path) as reader:
            frames = [frame for frame, _ in zip(reader, range(FRAMES), strict=False)]
        track = track_landmarks(iter(frames), FaceModel.load(), source=name)
        crops = np.stack([cropper(f, p) for f, p in zip(frames, track.points, strict=True)])
        result[name] = crops, synced_audio(clip.path, corpora.audio_offset_s(clip)), track.present
    return result


def embeddings(model: LagSync, measured: Measured, name: str) -> tuple[np.ndarray, np.ndarray]:
    crops, samples, tracked = measured[name]
    assert tracked.all()
    return model.embed_mouth(crops), model.embed_audio(samples[: timebase.sample_at(len(crops))], len(crops))


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_in_sync_and_delays_move_the_lag_exactly(shipped: LagSync, measured: Measured, name: str) -> None:
    mouth, audio = embeddings(shipped, measured, name)
    truth = score(mouth, audio)
    assert truth is not None and abs(truth.lag) <= 1
    last = truth.at0
    for late in (2, 5):
        delayed = score(mouth[:-late], audio[late:])
        assert delayed is not None
        assert delayed.lag == truth.lag + late
        assert delayed.at0 < last
        last = delayed.at0


def test_other_audio_and_a_reversed_mouth_fit_less(shipped: LagSync, measured: Measured) -> None:
    one, two = (embeddings(shipped, measured, name) for name in NAMES)
    n = len(two[0])
    truth, other = score(two[0], two[1]), score(two[0], one[1][:n])
    backwards = score(shipped.embed_mouth(np.ascontiguousarray(measured[NAMES[1]][0][::-1])), two[1])
    assert truth is not None and other is not None and backwards is not None
    assert truth.margin > 2 * other.margin
    assert truth.margin > 2 * backwards.margin


def test_a_still_mouth_fits_nothing(shipped: LagSync, measured: Measured) -> None:
    crops, samples, _ = measured[NAMES[0]]
    still = shipped.embed_mouth(np.repeat(crops[:1], len(crops), axis=0))
    audio = shipped.embed_audio(samples[: timebase.sample_at(len(crops))], len(crops))
    mouth = shipped.embed_mouth(crops)
    frozen, truth = score(still, audio), score(mouth, audio)
    assert frozen is not None and truth is not None
    assert frozen.margin < 0.4 * truth.margin


def test_the_name_holds_the_hash_of_the_file(shipped: LagSync) -> None:
    from vast_cli.store import assets

    assert shipped.name == f"lagsync@{assets.model_hash('lagsync')[:8]}"

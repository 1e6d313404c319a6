"""LagSync's training: it learns a mouth that follows its audio, and a killed run resumes where it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vast_cli.face import Topology
from vast_cli.sync import LagSync
from vast_cli.sync.network import LagSyncConfig, LagSyncNet
from vast_cli.training.lagsync import train as training
from vast_cli.training.lagsync.audio import AudioTowerSettings, LabelledSpeech
from vast_cli.training.lagsync.batches import LagSyncBatch, LagSyncBatches, augment_audio, augment_mouths, run_starts
from vast_cli.training.lagsync.contrast import LAGS, SPANS, LagContrast
from vast_cli.training.lagsync.corpus import LagSyncClip, delay_video, mirror_order, split_speakers
from vast_cli.training.lagsync.figures import dev_figures
from vast_cli.training.lagsync.train import LagSyncData, LagSyncTrainer, LagSyncTrainingSettings

SMALL = LagSyncConfig(channels=(4, 8, 8, 8), lip=16, hidden=24, dims=12)


def lagsync_clip(k: int, n: int = 160, kind: str = "talk") -> LagSyncClip:
    """A dark mouth that opens with the loudness of the audio."""
    random = np.random.default_rng(k)
    opened = np.convolve(random.random(n + 2) < 0.3, np.ones(3) / 3, "valid")[:n]
    y, x = np.mgrid[0:128, 0:128] - 64.0
    crops = np.empty((n, 128, 128), np.uint8)
    for t in range(n):
        crops[t] = np.where(np.hypot(x / 20, y / (2 + 14 * opened[t])) < 1, 30, 180)
    shape = np.zeros((n, 42, 2), np.float32)
    shape[:, :20, 1], shape[:, 20:40, 1] = -8 * opened[:, None], 8 * opened[:, None]
    audio = random.normal(-6, 0.3, (4 * n, 40)) + 4 * np.repeat(opened, 4)[:, None]
    return LagSyncClip(
        name=f"{kind}/{k}.mp4",
        set=kind,
        speaker=f"{kind}{k}",
        crops=crops,
        shape=shape,
        has_face=np.ones(n, np.bool_),
        is_cut=np.arange(n) == 0,
        audio=audio.astype(np.float32),
    )


def trainer(folder: Path, **changes: Any) -> LagSyncTrainer:
    torch.manual_seed(0)
    clips = [lagsync_clip(k) for k in range(4)]
    settings = LagSyncTrainingSettings(network=SMALL, **changes)
    batches = LagSyncBatches(clips[:3], size=3, seed=0)
    return LagSyncTrainer(LagSyncNet(SMALL), batches, clips[3:], settings, folder=folder)


@pytest.mark.train
def test_it_learns_which_audio_opens_the_mouth(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=90, peak_rate=5e-3)
    before = dev_figures(LagSync(made.loop.average, ""), made.dev)
    made.run("a")
    after = dev_figures(LagSync(made.loop.best, ""), made.dev)
    assert after["talk_acc"] > before["talk_acc"] + 0.2
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1


@pytest.mark.train
def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"steps": 6, "check_every": 3, "warm_up": 2}
    whole = trainer(tmp_path / "whole", **changes)
    whole.run("a")
    killed = trainer(tmp_path / "killed", **changes)
    draw = killed.batches.draw

    def die(step: int) -> LagSyncBatch:
        if step == 4:
            raise KeyboardInterrupt
        return draw(step)

    monkeypatch.setattr(killed.batches, "draw", die)
    with pytest.raises(KeyboardInterrupt):
        killed.run("a")
    resumed = trainer(tmp_path / "killed", **changes)
    resumed.run("a")
    assert resumed.loop.state.step == 6
    for one, other in ((whole.modules, resumed.modules), (whole.loop.average, resumed.loop.average)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


def speech(seed: int) -> LabelledSpeech:
    """40 s in which one band is loud, and names the phone."""
    random = np.random.default_rng(seed)
    labels = np.repeat(random.integers(1, 6, 400), 10).astype(np.uint8)
    features = random.normal(-6, 0.3, (4000, 40)) + 4 * (np.arange(40) // 7 == labels[:, None])
    return LabelledSpeech(features.astype(np.float16), labels, np.array([0, 4000]))


@pytest.mark.train
def test_the_audio_tower_is_pretrained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = []

    def read(corpus: Path, more: Path | None, cache: Path) -> list[tuple[LabelledSpeech, float]]:
        trainings.append(corpus)
        return [(speech(0), 1.0)]

    monkeypatch.setattr(training, "read_speech", read)
    settings = LagSyncTrainingSettings(network=SMALL, audio_tower=AudioTowerSettings(steps=3, batch=2))
    data = LagSyncData(tmp_path, speech=tmp_path)
    tower, accuracy = training.pretrained_audio_tower(data, settings, tmp_path)
    again, same = training.pretrained_audio_tower(data, settings, tmp_path)
    assert trainings == [tmp_path] and tower is not None and again is not None
    assert same == accuracy
    for name, value in tower.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    training.pretrained_audio_tower(data, replace(settings, seed=1), tmp_path)
    assert len(trainings) == 2  # other settings, another tower


def test_batches_depend_on_seed_and_step_only() -> None:
    clips = [lagsync_clip(k) for k in range(3)]
    one, two = LagSyncBatches(clips, size=2, seed=1), LagSyncBatches(clips, size=2, seed=1)
    one.draw(0)
    for a, b in zip(vars(one.draw(5)).values(), vars(two.draw(5)).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.draw(5).crops, one.draw(6).crops)


def test_the_middle_lag_of_a_batch_is_the_audio_of_the_frames() -> None:
    batch = LagSyncBatches([lagsync_clip(0)], size=3, seed=0, augment=False).draw(0)
    mouth = (batch.crops < 100).mean(axis=(2, 3))  # how far it is open
    for run in range(3):
        opened = np.convolve(mouth[run], np.ones(5) / 5, "valid")
        loud = batch.audio[run].mean(axis=(1, 2))
        fits = [np.corrcoef(opened, loud[o : o + len(opened)])[0, 1] for o in range(LAGS)]
        assert int(np.argmax(fits)) == 15


def test_runs_avoid_lost_faces_and_cuts() -> None:
    clip = lagsync_clip(0)
    clip.has_face[50] = False
    clip.is_cut[100] = True
    for first in run_starts(clip):
        assert not first <= 50 < first + 31
        assert not first < 100 < first + 31


def test_augmentation_keeps_time_and_stays_finite() -> None:
    clip, random = lagsync_clip(0), np.random.default_rng(0)
    for _ in range(10):
        crops, shape = augment_mouths(clip.crops[:31], clip.shape[:31], random)
        assert crops.shape == (31, 96, 96) and np.isfinite(shape).all()
        changed = augment_audio(clip.audio, random)
        assert changed.shape == clip.audio.shape and np.isfinite(changed).all()


def test_a_mirrored_shape_is_a_shape() -> None:
    order = mirror_order()
    np.testing.assert_array_equal(order[order], np.arange(42))
    canonical = Topology.load()
    lips = canonical.canonical[np.concatenate([canonical.sets["lips_outer"], canonical.sets["lips_inner"]])]
    np.testing.assert_allclose(lips[order[:40]] * [-1, 1, 1], lips, atol=1e-3)


def test_delayed_video_is_late() -> None:
    clip = lagsync_clip(0)
    late = delay_video(clip, 3)
    assert late.n_frames == clip.n_frames - 3
    np.testing.assert_array_equal(late.crops[10], clip.crops[10])
    np.testing.assert_array_equal(late.audio[40], clip.audio[52])


def test_folds_split_speakers() -> None:
    clips = [lagsync_clip(k) for k in range(9)] + [lagsync_clip(k, kind="grid_s1") for k in range(3)]
    held = []
    for k in range(4):
        train, dev = split_speakers(clips, 4, k)
        assert not {c.speaker for c in train} & {c.speaker for c in dev}
        assert len(train) + len(dev) == len(clips)
        held += [c.name for c in dev]
    assert sorted(held) == sorted(c.name for c in clips if c.set == "talk")


def test_the_contrast_is_least_where_mouth_and_audio_agree() -> None:
    torch.manual_seed(0)
    audio = torch.nn.functional.normalize(torch.randn(3, max(SPANS) + LAGS - 1, 32), dim=-1)
    exists, same = torch.ones(audio.shape[:2], dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool)
    contrast = LagContrast()
    losses = [contrast(audio[:, o : o + max(SPANS)], audio, exists, same).item() for o in (15, 14, 10)]
    assert losses[0] < losses[1] < losses[2]

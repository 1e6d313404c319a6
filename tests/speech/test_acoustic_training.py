"""Training of the acoustic network on audio of a few tones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.speech import SIL, AcousticConfig, AcousticModel, extract_ppg, load_acoustic_model, save_acoustic_model
from vast_cli.speech.filterbank import log_mel
from vast_cli.training.acoustic import train as acoustic
from vast_cli.training.acoustic.batches import Crops
from vast_cli.training.acoustic.corpus import IGNORE, Utterances, frame_labels
from vast_cli.training.acoustic.effects import resample
from vast_cli.training.acoustic.train import AcousticData, AcousticTrainer, AcousticTrainingSettings

TINY = AcousticConfig(hidden=32, dilations=(1, 2))


def tones(count: int, seed: int) -> Utterances:
    """Utterances of 100 ms tones in noise, one pitch a class, with silence around."""
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for _ in range(count):
        classes = np.concatenate([[SIL], rng.integers(1, 9, 12), [SIL]])
        t = np.arange(1_600) / 16_000
        parts = [np.zeros(1_600) if c == SIL else 0.3 * np.sin(2 * np.pi * 350 * c * t) for c in classes]
        f = log_mel((np.concatenate(parts) + rng.normal(0, 1e-3, 22_400)).astype(np.float32))
        features.append(f.astype(np.float16))
        labels.append(frame_labels(classes.astype(np.uint8), 100 * np.arange(14), len(f)))
    return Utterances(np.concatenate(features), np.concatenate(labels), np.cumsum([0] + [len(y) for y in labels]))


def test_the_label_of_a_frame_is_taken_at_its_centre() -> None:
    labels = frame_labels(np.array([0, 5, 7], np.uint8), np.array([0, 30, 70]), 5)  # centres 20 40 60 80 100 ms
    assert labels.tolist() == [0, 5, 5, 7, 7]
    assert frame_labels(np.array([0, 5], np.uint8), np.array([0, 30]), 2, speed=2.0).tolist() == [5, 5]


@pytest.mark.parametrize("speed", ["9/10", "11/10"])
def test_faster_is_shorter_and_higher(speed: str) -> None:
    from fractions import Fraction

    s = Fraction(speed)
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    out = resample(tone, s)
    assert len(out) == int(16_000 / s)
    middle = out[2_000:12_000] * np.hanning(10_000)
    assert abs(np.abs(np.fft.rfft(middle)).argmax() * 16_000 / 10_000 - 1_000 * float(s)) < 2
    assert abs(np.abs(out[2_000:12_000]).max() - 1) < 0.02


def test_a_batch_depends_on_its_number_only() -> None:
    crops = Crops([(tones(4, 0), 1.0)], np.full(80, -5.0, np.float32), gate=7.0)
    x, y = crops.batch(np.random.default_rng([0, 17]), 8)
    again, _ = crops.batch(np.random.default_rng([0, 17]), 8)
    np.testing.assert_array_equal(x, again)
    assert x.shape == (8, 128, 80) and x.dtype == np.float32 and np.isfinite(x).all()
    assert set(np.unique(y)) <= {*range(9), IGNORE}


def test_noise_is_in_the_frames_and_not_only_in_their_mean() -> None:
    crops = Crops([(tones(20, 0), 1.0)], np.full(80, -5.0, np.float32), gate=7.0)
    contrast = []  # of the tone over the other bands, nats
    for step in range(12):
        x, y = crops.batch(np.random.default_rng([1, step]), 16)
        for frames, labels in zip(x, y, strict=True):
            sounding = frames[(labels != SIL) & (labels != IGNORE)]
            if len(sounding) > 20:
                contrast.append(3.0 * np.median(sounding.max(axis=1) - np.median(sounding, axis=1)))
    clean, noisy = np.percentile(contrast, [80, 10])
    assert noisy < clean - 3.0, (clean, noisy)


def test_the_second_training_reads_the_labels_that_the_first_network_aligned(
    tmp_path: Path, random_model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, more, folder = tmp_path / "corpus", tmp_path / "more", tmp_path / "work"
    for table in (corpus / "so762.npz", corpus / "libri.npz", more / "cathy.npz", more / "unheard-of.npz"):
        table.parent.mkdir(exist_ok=True)
        table.touch()
    trainings, aligned = [], []

    def train(
        data: AcousticData, output: Path, settings: AcousticTrainingSettings, *, work: Path, **_: object
    ) -> dict[str, float]:
        assert data.corpus == corpus and data.more == more and data.cache == folder / "cache"
        trainings.append((output, data.realigned, work, settings.steps))
        output.parent.mkdir(parents=True, exist_ok=True)
        save_acoustic_model(random_model, output)
        return {"val": 0.5}

    def align(model: AcousticModel, root: Path, name: str, output: Path) -> float:
        aligned.append((root, name))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
        return 0.0

    monkeypatch.setattr(acoustic, "train_acoustic", train)
    monkeypatch.setattr(acoustic, "realign", align)
    data, settings = AcousticData(corpus, more=more), AcousticTrainingSettings(steps=7)
    for _ in range(2):  # the second call finds what the first one left
        assert acoustic.train_twice(data, tmp_path / "a.safetensors", settings, work=folder) == {"val": 0.5}
    first = (folder / "first.safetensors", None, folder / "first", 7)
    second = (tmp_path / "a.safetensors", folder / "realigned", folder / "second", 7)
    assert trainings == [first, second, second]
    assert aligned == [(corpus, "so762"), (corpus, "libri"), (more, "cathy")]


@pytest.mark.train
def test_the_loss_falls_and_tones_are_told_apart(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = AcousticTrainingSettings(network=TINY, steps=300, batch=8)
    trainer = AcousticTrainer([(tones(60, 0), 1.0)], {"tones": tones(5, 1)}, settings, folder=tmp_path)
    figures = trainer.run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 300 and log[-1]["loss"] < 2.5  # log 40 = 3.7 at the start
    assert figures["tones"] > 0.9
    model = load_acoustic_model(tmp_path / "latest.safetensors")
    assert extract_ppg([np.zeros(16_000, np.float32)], model).values.argmax(axis=1).max() == SIL


@pytest.mark.train
def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    data, held_out = [(tones(6, 0), 1.0)], {"tones": tones(2, 1)}
    settings = AcousticTrainingSettings(network=TINY, steps=25, seed=3, batch=4, check_every=10)
    whole = AcousticTrainer(data, held_out, settings, folder=tmp_path / "whole")
    whole.run()

    true_batch = Crops.batch
    calls = 0

    def dies(self: Crops, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 17:
            raise KeyboardInterrupt
        return true_batch(self, rng, size)

    monkeypatch.setattr(Crops, "batch", dies)
    with pytest.raises(KeyboardInterrupt):
        AcousticTrainer(data, held_out, settings, folder=tmp_path / "killed").run()
    resumed = AcousticTrainer(data, held_out, settings, folder=tmp_path / "killed")
    assert resumed.run() == whole.loop.state.figures
    assert calls == 17 + 15  # batches from step 10 on
    for one, two in ((whole.model, resumed.model), (whole.loop.average, resumed.loop.average)):
        assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())

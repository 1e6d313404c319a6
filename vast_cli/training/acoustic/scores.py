"""Frame accuracy of the acoustic network on unseen test audio: clean, with noise and through a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32, Int64
from vast_cli.speech.acoustic import CLASSES, SIL, AcousticModel
from vast_cli.speech.filterbank import log_mel
from vast_cli.training.acoustic.corpus import (
    IGNORE,
    Utterances,
    frame_labels,
    hand_labelled,
    labels_path,
    load_segments,
    utterance_audio,
)
from vast_cli.training.acoustic.effects import add_noise, telephone
from vast_cli.training.acoustic.timit import sentences

TESTS = ("so762", "libri", "kokoro", "grid_s1")
CHANNELS = ("clean", "noise20", "noise10", "telephone")
NEAR_VOWELS = (("IY", "IH"), ("EH", "AE"), ("AH", "ER", "UH"), ("AA", "AO"))

Scores = dict[str, float]


def merge_table() -> Int64:
    """Class -> class that stands for its group of near vowels, [40]."""
    table = np.arange(len(CLASSES))
    for group in NEAR_VOWELS:
        table[[CLASSES.index(c) for c in group]] = CLASSES.index(group[0])
    return table


def evaluate_acoustic(
    model: AcousticModel, corpus: Path, *, channels: tuple[str, ...] = CHANNELS, timit: Path | None = None
) -> tuple[dict[str, dict[str, Scores]], Int64]:
    """Scores on the test corpora, {corpus: {channel: {all, speech, merged, speech_merged}}}, and the confusions.

    `emu`, and `timit` where its folder is given, are labelled by hand, with several accepted classes in places; the
    aligner labelled the others.

    Returns:
        The scores, and [40, 40] counts of clean frames of the corpora `TESTS`: true class, predicted class.
    """
    table: dict[str, dict[str, Scores]] = {}
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for name in (*(("timit",) if timit else ()), "emu", *TESTS):
        folder = timit if timit and name == "timit" else corpus
        for channel in channels:
            pairs = [
                (classify(model, log_mel(apply_channel(channel, audio, k))), accepted)
                for k, (audio, accepted) in enumerate(labelled_audio(folder, name))
            ]
            predicted, accepted = (np.concatenate(part) for part in zip(*pairs, strict=True))
            table.setdefault(name, {})[channel] = accuracies(predicted, accepted)
            if channel == "clean" and name in TESTS:
                counted = accepted.any(axis=1)
                np.add.at(confusion, (accepted[counted].argmax(axis=1), predicted[counted]), 1)
    return table, confusion


def labelled_audio(corpus: Path, name: str) -> Iterator[tuple[Float32, Bools]]:
    """Test audio [n] with the classes that count as right, [T, 40]; none where the label is to be ignored."""
    if name == "timit":
        yield from ((audio, accepted) for audio, _, accepted in sentences(corpus))
        return
    if name == "emu":
        for audio, accepts in hand_labelled(corpus):
            yield audio, np.array([[c in accept for c in CLASSES] for accept in accepts])
        return
    segments = load_segments(labels_path(corpus, name))
    for i, audio in utterance_audio(corpus, name, "test"):
        y = frame_labels(*segments.of(i), timebase.ppg_frames(len(audio)))
        yield audio, y[:, None] == np.arange(len(CLASSES))


def apply_channel(channel: str, audio: Float32, seed: int) -> Float32:
    """Audio as it is, with white noise 20 or 10 dB below, or through a telephone (8 kHz, mu-law)."""
    if channel.startswith("noise"):
        return add_noise(audio, float(channel.removeprefix("noise")), np.random.default_rng(seed))
    return telephone(audio) if channel == "telephone" else audio


@torch.no_grad()
def classify(model: AcousticModel, features: Float32) -> Int64:
    """Best class of each frame of one recording, [T, 80] -> [T]."""
    x = model.normalise(features, range(len(features)))
    predicted: Int64 = model.eval()(torch.from_numpy(x)[None])[0].argmax(1).numpy()
    return predicted


def accuracies(predicted: Int64, accepted: Bools) -> Scores:
    """Shares of frames that are right: all, and speech only (SIL is not accepted), with and without merging.

    Args:
        predicted: [T] classes.
        accepted: [T, 40]; frames that accept nothing are left out.
    """
    counted = accepted.any(axis=1)
    predicted, accepted = predicted[counted], accepted[counted]
    groups = merge_table()
    merged = np.stack([accepted[:, groups == g].any(axis=1) for g in groups], axis=1)
    rows = np.arange(len(predicted))
    right, near, speech = accepted[rows, predicted], merged[rows, predicted], ~accepted[:, SIL]
    return {
        "all": float(right.mean()),
        "speech": float(right[speech].mean()),
        "merged": float(near.mean()),
        "speech_merged": float(near[speech].mean()),
    }


def corpus_scores(model: AcousticModel, utterances: Utterances) -> Scores:
    """The same on cached features."""
    predicted, truth = [], []
    for i in range(len(utterances)):
        features, labels = utterances[i]
        if len(labels):
            predicted.append(classify(model, features.astype(np.float32)))
            truth.append(labels)
    y = np.concatenate(truth)
    return accuracies(np.concatenate(predicted), (y[:, None] == np.arange(len(CLASSES))) & (y[:, None] != IGNORE))

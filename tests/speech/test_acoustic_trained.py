"""Accuracy of the shipped network on unseen audio: lower bounds from the figures of its card."""

import functools
from itertools import islice
from pathlib import Path

import numpy as np

from vast_cli.core.arrays import Bools, Float32
from vast_cli.speech import CLASSES, AcousticModel, extract_ppg, is_speech_present, speech_share
from vast_cli.training.acoustic.corpus import utterance_audio
from vast_cli.training.acoustic.scores import accuracies, apply_channel, labelled_audio

FLOORS = {"emu": 0.74, "so762": 0.60, "libri": 0.68, "kokoro": 0.80}  # near vowels merged; emu all frames, else speech
LOSS = {"noise20": 0.07, "noise10": 0.18, "telephone": 0.07}  # what a channel may cost, on the mean of those corpora


@functools.cache
def utterances(speech_data: Path, corpus: str) -> list[tuple[Float32, Bools]]:
    """12 utterances at most: decoding takes longer than recognising, and each is used four times."""
    return list(islice(labelled_audio(speech_data, corpus), 12))


def accuracy(model: AcousticModel, speech_data: Path, corpus: str, channel: str) -> float:
    guess, accepted = [], []
    for k, (audio, right) in enumerate(utterances(speech_data, corpus)):
        guess.append(extract_ppg([apply_channel(channel, audio, k)], model).values.argmax(axis=1))
        accepted.append(right)
    shares = accuracies(np.concatenate(guess), np.concatenate(accepted))
    return shares["merged" if corpus == "emu" else "speech_merged"]


def test_unseen_speakers_are_recognised_through_noise_and_telephone(
    trained_model: AcousticModel, speech_data: Path
) -> None:
    clean = {corpus: accuracy(trained_model, speech_data, corpus, "clean") for corpus in FLOORS}
    assert all(clean[corpus] > floor for corpus, floor in FLOORS.items()), clean
    for channel, loss in LOSS.items():
        lost = np.mean([clean[corpus] - accuracy(trained_model, speech_data, corpus, channel) for corpus in FLOORS])
        assert lost < loss, (channel, lost)


def test_loudness_does_not_change_the_classes(trained_model: AcousticModel, speech_data: Path) -> None:
    same = []
    for _, audio in islice(utterance_audio(speech_data, "libri", "test"), 6):
        a, b = (extract_ppg([g * audio], trained_model).values.argmax(axis=1) for g in (1.0, 0.1))
        same.append(a == b)
    assert np.concatenate(same).mean() > 0.9  # the prior of the mean keeps some of the 20 dB


def test_speech_of_other_languages_is_speech(trained_model: AcousticModel, speech_data: Path) -> None:
    import soundfile

    for path in sorted((speech_data / "multi").glob("*.opus")):
        audio, _ = soundfile.read(path, dtype="float32")
        ppg = extract_ppg([audio], trained_model)
        assert is_speech_present(ppg) and 0.3 < speech_share(ppg) <= 1, path.name


def test_the_corpora_have_the_same_classes(speech_data: Path) -> None:
    assert tuple((speech_data / "classes.txt").read_text().split()) == CLASSES

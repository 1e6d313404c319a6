"""What the shipped network knows, on sound it never heard: floors below the figures of its card."""

from pathlib import Path

import numpy as np
import pytest

from vast_cli.speech import CLASSES, AcousticModel, extract_ppg, is_speech_present, speech_share
from vast_cli.training.acoustic_corpus import sounds
from vast_cli.training.acoustic_scores import CHANNELS, evaluate_acoustic, labelled, shares, through

FLOORS = {"so762": 0.59, "libri": 0.62, "kokoro": 0.74}  # speech frames, near vowels merged


@pytest.mark.parametrize("corpus", FLOORS)
def test_unseen_speakers_are_understood(trained_model: AcousticModel, speech_data: Path, corpus: str) -> None:
    table, right = merge_table(), []
    for k, (audio, phone, ms) in enumerate(bundled(speech_data, corpus, "test")):
        if k == 40:
            break
        guess = extract_ppg([audio], trained_model).values.argmax(axis=1)
        truth = frame_labels(phone, ms, len(guess))
        counted = (truth != 255) & (truth != 0)
        right.append(table[guess[counted]] == table[truth[counted]])
    assert np.concatenate(right).mean() > FLOORS[corpus]


def test_hand_labels_are_met(trained_model: AcousticModel, speech_data: Path) -> None:
    assert emu_scores(trained_model, speech_data)["merged"] > 0.68


def test_loudness_does_not_change_what_is_heard(trained_model: AcousticModel, speech_data: Path) -> None:
    same = []
    for k, (audio, _, _) in enumerate(bundled(speech_data, "libri", "test")):
        if k == 6:
            break
        a, b = (extract_ppg([g * audio], trained_model).values.argmax(axis=1) for g in (1.0, 0.1))
        same.append(a == b)
    assert np.concatenate(same).mean() > 0.9  # the prior of the mean keeps some of the 20 dB


def test_speech_of_other_languages_is_speech(trained_model: AcousticModel, speech_data: Path) -> None:
    import soundfile

    for path in sorted((speech_data / "multi").glob("*.opus")):
        audio, _ = soundfile.read(path, dtype="float32")
        ppg = extract_ppg([audio], trained_model)
        assert is_speech_present(ppg) and 0.3 < speech_share(ppg) <= 1, path.name


def test_the_corpora_know_the_same_classes(speech_data: Path) -> None:
    assert tuple((speech_data / "classes.txt").read_text().split()) == CLASSES

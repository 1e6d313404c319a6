"""Frame accuracy of the acoustic network on held-out corpora."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vast_cli.speech.acoustic import CLASSES, SIL, AcousticModel
from vast_cli.speech.weights import load_acoustic_model
from vast_cli.training.acoustic_corpus import IGNORE, Utterances, cached, emu

TESTS = ("so762", "libri", "kokoro", "grid_s1")
NEAR_VOWELS = (("IY", "IH"), ("EH", "AE"), ("AH", "ER", "UH"), ("AA", "AO"))


def merge_table() -> np.ndarray:
    """Class -> class that stands for its group of near vowels, [40]."""
    table = np.arange(len(CLASSES))
    for group in NEAR_VOWELS:
        table[[CLASSES.index(c) for c in group]] = CLASSES.index(group[0])
    return table


def evaluate_acoustic(
    weights: Path, corpus: Path, *, work: Path = Path("build/acoustic")
) -> dict[str, dict[str, float]]:
    """Scores of a weight file on the test corpora: {corpus: {all, speech, merged, speech_merged}}.

    `emu` counts every class of its accept sets as right; the others are labelled by the aligner.
    """
    model = load_acoustic_model(weights)
    scores = {"emu": emu_scores(model, corpus)}
    for name in TESTS:
        scores[name] = corpus_scores(model, cached(corpus, name, "test", work / "cache"))
    return scores


def predictions(model: AcousticModel, utterances: Utterances) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Best class and label of each frame, utterance by utterance."""
    for i in range(len(utterances)):
        features, labels = utterances[i]
        if len(labels):
            yield classify(model, features.astype(np.float32)), labels


@torch.no_grad()
def classify(model: AcousticModel, features: np.ndarray) -> np.ndarray:
    """Best class of each frame of one sound, [T, 80] -> [T]."""
    x = model.normalise(features, range(len(features)))
    return model.eval()(torch.from_numpy(x)[None])[0].argmax(1).numpy()


def corpus_scores(model: AcousticModel, utterances: Utterances) -> dict[str, float]:
    """Share of frames that are right: all, and speech only (label is not SIL), with and without merging."""
    pairs = list(predictions(model, utterances))
    guess, truth = np.concatenate([p for p, _ in pairs]), np.concatenate([t for _, t in pairs])
    guess, truth = guess[truth != IGNORE], truth[truth != IGNORE]
    table = merge_table()
    right, merged, speech = guess == truth, table[guess] == table[truth], truth != SIL
    return {
        "all": float(right.mean()),
        "speech": float(right[speech].mean()),
        "merged": float(merged.mean()),
        "speech_merged": float(merged[speech].mean()),
    }


def emu_scores(model: AcousticModel, corpus: Path) -> dict[str, float]:
    """The same on the hand labels: right is what the accept set holds."""
    table = merge_table()
    right, merged, speech = [], [], []
    for features, accepts in emu(corpus):
        for k, accept in zip(classify(model, features), accepts, strict=True):
            right.append(CLASSES[k] in accept)
            merged.append(table[k] in {table[CLASSES.index(c)] for c in accept if c in CLASSES})
            speech.append("SIL" not in accept)
    r, m, s = np.array(right), np.array(merged), np.array(speech)
    return {
        "all": float(r.mean()),
        "speech": float(r[s].mean()),
        "merged": float(m.mean()),
        "speech_merged": float(m[s].mean()),
    }

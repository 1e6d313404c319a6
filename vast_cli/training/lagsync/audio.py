"""Pretraining of LagSync's audio tower on hours of labelled speech: minutes of video do not teach phones."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from vast_cli.core import files
from vast_cli.core.arrays import Float32, Int64
from vast_cli.speech.acoustic import CLASSES
from vast_cli.sync.audio import HOP, N_MELS, log_mel, normalise
from vast_cli.sync.network import AUDIO_FRAMES, AudioTower, LagSyncConfig
from vast_cli.training.acoustic.corpus import (
    IGNORE,
    MORE_SHARES,
    SHARES,
    Segments,
    labels_path,
    load_segments,
    utterance_audio,
)
from vast_cli.training.lagsync.batches import augment_audio
from vast_cli.training.loop import Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.optimisation import capped_cosine

log = logging.getLogger(__name__)

CROP = 300  # audio frames, 3 s
STEP = 5  # audio frames between windows
LABELS = AUDIO_FRAMES // 2  # of a window, 20 ms each


@dataclass(frozen=True)
class AudioTowerSettings:
    """How the audio tower is pretrained."""

    steps: int = 2000
    batch: int = 24  # crops of 3 s a step
    seed: int = 0
    peak_rate: float = 2e-3
    warm_up: int = 100  # steps
    weight_decay: float = 0.02
    dropout: float = 0.1  # before the classes
    ema: float = 0.99


@dataclass(frozen=True)
class LabelledSpeech:
    """Features of many utterances one after the other, with the phone of every frame."""

    features: NDArray[np.float16]  # [N, 40], log-mel
    labels: NDArray[np.uint8]  # [N]
    pointer: Int64  # [n + 1]


def read_speech(corpus: Path, more: Path | None, cache: Path) -> list[tuple[LabelledSpeech, float]]:
    """Every labelled corpus of audio alone, with the weight of an hour of it; `video` is left out."""
    named = [(corpus, name, weight) for name, weight in SHARES.items() if name != "video"]
    named += [(more, name, weight) for name, weight in MORE_SHARES.items() if more is not None]
    return [(_cached(root, name, cache), w) for root, name, w in named if root and labels_path(root, name).is_file()]


def _cached(root: Path, name: str, cache: Path) -> LabelledSpeech:
    key = hashlib.sha256(labels_path(root, name).read_bytes()).hexdigest()[:8]
    path = cache / f"{name}-{key}.npz"
    if not path.is_file():
        segments = load_segments(labels_path(root, name))
        parts = [_labelled(segments, row, audio) for row, audio in utterance_audio(root, name, "train")]
        pointer = np.cumsum([0] + [len(f) for f, _ in parts])
        cache.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(path) as part, part.open("wb") as stream:
            features = np.concatenate([f for f, _ in parts])
            np.savez(stream, features=features, labels=np.concatenate([c for _, c in parts]), pointer=pointer)
        log.info("%s: %.2f h", name, pointer[-1] / 360_000)
    with np.load(path, allow_pickle=False) as arrays:
        return LabelledSpeech(arrays["features"], arrays["labels"], arrays["pointer"])


def _labelled(segments: Segments, row: int, audio: Float32) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    phone, ms = segments.of(row)
    n = len(audio) // HOP
    centre = 10.0 * np.arange(n) + 5.0
    return log_mel(audio, n).astype(np.float16), phone[np.maximum(np.searchsorted(ms, centre, side="right") - 1, 0)]


class SpeechBatches:
    """Samples crops of 3 s by hours and weight; the same (seed, step) gives the same batch."""

    def __init__(self, corpora: list[tuple[LabelledSpeech, float]], *, size: int, seed: int) -> None:
        self.corpora = [speech for speech, _ in corpora]
        weight = np.array([share * len(speech.features) for speech, share in corpora])
        self.p = weight / weight.sum()
        self.size, self.seed = size, seed

    def draw(self, step: int) -> tuple[Float32, Int64]:
        """Windows [n, 20, 40] and their phones [n, 10]."""
        rng = np.random.default_rng([self.seed, step])
        index = np.arange(0, CROP - AUDIO_FRAMES + 1, STEP)[:, None] + np.arange(AUDIO_FRAMES)
        pieces, labels = [], []
        for k in rng.choice(len(self.corpora), self.size, p=self.p):
            speech = self.corpora[k]
            u = int(np.searchsorted(speech.pointer, rng.integers(speech.pointer[-1]), side="right")) - 1
            first, last = speech.pointer[u], speech.pointer[u + 1]
            if last - first < CROP:
                first, last = max(0, min(first, last - CROP)), max(last, min(CROP, len(speech.features)))
            first += rng.integers(max(1, last - first - CROP + 1))
            part = slice(first, first + CROP)
            if first + CROP > len(speech.features):
                continue
            pieces.append(normalise(augment_audio(speech.features[part].astype(np.float32), rng))[index])
            labels.append(speech.labels[part][index[:, 1::2]])
        return np.concatenate(pieces), np.concatenate(labels).astype(np.int64)


class AudioTowerTrainer:
    """Teaches an audio tower the ten phones of its window."""

    def __init__(
        self,
        corpora: list[tuple[LabelledSpeech, float]],
        config: LagSyncConfig,
        settings: AudioTowerSettings,
        *,
        on_status: Callable[[TrainingStatus], None] | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        tower = AudioTower(config)
        body = nn.Sequential(tower.body, nn.Flatten(), tower.join[:3])
        classes = nn.Linear(config.hidden, LABELS * len(CLASSES))
        self.network = nn.Sequential(body, nn.Dropout(settings.dropout), classes)
        self.batches = SpeechBatches(corpora, size=settings.batch, seed=settings.seed)
        self.accuracies: list[float] = []  # of each step

        def schedule(step: int, done: float) -> float:
            return capped_cosine(settings.peak_rate, step, done, warm_up=settings.warm_up, floor=0.01)

        self.loop = Loop(
            LoopSettings(
                "audio tower",
                schedule,
                steps=settings.steps,
                clip_norm=None,
                ema=settings.ema,
                ema_warm_up=(0, 5),
            ),
            self.network,
            torch.optim.AdamW(self.network.parameters(), lr=settings.peak_rate, weight_decay=settings.weight_decay),
            averaged=tower,
            on_status=on_status,
        )

    def run(self) -> tuple[AudioTower, float]:
        """The averaged tower, and the share of phones that were right in the last tenth of the steps."""
        self.loop.run(self.step)
        last = self.accuracies[-max(1, len(self.accuracies) // 10) :]
        return self.loop.average, float(np.mean(last))

    def step(self, step: int, _done: float) -> Losses:
        """Cross-entropy of the phones of one batch, and the share of them that is right."""
        x, y = self.batches.draw(step)
        torch.manual_seed(self.batches.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(torch.from_numpy(x).transpose(1, 2))
        logits = logits.float().reshape(-1, len(CLASSES))
        target = torch.from_numpy(y).flatten()
        known = target != IGNORE
        accuracy = (logits.detach().argmax(dim=1) == target)[known].float().mean()
        self.accuracies.append(float(accuracy))
        return {"loss": F.cross_entropy(logits, target, ignore_index=IGNORE), "accuracy": accuracy}


assert N_MELS == 40

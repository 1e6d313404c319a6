"""A start for LagSync's sound tower from hours of labelled speech: minutes of video do not teach phones."""

import copy
import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from vast_cli.core import files
from vast_cli.speech.acoustic import CLASSES
from vast_cli.sync.audio import HOP, N_MELS, log_mel, normalise
from vast_cli.sync.network import SOUNDS, LagSyncConfig, SoundTower
from vast_cli.training.acoustic.corpus import IGNORE, MORE_SHARES, SHARES, Segments, load_segments, utterance_audio, labels_path
from vast_cli.training.lagsync.batches import augment_audio

log = logging.getLogger(__name__)

CROP = 300  # sound frames, 3 s
STEP = 5  # sound frames between windows
LABELS = SOUNDS // 2  # of a window, 20 ms each
RATE = 2e-3


@dataclass(frozen=True)
class Speech:
    """Features of many utterances one after the other, with the phone of every frame."""

    features: NDArray[np.float16]  # [N, 40], log-mel
    labels: NDArray[np.uint8]  # [N]
    pointer: NDArray[np.int64]  # [n + 1]


def read_speech(corpus: Path, more: Path | None, cache: Path) -> list[tuple[Speech, float]]:
    """Every labelled corpus of sound alone, with the weight of an hour of it; `video` is left out."""
    named = [(corpus, name, weight) for name, weight in SHARES.items() if name != "video"]
    named += [(more, name, weight) for name, weight in MORE_SHARES.items() if more is not None]
    return [(_cached(root, name, cache), w) for root, name, w in named if root and labels_path(root, name).is_file()]


def _cached(root: Path, name: str, cache: Path) -> Speech:
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
        return Speech(arrays["features"], arrays["labels"], arrays["pointer"])


def _labelled(segments: Segments, row: int, audio: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    phone, ms = segments.of(row)
    n = len(audio) // HOP
    centre = 10.0 * np.arange(n) + 5.0
    return log_mel(audio, n).astype(np.float16), phone[np.maximum(np.searchsorted(ms, centre, side="right") - 1, 0)]


class SoundBatches:
    """Draws crops of 3 s by hours and weight."""

    def __init__(self, corpora: list[tuple[Speech, float]], *, size: int, seed: int) -> None:
        self.corpora = [speech for speech, _ in corpora]
        weight = np.array([share * len(speech.features) for speech, share in corpora])
        self.p = weight / weight.sum()
        self.size, self.seed = size, seed

    def draw(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Windows [n, 20, 40] and their phones [n, 10]."""
        rng = np.random.default_rng([self.seed, step])
        index = np.arange(0, CROP - SOUNDS + 1, STEP)[:, None] + np.arange(SOUNDS)
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


def pretrain_sound(
    corpora: list[tuple[Speech, float]], config: LagSyncConfig, *, steps: int = 2500, size: int = 24, seed: int = 0
) -> tuple[SoundTower, float]:
    """A sound tower that tells the ten phones of its window; gives it with the share right in the last tenth."""
    torch.manual_seed(seed)
    tower = SoundTower(config)
    body = nn.Sequential(tower.body, nn.Flatten(), tower.join[:3])
    network = nn.Sequential(body, nn.Dropout(0.1), nn.Linear(config.hidden, LABELS * len(CLASSES)))
    average = copy.deepcopy(tower)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    batches, right = SoundBatches(corpora, size=size, seed=seed), []
    bar = tqdm(range(steps), desc="sound", unit="step", mininterval=5)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        x, y = batches.draw(step)
        torch.manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(torch.from_numpy(x).transpose(1, 2))
        logits = logits.float().reshape(-1, len(CLASSES))
        target = torch.from_numpy(y).flatten()
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(tower.parameters()), 1 - min(0.99, step / (step + 5)))
            known = target != IGNORE
            right.append(float((logits.argmax(dim=1) == target)[known].float().mean()))
        if step % 50 == 0:
            bar.set_postfix(right=f"{np.mean(right[-50:]):.3f}", loss=f"{loss.item():.2f}")
    return average, float(np.mean(right[-max(1, steps // 10) :]))


assert N_MELS == 40

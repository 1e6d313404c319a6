"""Augmented training crops of the acoustic network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32, Float64, Int64
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.speech.acoustic import SIL
from vast_cli.speech.filterbank import LOG_FLOOR, N_MELS, log_mel, mel_weights
from vast_cli.training.acoustic.corpus import IGNORE, Utterances

NOISE_SHARE = 0.04  # of the crops are silence, noise or music alone
GAP_SHARE = 0.05  # of the crops have a gap of digital silence, as editors leave it


class Crops:
    """Augmented training crops; batch number `step` is a function of (seed, step), so a resumed run sees the same.

    Args:
        corpora: utterances and the share each of their frames counts.
        mean: [80], training mean of the features.
        gate: of the normalisation that the network will meet (`normalise.windowed_mean`).
        n_frames: of a crop.
    """

    def __init__(
        self, corpora: list[tuple[Utterances, float]], mean: Float32, *, gate: float, n_frames: int = 128
    ) -> None:
        self.corpora = [u for u, _ in corpora]
        self.mean, self.n_frames = mean, n_frames
        self.index = np.array([(c, i) for c, u in enumerate(self.corpora) for i in range(len(u))])
        lengths = np.concatenate([np.diff(u.pointer) for u in self.corpora])
        shares = np.concatenate([np.full(len(u), share) for u, share in corpora])
        # short words are sampled more often than their length says, else wake words would hardly occur
        weight = shares * np.maximum(lengths, n_frames // 2) * (lengths > 0)
        self.probability = weight / weight.sum()
        self.cumulative = np.cumsum(self.probability)
        self.active = [_active_means(u, gate) for u in self.corpora]
        self.noise = _noise_clips(np.random.default_rng(0))
        white = np.log(mel_weights().sum(axis=0))
        self.white = white - white.mean()
        self.basis = np.cos(np.pi * np.outer(np.arange(4), np.arange(N_MELS) + 0.5) / N_MELS)  # smooth colours

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Float32, Int64]:
        """Normalised features [size, n_frames, 80] and labels [size, n_frames]."""
        t = self.n_frames
        raw = np.zeros((size, t, N_MELS), np.float32)
        labels = np.full((size, t), IGNORE, np.int64)
        mean = np.zeros((size, N_MELS), np.float32)
        count = np.zeros(size, np.float32)
        for b, k in enumerate(np.searchsorted(self.cumulative, rng.random(size))):
            if rng.random() < NOISE_SHARE:
                noise = self.noise[rng.integers(len(self.noise))]
                raw[b], labels[b], mean[b], count[b] = noise, SIL, noise.mean(axis=0), rng.integers(20, 600)
                continue
            c, i = self.index[min(k, len(self.index) - 1)]
            features, phones = self.corpora[c][i]
            start = int(rng.integers(0, max(1, len(phones) - t + 1)))
            n = min(t, len(phones))
            raw[b, :n], labels[b, :n] = features[start : start + n], phones[start : start + n]
            raw[b, n:] = features[start + n - 1] if n else 0
            mean[b], count[b] = self.active[c][0][i], self.active[c][1][i]
            if rng.random() < GAP_SHARE:
                _insert_gap(raw[b], labels[b], rng)
        return self._augment(rng, raw, mean, count, labels), labels

    def _augment(self, rng: np.random.Generator, raw: Float32, mean: Float32, count: Float32, labels: Int64) -> Float32:
        """Augmented and normalised features; `mean` and `count` are those of the utterance's active frames."""
        size, t, _ = raw.shape
        both = _stretch_bands(np.concatenate([raw, mean[:, None]], axis=1), rng)  # the mean changes with what is linear
        # loudness and colour: natural-log power, 2.3 nats = 10 dB
        colour = rng.normal(0, [2.3, 0.7, 0.4, 0.3], (size, 4)) @ self.basis
        both += colour[:, None].astype(np.float32)
        raw, mean = both[:, :t], both[:, t]
        self._add_noise(raw, mean, rng)
        raw = np.maximum(raw, np.log(LOG_FLOOR))
        # normalisation: by the true mean, by that of a few frames, or by the training mean only
        known = np.where(rng.random(size) < 0.2, rng.uniform(0, 1, size), 1.0) * (rng.random(size) > 0.05)
        count = np.minimum(count * known, 600)
        prior = np.exp(rng.uniform(np.log(20), np.log(200), size))
        m = (prior[:, None] * self.mean + count[:, None] * mean) / (prior + count)[:, None]
        x: Float32 = ((raw - m[:, None]) / 3.0).astype(np.float32)
        _mask(x, rng)
        x[labels == IGNORE] *= rng.random() < 0.5  # padding is silence of the room or nothing
        return x

    def _add_noise(self, raw: Float32, mean: Float32, rng: np.random.Generator) -> None:
        """Noise in the background of half of the crops, -3 ... 40 dB below the loudest frames, in place.

        In the mean over the bands, white noise 10 dB below speech in power lies at 0 dB; it rises towards the wide high
        bands.
        """
        size, t, _ = raw.shape
        level = np.sort(raw.mean(axis=2), axis=1)
        loud, active = level[:, -t // 20], raw.mean(axis=2) > level[:, -1:] - 7.0
        noisy = np.flatnonzero(rng.random(size) < 0.5)
        below = rng.uniform(-3, 40, len(noisy)) * np.log(10) / 10
        shape = self.white + rng.normal(0, [0.0, 1.2, 0.6, 0.4], (len(noisy), 4)) @ self.basis
        floor = (loud[noisy] - below)[:, None] + shape
        grain = np.log(rng.gamma(2.5, 0.4, (len(noisy), t, N_MELS)).astype(np.float32) + 1e-3)
        before = raw[noisy]
        after = np.logaddexp(before, floor[:, None].astype(np.float32) + grain)
        loudness = after.mean(axis=2)
        active_after = loudness > loudness.max(axis=1, keepdims=True) - 7.0  # noise fills pauses, and then they count
        moved = _mean_over(after, active_after) - _mean_over(before, active[noisy])
        raw[noisy] = after
        mean[noisy] += moved


def _insert_gap(raw: Float32, labels: Int64, rng: np.random.Generator) -> None:
    """Digital silence in a crop [t, 80], in place; frames at its borders do not count."""
    t = len(raw)
    a, w = rng.integers(0, t), rng.integers(5, 60)
    raw[a : a + w] = np.log(LOG_FLOOR)
    inside = labels[a + 1 : a + w - 1]
    labels[a + 1 : a + w - 1] = np.where(inside == IGNORE, IGNORE, SIL)
    labels[[a, min(a + w - 1, t - 1)]] = IGNORE


def _stretch_bands(features: Float32, rng: np.random.Generator) -> Float32:
    """Another vocal tract: the mel axis of [b, t, 80] stretched by up to 10 % in half of the crops."""
    size = len(features)
    position = np.arange(N_MELS) * (1 + rng.uniform(-0.1, 0.1, (size, 1)) * (rng.random((size, 1)) < 0.5))
    position = np.clip(position, 0, N_MELS - 1)
    left = np.minimum(position.astype(int), N_MELS - 2)
    w = (position - left).astype(np.float32)[:, None]
    rows = np.arange(size)[:, None]
    bands = features.transpose(0, 2, 1)
    stretched: Float32 = bands[rows, left].transpose(0, 2, 1) * (1 - w) + bands[rows, left + 1].transpose(0, 2, 1) * w
    return stretched


def _mask(x: Float32, rng: np.random.Generator) -> None:
    """Mask bands and up to 0.12 s (a short phone: its neighbours tell it) of each crop, in place."""
    size, t, _ = x.shape
    for b in range(size):
        for _ in range(rng.integers(0, 3)):
            a = rng.integers(0, N_MELS)
            x[b, :, a : a + rng.integers(1, 10)] = 0.0
        if rng.random() < 0.5:
            a = rng.integers(0, t)
            x[b, a : a + rng.integers(1, 7)] = 0.0


def _mean_over(frames: Float32, chosen: Bools) -> Float32:
    """Mean of the chosen frames, [B, T, 80] and [B, T] -> [B, 80]."""
    mean: Float32 = (frames * chosen[:, :, None]).sum(axis=1) / np.maximum(1, chosen.sum(axis=1))[:, None]
    return mean


def _active_means(utterances: Utterances, gate: float) -> tuple[Float32, Float32]:
    """Mean and number of each utterance's frames that are less than `gate` below its loudest."""
    means, counts = np.zeros((len(utterances), N_MELS), np.float32), np.zeros(len(utterances), np.float32)
    for i in range(len(utterances)):
        features = utterances[i][0].astype(np.float32)
        if len(features):
            level = features.mean(axis=1)
            active = level > level.max() - gate
            means[i], counts[i] = features[active].mean(axis=0), active.sum()
    return means, counts


def _noise_clips(rng: np.random.Generator, count: int = 240, seconds: float = 2.56) -> Float32:
    """Audio without speech, [count, T, 80]: zeros, coloured noise of 0 ... -90 dB, noise with hum, chords."""
    n = int(timebase.to_samples(seconds))
    clips = []
    for k in range(count):
        noise: Float64 = np.zeros(n)
        if k % 6:
            spectrum: NDArray[np.complex128] = np.fft.rfft(rng.standard_normal(n))
            spectrum *= np.maximum(np.arange(len(spectrum)), 100.0) ** -rng.uniform(-0.2, 1.2)
            noise = np.fft.irfft(spectrum, n)
            noise *= 10 ** (rng.uniform(-90, -15) / 20) / noise.std()
        if k % 6 == 1:
            hz = rng.choice([50, 60, 100, 120])
            noise += 3 * noise.std() * np.sin(2 * np.pi * hz * np.arange(n) / SAMPLE_RATE)
        if k % 6 == 2:
            noise = 10 ** (rng.uniform(-40, -6) / 20) * _chords(rng, n) + 0.1 * noise
        clips.append(log_mel(noise.astype(np.float32)))
    return np.stack(clips)


def _chords(rng: np.random.Generator, n: int) -> Float64:
    """Simple music: notes of one to four voices with harmonics that die away, [n], peak near 1."""
    audio, t = np.zeros(n), timebase.sample_times(np.arange(n))
    for _ in range(int(rng.integers(1, 5))):
        start = 0.0
        while start < timebase.audio_seconds(n):
            length, pitch = rng.uniform(0.15, 0.9), 440 * 2 ** (rng.integers(-36, 25) / 12)
            inside = (t >= start) & (t < start + length)
            after = t[inside] - start
            envelope = np.minimum(after / 0.01, 1) * np.exp(-after * rng.uniform(0, 6))
            for k in range(1, 1 + int(rng.integers(1, 12))):
                if k * pitch < SAMPLE_RATE / 2:
                    level = rng.uniform(0.3, 1) * k ** -rng.uniform(0.5, 2)
                    audio[inside] += level * envelope * np.sin(2 * np.pi * k * pitch * after + rng.uniform(0, 6.3))
            start += length
    peak = np.abs(audio).max()
    return audio / peak if peak > 0 else audio

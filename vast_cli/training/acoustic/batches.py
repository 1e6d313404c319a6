"""Augmented training crops of the acoustic network."""

from __future__ import annotations

import numpy as np

from vast_cli.speech.acoustic import SIL
from vast_cli.speech.filterbank import LOG_FLOOR, N_MELS, SAMPLE_RATE, log_mel, mel_weights
from vast_cli.training.acoustic.corpus import IGNORE, Utterances


class Crops:
    """Augmented training crops; batch number `step` is a function of (seed, step), so a resumed run sees the same.

    Args:
        corpora: utterances and the share each of their frames counts.
        mean: [80], training mean of the features.
        half_window, prior_frames, gate: the normalisation the network will meet (`normalise.windowed_mean`).
    """

    def __init__(
        self, corpora: list[tuple[Utterances, float]], mean: np.ndarray, *, gate: float, n_frames: int = 128
    ) -> None:
        self.corpora = [u for u, _ in corpora]
        self.mean, self.n_frames = mean, n_frames
        self.where = np.array([(c, i) for c, u in enumerate(self.corpora) for i in range(len(u))])
        lengths = np.concatenate([np.diff(u.pointer) for u in self.corpora])
        shares = np.concatenate([np.full(len(u), share) for u, share in corpora])
        # short words are met more often than their length says, else wake words would hardly occur
        weight = shares * np.maximum(lengths, n_frames // 2) * (lengths > 0)
        self.probability = weight / weight.sum()
        self.cumulative = np.cumsum(self.probability)
        self.active = [_active_means(u, gate) for u in self.corpora]
        self.noise = _noises(np.random.default_rng(0))
        white = np.log(mel_weights().sum(axis=0))
        self.white = white - white.mean()
        self.basis = np.cos(np.pi * np.outer(np.arange(4), np.arange(N_MELS) + 0.5) / N_MELS)  # smooth colours

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Normalised features [size, n_frames, 80] float32 and labels [size, n_frames] int64."""
        t = self.n_frames
        raw = np.zeros((size, t, N_MELS), np.float32)
        labels = np.full((size, t), IGNORE, np.int64)
        mean = np.zeros((size, N_MELS), np.float32)
        count = np.zeros(size, np.float32)
        for b, k in enumerate(np.searchsorted(self.cumulative, rng.random(size))):
            if rng.random() < 0.04:  # nothing but silence, noise or music
                noise = self.noise[rng.integers(len(self.noise))]
                raw[b], labels[b], mean[b], count[b] = noise, SIL, noise.mean(axis=0), rng.integers(20, 600)
                continue
            c, i = self.where[min(k, len(self.where) - 1)]
            f, y = self.corpora[c][i]
            start = int(rng.integers(0, max(1, len(y) - t + 1)))
            n = min(t, len(y))
            raw[b, :n], labels[b, :n] = f[start : start + n], y[start : start + n]
            raw[b, n:] = f[start + n - 1] if n else 0
            mean[b], count[b] = self.active[c][0][i], self.active[c][1][i]
            if rng.random() < 0.05:  # a gap of digital silence, as editors leave it
                a, w = rng.integers(0, t), rng.integers(5, 60)
                raw[b, a : a + w] = np.log(LOG_FLOOR)
                labels[b, a + 1 : a + w - 1] = np.where(labels[b, a + 1 : a + w - 1] == IGNORE, IGNORE, SIL)
                labels[b, [a, min(a + w - 1, t - 1)]] = IGNORE
        return self._augment(rng, raw, mean, count, labels)

    def _augment(
        self, rng: np.random.Generator, raw: np.ndarray, mean: np.ndarray, count: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        size, t, _ = raw.shape
        both = np.concatenate([raw, mean[:, None]], axis=1)  # the mean goes through what is linear, too
        # vocal tract: stretch the mel axis by up to 10 % (half of the crops)
        position = np.arange(N_MELS) * (1 + rng.uniform(-0.1, 0.1, (size, 1)) * (rng.random((size, 1)) < 0.5))
        position = np.clip(position, 0, N_MELS - 1)
        left = np.minimum(position.astype(int), N_MELS - 2)
        w = (position - left).astype(np.float32)[:, None]
        rows = np.arange(size)[:, None]
        both = (
            both.transpose(0, 2, 1)[rows, left].transpose(0, 2, 1) * (1 - w)
            + both.transpose(0, 2, 1)[rows, left + 1].transpose(0, 2, 1) * w
        )
        # loudness and colour: natural-log power, 2.3 nats = 10 dB
        colour = rng.normal(0, [2.3, 0.7, 0.4, 0.3], (size, 4)) @ self.basis
        both += colour[:, None].astype(np.float32)
        raw, mean = both[:, :t], both[:, t]
        # background noise under half of the crops, -3 ... 40 dB below the loudest frames in the mean over the bands:
        # white noise 10 dB below speech in power lies at 0 there; it rises towards the wide high bands
        level = np.sort(raw.mean(axis=2), axis=1)
        loud, active = level[:, -t // 20], raw.mean(axis=2) > level[:, -1:] - 7.0
        noisy = np.flatnonzero(rng.random(size) < 0.5)
        below = rng.uniform(-3, 40, len(noisy)) * np.log(10) / 10
        shape = self.white + rng.normal(0, [0.0, 1.2, 0.6, 0.4], (len(noisy), 4)) @ self.basis
        floor = (loud[noisy] - below)[:, None] + shape
        grain = np.log(rng.gamma(2.5, 0.4, (len(noisy), t, N_MELS)).astype(np.float32) + 1e-3)
        before = raw[noisy]
        after = np.logaddexp(before, floor[:, None].astype(np.float32) + grain)
        heard = after.mean(axis=2)
        heard = heard > heard.max(axis=1, keepdims=True) - 7.0  # noise fills pauses, and then they count, too
        moved = _mean_over(after, heard) - _mean_over(before, active[noisy])
        raw[noisy] = after
        mean[noisy] += moved
        raw = np.maximum(raw, np.log(LOG_FLOOR))
        # normalisation: the true one, one that heard little, or the training mean only
        heard = np.where(rng.random(size) < 0.2, rng.uniform(0, 1, size), 1.0) * (rng.random(size) > 0.05)
        count = np.minimum(count * heard, 600)
        prior = np.exp(rng.uniform(np.log(20), np.log(200), size))
        m = (prior[:, None] * self.mean + count[:, None] * mean) / (prior + count)[:, None]
        x = ((raw - m[:, None]) / 3.0).astype(np.float32)
        for b in range(size):
            for _ in range(rng.integers(0, 3)):
                a = rng.integers(0, N_MELS)
                x[b, :, a : a + rng.integers(1, 10)] = 0.0
            if rng.random() < 0.5:  # up to 0.12 s, a short phone: the neighbours tell
                a = rng.integers(0, t)
                x[b, a : a + rng.integers(1, 7)] = 0.0
        x[labels == IGNORE] *= rng.random() < 0.5  # padding is silence of the room or nothing
        return x, labels


def _mean_over(frames: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean of the chosen frames, [B, T, 80] and [B, T] -> [B, 80]."""
    return (frames * chosen[:, :, None]).sum(axis=1) / np.maximum(1, chosen.sum(axis=1))[:, None]


def _active_means(utterances: Utterances, gate: float) -> tuple[np.ndarray, np.ndarray]:
    means, counts = np.zeros((len(utterances), N_MELS), np.float32), np.zeros(len(utterances), np.float32)
    for i in range(len(utterances)):
        f = utterances[i][0].astype(np.float32)
        if len(f):
            level = f.mean(axis=1)
            active = level > level.max() - gate
            means[i], counts[i] = f[active].mean(axis=0), active.sum()
    return means, counts


def _noises(rng: np.random.Generator, count: int = 240, seconds: float = 2.56) -> np.ndarray:
    """Sounds without speech, [count, T, 80]: zeros, coloured noise of 0 ... -90 dB, noise with hum, chords."""
    n = int(seconds * SAMPLE_RATE)
    out = []
    for k in range(count):
        noise = np.zeros(n)
        if k % 6:
            spectrum = np.fft.rfft(rng.standard_normal(n))
            spectrum *= np.maximum(np.arange(len(spectrum)), 100.0) ** -rng.uniform(-0.2, 1.2)
            noise = np.fft.irfft(spectrum, n)
            noise *= 10 ** (rng.uniform(-90, -15) / 20) / noise.std()
        if k % 6 == 1:
            hz = rng.choice([50, 60, 100, 120])
            noise += 3 * noise.std() * np.sin(2 * np.pi * hz * np.arange(n) / SAMPLE_RATE)
        if k % 6 == 2:
            noise = 10 ** (rng.uniform(-40, -6) / 20) * _chords(rng, n) + 0.1 * noise
        out.append(log_mel(noise.astype(np.float32)))
    return np.stack(out)


def _chords(rng: np.random.Generator, n: int) -> np.ndarray:
    """Music of a kind: notes of one to four voices with harmonics that die away, [n], peak near 1."""
    sound, t = np.zeros(n), np.arange(n) / SAMPLE_RATE
    for _ in range(int(rng.integers(1, 5))):
        start = 0.0
        while start < n / SAMPLE_RATE:
            length, pitch = rng.uniform(0.15, 0.9), 440 * 2 ** (rng.integers(-36, 25) / 12)
            inside = (t >= start) & (t < start + length)
            after = t[inside] - start
            envelope = np.minimum(after / 0.01, 1) * np.exp(-after * rng.uniform(0, 6))
            for k in range(1, 1 + int(rng.integers(1, 12))):
                if k * pitch < SAMPLE_RATE / 2:
                    level = rng.uniform(0.3, 1) * k ** -rng.uniform(0.5, 2)
                    sound[inside] += level * envelope * np.sin(2 * np.pi * k * pitch * after + rng.uniform(0, 6.3))
            start += length
    peak = np.abs(sound).max()
    return sound / peak if peak > 0 else sound

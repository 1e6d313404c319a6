"""Data of the acoustic network: labelled features, cached once, and their augmentation."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vast_cli.files import atomic_write
from vast_cli.speech.acoustic import SIL
from vast_cli.speech.filterbank import LOG_FLOOR, N_MELS, SAMPLE_RATE, log_mel

log = logging.getLogger(__name__)

IGNORE = 255  # label of frames that do not count
LOW_CONFIDENCE = 0.03  # share of a corpus with the worst alignment, left out
EDGE = 20  # frames of silence kept before and after an utterance in training: silence is 40 % of the corpora
SPEEDS = (Fraction(1), Fraction(9, 10), Fraction(11, 10))
# corpus -> how often an hour of it counts; native adult speech is thin and decides (study, section 6)
SHARES = {"so762": 1.0, "libri": 3.0, "ww": 0.5, "sti": 0.5, "kokoro": 3.0, "video": 2.5}
VIDEO_SETS = ("talk", "mead", "grid")  # avatar/ repeats sounds of talk/; grid_s1 is a test


@dataclass(frozen=True)
class Utterances:
    """Features of many utterances, one after the other."""

    features: np.ndarray  # [N, 80] float16, log-mel
    labels: np.ndarray  # [N] uint8, class or IGNORE
    pointer: np.ndarray  # [n + 1], first frame of each utterance

    def __len__(self) -> int:
        return len(self.pointer) - 1

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(self.pointer[i], self.pointer[i + 1])
        return self.features[part], self.labels[part]


def frame_labels(phone: np.ndarray, ms: np.ndarray, frames: int, speed: float = 1.0) -> np.ndarray:
    """Class at the centre of each frame, 20 j + 20 ms; `ms` are the segments' starts at speed 1."""
    centre = (20.0 * np.arange(frames) + 20.0) * speed
    return phone[np.maximum(np.searchsorted(ms, centre, side="right") - 1, 0)]


def resample(samples: np.ndarray, speed: Fraction) -> np.ndarray:
    """Play faster or slower (pitch and formants move too) by cutting or filling the spectrum: no aliasing."""
    if speed == 1:
        return samples
    # an even length without large prime factors keeps the FFT quick
    n_in = -(-len(samples) // 1980) * 1980
    n_out = int(n_in / speed)
    spectrum = np.fft.rfft(samples, n_in)
    out = np.fft.irfft(spectrum[: n_out // 2 + 1], n_out) * (n_out / n_in)
    return out[: int(len(samples) / speed)].astype(np.float32)


def bundled(root: Path, name: str, split: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sound, phones and starts in ms of the aligned utterances of an Opus corpus (../data/speech/README.md)."""
    import soundfile

    z = np.load(root / f"{name}.npz", allow_pickle=False)
    chosen = _confident(z, np.flatnonzero(z["split"] == split), drop=split == "train")
    current = None
    for i in chosen:
        if z["bundle"][i] != current:
            current = z["bundle"][i]
            audio, rate = soundfile.read(root / name / f"{name}_{current:03d}.opus", dtype="float32")
            assert rate == SAMPLE_RATE, rate
        start, length = z["start"][i], z["length"][i]
        segments = slice(z["seg_ptr"][i], z["seg_ptr"][i + 1])
        yield audio[start : start + length], z["seg_phone"][segments], z["seg_ms"][segments]


def clips(root: Path, split: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same of the sounds of labelled video clips, sets `VIDEO_SETS` only."""
    z = np.load(root / "video_labels.npz", allow_pickle=False)
    with (root.parent / "video" / "index.csv").open(newline="") as stream:
        sets = {row["path"]: row["set"] for row in csv.DictReader(stream)}
    wanted = [i for i in np.flatnonzero(z["split"] == split) if sets[str(z["utt"][i])] in VIDEO_SETS]
    for i in _confident(z, np.array(wanted), drop=split == "train"):
        segments = slice(z["seg_ptr"][i], z["seg_ptr"][i + 1])
        audio = decode(root.parent / "video" / str(z["utt"][i]))
        yield audio, z["seg_phone"][segments], z["seg_ms"][segments]


def decode(path: Path) -> np.ndarray:
    """Sound of a media file as 16 kHz mono float32."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        blocks = [r.to_ndarray()[0] for frame in container.decode(audio=0) for r in resampler.resample(frame)]
        blocks += [r.to_ndarray()[0] for r in resampler.resample(None)]
    return np.concatenate(blocks).astype(np.float32)


def _confident(z: np.lib.npyio.NpzFile, chosen: np.ndarray, *, drop: bool) -> np.ndarray:
    chosen = chosen[np.diff(z["seg_ptr"])[chosen] > 0]
    if not drop or not len(chosen):
        return chosen
    conf = z["conf"][chosen]
    return chosen[conf >= np.nanquantile(conf, LOW_CONFIDENCE)]


def cached(root: Path, name: str, split: str, cache: Path, *, speed: Fraction = SPEEDS[0]) -> Utterances:
    """Features and labels of a corpus (or of "video"), from the cache or made now.

    Args:
        root: folder of the corpora, `../shared/data/speech`.
        cache: folder for the features; files are named by the content of the labels.
    """
    table = root / ("video_labels.npz" if name == "video" else f"{name}.npz")
    key = hashlib.sha256(table.read_bytes()).hexdigest()[:8]
    path = cache / f"{name}-{split}-{float(speed):.2f}-{key}.npz"
    if not path.exists():
        source = clips(root, split) if name == "video" else bundled(root, name, split)
        features, labels = [], []
        for audio, phone, ms in source:
            f = log_mel(resample(audio, speed)).astype(np.float16)
            y = frame_labels(phone, ms, len(f), float(speed)).astype(np.uint8)
            if split == "train":
                sounding = np.flatnonzero(y != SIL)
                keep = slice(max(0, sounding[0] - EDGE), sounding[-1] + 1 + EDGE) if len(sounding) else slice(0, 0)
                f, y = f[keep], y[keep]
            features.append(f)
            labels.append(y)
        pointer = np.cumsum([0] + [len(y) for y in labels])
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part, part.open("wb") as stream:
            np.savez(stream, features=np.concatenate(features), labels=np.concatenate(labels), pointer=pointer)
        log.info("cached %s %s: %d utterances, %.2f h", name, split, len(labels), pointer[-1] / 180_000)
    z = np.load(path, allow_pickle=False)
    return Utterances(z["features"], z["labels"], z["pointer"])


def emu(root: Path) -> Iterator[tuple[np.ndarray, list[set[str]]]]:
    """Hand-labelled sentences: features and, per frame, the classes that count as right."""
    import soundfile

    for name, entry in json.loads((root / "emu" / "labels.json").read_text()).items():
        audio, rate = soundfile.read(root / "emu" / f"{name}.flac", dtype="float32")
        assert rate == SAMPLE_RATE, rate
        f = log_mel(audio)
        starts = np.array([s["start"] for s in entry["segments"]])
        which = np.maximum(np.searchsorted(starts, 0.02 * np.arange(len(f)) + 0.02, side="right") - 1, 0)
        yield f, [set(entry["segments"][k]["accept"]) for k in which]


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
        self.basis = np.cos(np.pi * np.outer(np.arange(4), np.arange(N_MELS) + 0.5) / N_MELS)  # smooth colours

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Normalised features [size, n_frames, 80] float32 and labels [size, n_frames] int64."""
        t = self.n_frames
        raw = np.zeros((size, t, N_MELS), np.float32)
        labels = np.full((size, t), IGNORE, np.int64)
        mean = np.zeros((size, N_MELS), np.float32)
        count = np.zeros(size, np.float32)
        for b, k in enumerate(np.searchsorted(self.cumulative, rng.random(size))):
            if rng.random() < 0.03:  # nothing but silence or noise
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
        # vocal tract: stretch the mel axis by up to 8 % (half of the crops)
        position = np.arange(N_MELS) * (1 + rng.uniform(-0.08, 0.08, (size, 1)) * (rng.random((size, 1)) < 0.5))
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
        # background noise under 60 % of the crops, 5 - 45 dB below the loudest frames
        level = np.sort(raw.mean(axis=2), axis=1)
        loud, active = level[:, -t // 20], raw.mean(axis=2) > level[:, -1:] - 7.0
        noisy = np.flatnonzero(rng.random(size) < 0.6)
        below = rng.uniform(5, 45, len(noisy)) * np.log(10) / 10
        shape = rng.normal(0, [0.0, 1.5, 0.6, 0.4], (len(noisy), 4)) @ self.basis
        floor = (loud[noisy] - below)[:, None] + shape
        grain = np.log(rng.gamma(2.5, 0.4, (len(noisy), t, N_MELS)).astype(np.float32) + 1e-3)
        before = raw[noisy]
        after = np.logaddexp(before, floor[:, None].astype(np.float32) + grain)
        moved = ((after - before) * active[noisy][:, :, None]).sum(1) / np.maximum(1, active[noisy].sum(1))[:, None]
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


def _active_means(utterances: Utterances, gate: float) -> tuple[np.ndarray, np.ndarray]:
    means, counts = np.zeros((len(utterances), N_MELS), np.float32), np.zeros(len(utterances), np.float32)
    for i in range(len(utterances)):
        f = utterances[i][0].astype(np.float32)
        if len(f):
            level = f.mean(axis=1)
            active = level > level.max() - gate
            means[i], counts[i] = f[active].mean(axis=0), active.sum()
    return means, counts


def _noises(rng: np.random.Generator, count: int = 200, seconds: float = 2.56) -> np.ndarray:
    """Sounds without speech, [count, T, 80]: digital zeros and coloured noise of 0 ... -90 dB, some with hum."""
    n = int(seconds * SAMPLE_RATE)
    out = []
    for k in range(count):
        noise = np.zeros(n)
        if k % 5:
            spectrum = np.fft.rfft(rng.standard_normal(n))
            spectrum *= np.maximum(np.arange(len(spectrum)), 100.0) ** -rng.uniform(-0.2, 1.2)
            noise = np.fft.irfft(spectrum, n)
            noise *= 10 ** (rng.uniform(-90, -15) / 20) / noise.std()
            if k % 5 == 1:
                hz = rng.choice([50, 60, 100, 120])
                noise += 3 * noise.std() * np.sin(2 * np.pi * hz * np.arange(n) / SAMPLE_RATE)
        out.append(log_mel(noise.astype(np.float32)))
    return np.stack(out)

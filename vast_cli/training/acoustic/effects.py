"""Effects of rooms, noise and telephone lines on audio, for training and tests."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32

TELEPHONE_HZ = (300.0, 3400.0)
BLOCK = 320  # samples, 20 ms, whose mean power is a level


def resample(samples: Float32, speed: Fraction) -> Float32:
    """Play faster or slower (pitch and formants move too) by cutting or filling the spectrum: no aliasing."""
    if speed == 1:
        return samples
    # an even length without large prime factors keeps the FFT quick
    n_in = max(1, -(-len(samples) // 1980)) * 1980
    n_out = int(n_in / speed)
    spectrum = np.fft.rfft(samples, n_in)
    out = np.fft.irfft(spectrum[: n_out // 2 + 1], n_out) * (n_out / n_in)
    result: Float32 = out[: int(len(samples) / speed)].astype(np.float32)
    return result


def add_noise(samples: Float32, snr_db: float, rng: np.random.Generator) -> Float32:
    """White noise `snr_db` below the mean power of the frames that sound (less than 30 dB below the loudest 20 ms)."""
    frames = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float64)
    power = (frames**2).mean(axis=1) if len(frames) else np.array([float((samples**2).mean())])
    level = power[power > power.max() * 1e-3].mean() if power.max() > 0 else 0.0
    noise = rng.standard_normal(len(samples)) * np.sqrt(level * 10 ** (-snr_db / 10))
    noisy: Float32 = (samples + noise).astype(np.float32)
    return noisy


def band_limit(samples: Float32, low_hz: float, high_hz: float) -> Float32:
    """Keep low ... high Hz, edges a tenth of an octave wide."""
    n = -(-len(samples) // 1980) * 1980
    hz = np.fft.rfftfreq(n, timebase.SAMPLE_S)
    rise = np.clip(1 + np.log2(np.maximum(hz, 1.0) / low_hz) * 10, 0, 1) if low_hz > 0 else 1.0
    fall = np.clip(1 - np.log2(np.maximum(hz, 1.0) / high_hz) * 10, 0, 1)
    return np.fft.irfft(np.fft.rfft(samples, n) * rise * fall, n)[: len(samples)].astype(np.float32)


def telephone(samples: Float32, *, gsm: bool = False) -> Float32:
    """A phone line: 300 - 3,400 Hz, 8 kHz, 8 bit mu-law (G.711) or GSM 06.10, and back to 16 kHz."""
    import soundfile

    narrow = resample(band_limit(samples, *TELEPHONE_HZ), Fraction(2))
    peak = float(np.abs(narrow).max(initial=1e-9))
    file = io.BytesIO()
    soundfile.write(file, 0.5 * narrow / peak, 8_000, format="WAV", subtype="GSM610" if gsm else "ULAW")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    wide = resample(decoded * (2 * peak), Fraction(1, 2))
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)]


def reverberate(samples: Float32, rng: np.random.Generator) -> Float32:
    """A room: the direct sound, then noise that dies away (RT60 .15 - .7 s, 0 - 15 dB below the direct sound)."""
    rt60, ratio = rng.uniform(0.15, 0.7), 10 ** (-rng.uniform(0, 15) / 20)
    n = int(timebase.to_samples(rt60))
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail[: int(timebase.to_samples(rng.uniform(0.002, 0.02)))] = 0
    tail *= ratio / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = -(-(len(samples) + n) // 1980) * 1980
    out = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return out.astype(np.float32)

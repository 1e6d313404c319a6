"""Filter banks: frames, bands and levels as the network's card defines them."""

import numpy as np
import pytest

from vast_cli.speech import filterbank
from vast_cli.speech.filterbank import LOG_FLOOR, N_MELS, FilterBankStream, log_mel


def slow_log_mel(samples: np.ndarray) -> np.ndarray:
    """The definition, value by value: frames, discrete Fourier transform as a sum, triangles, log."""
    frames = []
    for j in range(-(-len(samples) // 320)):
        window = np.zeros(1024)
        for k in range(640):
            if 320 * j + k < len(samples):
                window[k] = samples[320 * j + k] * 0.5 * (1 - np.cos(2 * np.pi * k / 640))
        turn = np.exp(-2j * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024)
        power = np.abs(turn @ window) ** 2
        corners = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 7600 / 700), 82)
        hz = 700 * (10 ** (corners / 2595) - 1)
        row = []
        for m in range(80):
            total = 0.0
            for b in range(513):
                f = b * 16000 / 1024
                if hz[m] < f <= hz[m + 1]:
                    total += power[b] * (f - hz[m]) / (hz[m + 1] - hz[m])
                elif hz[m + 1] < f < hz[m + 2]:
                    total += power[b] * (hz[m + 2] - f) / (hz[m + 2] - hz[m + 1])
            row.append(np.log(max(total, 1e-10)))
        frames.append(row)
    return np.array(frames)


def test_equals_the_definition() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 1_500).astype(np.float32)
    np.testing.assert_allclose(log_mel(samples), slow_log_mel(samples), atol=1e-5)  # float32 of values near 5


@pytest.mark.parametrize("n", [0, 1, 319, 320, 321, 639, 640, 641, 959, 960, 961, 16_000, 16_001])
def test_every_started_shift_gives_a_frame(n: int) -> None:
    assert log_mel(np.zeros(n, np.float32)).shape == (-(-n // 320), N_MELS)


def test_digital_silence_is_finite_and_at_the_floor() -> None:
    features = log_mel(np.zeros(3_200, np.float32))
    np.testing.assert_allclose(features, np.log(LOG_FLOOR), rtol=1e-6)


def test_a_tone_is_loudest_in_its_own_band() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    peak_hz = np.fft.rfftfreq(1024, 1 / 16_000)[filterbank.mel_weights()[:, log_mel(tone)[10].argmax()].argmax()]
    assert abs(peak_hz - 1_000) < 40  # half a band there


def test_doubling_the_amplitude_adds_log_4() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, 4_000).astype(np.float32)
    np.testing.assert_allclose(log_mel(2 * noise) - log_mel(noise), np.log(4), atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 320, 641, 5_000])
def test_blocks_of_any_size_give_the_same(block: int) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 4_321).astype(np.float32)
    stream = FilterBankStream()
    parts = [stream.push(samples[k : k + block]) for k in range(0, len(samples), block)]
    np.testing.assert_allclose(np.concatenate([*parts, stream.finish()]), log_mel(samples), atol=1e-5)

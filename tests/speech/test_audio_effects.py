"""Rooms, noise and telephones keep the length and timing of audio."""

import numpy as np
import pytest

from vast_cli.training.acoustic.effects import add_noise, band_limit, reverberate, telephone


def click_and_tones() -> np.ndarray:
    t = np.arange(32_000) / 16_000
    tones = sum(np.sin(2 * np.pi * hz * t) for hz in (100, 1_000, 6_000)) * 0.1 * (t > 1.0)
    tones[8_000] += 0.9
    return tones.astype(np.float32)


def level_at(samples: np.ndarray, hz: float) -> float:
    part = samples[17_000:31_000] * np.hanning(14_000)
    return float(np.abs(np.fft.rfft(part))[round(hz * 14_000 / 16_000)])


@pytest.mark.parametrize("gsm", [False, True])
def test_a_telephone_keeps_time_and_its_band_only(gsm: bool) -> None:
    before = click_and_tones()
    after = telephone(before, gsm=gsm)
    assert len(after) == len(before) and after.dtype == np.float32
    assert abs(np.abs(after[:12_000]).argmax() - 8_000) <= 16
    assert level_at(after, 1_000) > 0.5 * level_at(before, 1_000)
    for hz in (100, 6_000):
        assert level_at(after, hz) < 0.1 * level_at(before, hz)


def test_a_band_limit_removes_what_is_outside() -> None:
    after = band_limit(click_and_tones(), 0.0, 3_000)
    assert level_at(after, 6_000) < 0.01 * level_at(after, 1_000)


def test_noise_has_the_requested_level() -> None:
    speech = np.concatenate([np.zeros(16_000), 0.1 * np.sin(np.arange(16_000))]).astype(np.float32)
    noise = add_noise(speech, 10.0, np.random.default_rng(0)) - speech
    ratio = 10 * np.log10((speech[16_000:] ** 2).mean() / (noise**2).mean())
    assert abs(ratio - 10.0) < 0.2


def test_a_room_only_adds_reverberation() -> None:
    click = np.zeros(16_000, np.float32)
    click[4_000] = 1.0
    after = reverberate(click, np.random.default_rng(1))
    assert np.abs(after).argmax() == 4_000 and np.abs(after[:3_999]).max() < 1e-6
    assert (after[4_100:9_000] ** 2).sum() > 0.01


@pytest.mark.parametrize("n", [1, 319, 4_001])
def test_short_and_silent_audio_passes(n: int) -> None:
    for samples in (np.zeros(n, np.float32), np.full(n, 0.5, np.float32)):
        room = reverberate(samples, np.random.default_rng(0))
        for after in (telephone(samples), room, band_limit(samples, 50, 4_000)):
            assert after.shape == samples.shape and np.isfinite(after).all()

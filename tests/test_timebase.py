"""Samples, PPG frames and video frames agree at every length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.core import timebase

HOURS = st.integers(0, 16_000 * 3600 * 10)


@given(HOURS)
def test_video_ends_within_half_a_frame_of_the_sound(n_samples: int) -> None:
    assert 2 * abs(640 * timebase.video_frames(n_samples) - n_samples) <= 640  # 640 samples are a frame


@given(HOURS)
def test_every_sample_lies_in_a_ppg_frame(n_samples: int) -> None:
    frames = timebase.ppg_frames(n_samples)
    assert frames * 320 >= n_samples > (frames - 1) * 320


def test_video_instants_hit_ppg_centres() -> None:
    left, weight = timebase.ppg_at_video(10, 100)
    centres = 0.02 * (left + weight) + 0.02
    assert np.allclose(centres[1:], np.arange(1, 10) / 25, atol=1e-6)


@given(st.integers(1, 200), st.integers(0, 120), st.integers(1, 50))
def test_interpolation_in_pieces_equals_the_whole(n_ppg: int, start: int, length: int) -> None:
    values = np.random.default_rng(n_ppg).dirichlet(np.ones(5), n_ppg).astype(np.float32)
    whole = timebase.interpolate_ppg(values, start + length)
    assert np.allclose(timebase.interpolate_ppg(values, length, start=start), whole[start:], atol=1e-6)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)

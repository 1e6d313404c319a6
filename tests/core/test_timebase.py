"""Samples, PPG frames and video frames agree at every length."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.core import timebase

HOURS = st.integers(0, 16_000 * 3600 * 10)


@given(HOURS)
def test_video_ends_within_half_a_frame_of_the_audio(n_samples: int) -> None:
    assert 2 * abs(640 * timebase.video_frames(n_samples) - n_samples) <= 640  # 640 samples are a frame


@given(HOURS)
def test_every_sample_is_in_a_ppg_frame(n_samples: int) -> None:
    frames = timebase.ppg_frames(n_samples)
    assert frames * 320 >= n_samples > (frames - 1) * 320


def test_video_frames_are_at_ppg_centres() -> None:
    left, weight = timebase.ppg_at_video(10, 100)
    centres = 0.02 * (left + weight) + 0.02
    assert np.allclose(centres[1:], np.arange(1, 10) / 25, atol=1e-6)


@given(st.integers(1, 200), st.integers(0, 120), st.integers(1, 50))
def test_interpolation_in_pieces_equals_the_whole(n_ppg: int, start: int, length: int) -> None:
    values = np.random.default_rng(n_ppg).dirichlet(np.ones(5), n_ppg).astype(np.float32)
    whole = timebase.interpolate_ppg(values, start + length)
    assert np.allclose(timebase.interpolate_ppg(values, length, start=start), whole[start:], atol=1e-6)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)


@given(HOURS)
def test_a_length_comes_back_from_seconds(n_samples: int) -> None:
    assert timebase.sample_near(timebase.audio_seconds(n_samples)) == n_samples
    assert timebase.frame_at(timebase.seconds(timebase.video_frames(n_samples))) == timebase.video_frames(n_samples)
    assert timebase.whole_seconds(n_samples) == int(timebase.audio_seconds(n_samples))
    assert abs(timebase.audio_frames(n_samples) - timebase.video_frames(n_samples)) <= 0.5


@given(st.integers(0, 25 * 3600 * 10))
def test_frames_start_where_their_samples_and_ppg_frames_do(frame: int) -> None:
    assert timebase.sample_at(frame) == frame * timebase.SAMPLES_PER_FRAME
    assert timebase.ppg_at(frame) == frame * timebase.PPG_PER_FRAME
    assert timebase.ppg_samples(timebase.ppg_at(frame)) == timebase.sample_at(frame)


@given(HOURS)
def test_full_ppg_frames_need_no_padding(n_samples: int) -> None:
    full = timebase.full_ppg_frames(n_samples)
    assert full == 0 or timebase.ppg_samples(full - 1) + timebase.PPG_WINDOW <= n_samples
    assert timebase.ppg_samples(full) + timebase.PPG_WINDOW > n_samples


def test_unrounded_conversions_keep_fractions_exact() -> None:
    assert timebase.to_frames(Fraction(1, 50)) == Fraction(1, 2)
    assert timebase.to_samples(Fraction(1, 3)) == Fraction(16_000, 3)
    assert timebase.to_ppg(0.5) == 25.0
    assert np.allclose(timebase.ppg_centres(3), [0.02, 0.04, 0.06])
    assert timebase.sample_times(np.array([8_000])).tolist() == [0.5]

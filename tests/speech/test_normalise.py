"""Mean normalisation: loudness and pauses do not matter."""

import numpy as np

from vast_cli.speech.normalise import windowed_mean

G = np.full(80, -3.0, np.float32)
SETTINGS = {"half_window": 300, "prior_frames": 50.0, "gate": 7.0}


def test_equals_the_formula() -> None:
    f = (
        np.random.default_rng(0).normal(0, 3, (40, 80)).astype(np.float32)
        + np.linspace(0, 9, 40, dtype=np.float32)[:, None]
    )
    level = f.astype(float).mean(axis=1)
    for t, got in enumerate(windowed_mean(f, G, range(40), half_window=5, prior_frames=2.0, gate=1.0)):
        near = [i for i in range(max(0, t - 5), min(40, t + 6))]
        loud = [i for i in near if level[i] > max(level[k] for k in near) - 1.0]
        np.testing.assert_allclose(got, (2.0 * G + f[loud].sum(axis=0)) / (2.0 + len(loud)), rtol=1e-5, atol=1e-5)


def test_the_running_mean_is_that_of_the_past() -> None:
    f = np.random.default_rng(3).normal(0, 3, (30, 80)).astype(np.float32)
    for t, got in enumerate(windowed_mean(f, G, range(30), half_window=6, prior_frames=2.0, gate=100.0, ahead=0)):
        past = f[max(0, t - 6) : t + 1]
        np.testing.assert_allclose(got, (2.0 * G + past.sum(axis=0)) / (2.0 + len(past)), rtol=1e-5, atol=1e-5)


def test_silence_before_speech_does_not_move_the_mean() -> None:
    speech = np.random.default_rng(1).normal(-2, 1, (200, 80)).astype(np.float32)
    padded = np.concatenate([np.full((250, 80), -23.0, np.float32), speech])
    alone = windowed_mean(speech, G, range(200), **SETTINGS)
    np.testing.assert_allclose(windowed_mean(padded, G, range(250, 450), **SETTINGS), alone, atol=1e-9)


def test_distant_audio_has_no_influence() -> None:
    f = np.random.default_rng(2).normal(-2, 1, (1_000, 80)).astype(np.float32)
    other = f.copy()
    other[:100] += 20
    np.testing.assert_array_equal(
        windowed_mean(f, G, range(400, 1_000), **SETTINGS), windowed_mean(other, G, range(400, 1_000), **SETTINGS)
    )


def test_a_single_frame_is_normalised_by_the_prior() -> None:
    one = windowed_mean(np.full((1, 80), -23.0, np.float32), G, range(1), **SETTINGS)
    assert np.isfinite(one).all() and abs(one - G).max() < 1

"""The lag at which two embeddings fit: exact, without padding, None for too few windows."""

import numpy as np
import pytest

from vast_cli.sync import score
from vast_cli.sync.score import MAX_LAG


def unit(n: int, seed: int = 0, d: int = 16) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("late", [-15, -5, 0, 2, 15])
def test_a_late_video_is_found_at_its_lag(late: int) -> None:
    audio = unit(140)
    mouth = audio[20 - late : 120 - late]
    result = score(mouth, audio[20:120])
    assert result is not None
    assert result.lag == late
    assert result.curve[MAX_LAG + late] == pytest.approx(1.0, abs=1e-5)
    assert result.acc == (1.0 if abs(late) <= 1 else 0.0)


def test_the_curve_is_the_mean_cosine_of_the_pairs_that_exist() -> None:
    mouth, audio = unit(60, 1), unit(50, 2)
    valid = np.random.default_rng(3).random(60) < 0.8
    result = score(mouth, audio, valid=valid)
    assert result is not None
    for k, lag in enumerate(range(-MAX_LAG, MAX_LAG + 1)):
        pairs = [mouth[i] @ audio[i - lag] for i in range(60) if valid[i] and 0 <= i - lag < 50]
        assert result.curve[k] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert result.margin == pytest.approx(result.curve.max() - np.median(result.curve))
    assert result.at0 == pytest.approx(result.curve[MAX_LAG] - np.median(result.curve))


def test_at0_falls_with_the_delay_and_margin_does_not() -> None:
    audio = np.cumsum(unit(160, 4), axis=0)  # neighbours are alike, as in speech
    audio = (audio - audio.mean(0)) / np.linalg.norm(audio - audio.mean(0), axis=1, keepdims=True)
    audio = audio.astype(np.float32)
    truth, late2, late5 = (score(audio[10 - d : 150 - d], audio[10:150]) for d in (0, 2, 5))
    assert truth and late2 and late5
    assert truth.at0 > late2.at0 > late5.at0
    assert late5.margin > truth.at0 - 0.2


def test_untracked_mouths_do_not_count() -> None:
    audio = unit(100, 5)
    mouth = audio.copy()
    mouth[30:50] = audio[33:53]  # fits another lag
    valid = np.ones(100, np.bool_)
    valid[30:50] = False
    result = score(mouth, audio, valid=valid)
    assert result is not None and result.lag == 0
    assert result.curve[MAX_LAG] == pytest.approx(1.0, abs=1e-5)


def test_less_than_a_second_has_no_score() -> None:
    assert score(unit(24), unit(24)) is None
    assert score(unit(25), unit(25)) is not None
    assert score(unit(100), unit(10)) is None
    assert score(unit(100), unit(100), valid=np.zeros(100, np.bool_)) is None
    assert score(unit(0), unit(0)) is None


def test_short_stretches_need_all_their_lags() -> None:
    whole, short = score(unit(51), unit(51)), score(unit(50), unit(50))
    assert whole is not None and whole.acc is not None  # 21 windows with 15 on either side
    assert short is not None and short.acc is None


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="other kinds"):
        score(unit(40, d=8), unit(40, d=9))
    with pytest.raises(ValueError, match="marks"):
        score(unit(40), unit(40), valid=np.ones(39, np.bool_))

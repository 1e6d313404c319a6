"""Posteriorgrams of any audio: counts, sums, blocks, silence."""

from collections.abc import Iterator

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.speech import SIL, AcousticModel, extract_ppg, is_speech_present, speech_share, stream_ppg
from vast_cli.speech.filterbank import log_mel


def audio(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = int(seconds * 16_000)
    swell = np.abs(np.sin(np.arange(n) / 3_000)) ** 3  # loud and soft, as syllables are
    return (rng.normal(0, 0.1, n) * swell).astype(np.float32)


def cut(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for k in range(0, len(samples), size):
        yield samples[k : k + size]


@pytest.mark.parametrize("n", [1, 320, 321, 640, 16_000, 63_999, 64_001, 170_003])
def test_every_started_20_ms_has_a_distribution(random_model: AcousticModel, n: int) -> None:
    ppg = extract_ppg([audio(11)[:n]], random_model)
    assert ppg.n_samples == n and ppg.values.shape == (-(-n // 320), 40)
    assert np.isfinite(ppg.values).all() and (ppg.values >= 0).all()
    np.testing.assert_allclose(ppg.values.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [1_601, 7, 64_000, 99_999])
def test_any_blocks_give_the_whole(random_model: AcousticModel, size: int) -> None:
    samples = audio(2 if size < 10 else 33)
    whole = extract_ppg([samples], random_model).values
    np.testing.assert_array_equal(extract_ppg(cut(samples, size), random_model).values, whole)


def test_streamed_windows_equal_one_pass_of_the_network(random_model: AcousticModel) -> None:
    import torch

    samples = audio(47.13)
    features = log_mel(samples)
    x = random_model.normalise(features, range(len(features)))
    whole = random_model(torch.from_numpy(x)[None])[0].softmax(dim=1).numpy()
    np.testing.assert_allclose(extract_ppg([samples], random_model).values, whole, atol=1e-4)


def test_with_a_running_mean_posteriors_lag_half_a_second(random_model: AcousticModel) -> None:
    import torch

    samples, n_sent = audio(31.4), 0

    def arriving() -> Iterator[np.ndarray]:
        nonlocal n_sent
        for block in cut(samples, 1_600):
            n_sent += len(block)
            yield block

    parts, lag = [], []
    for part in stream_ppg(arriving(), random_model, ahead=0, hop=10):
        parts.append(part)
        lag.append(n_sent / 16_000 - 0.02 * sum(map(len, parts)))
    assert max(lag) < 0.02 * random_model.context + 0.2 + 0.2 + 0.1  # context, one hop, one read, one block
    features = log_mel(samples)
    x = random_model.normalise(features, range(len(features)), ahead=0)
    whole = random_model(torch.from_numpy(x)[None])[0].softmax(dim=1).numpy()
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)


def test_audio_beyond_the_context_changes_nothing(random_model: AcousticModel) -> None:
    a, b = audio(30), audio(30)
    b[20 * 16_000 :] = 0.5
    reach = random_model.context + random_model.config.half_window
    untouched = 20 * 50 - 2 - reach
    first, second = extract_ppg([a], random_model).values, extract_ppg([b], random_model).values
    np.testing.assert_allclose(first[:untouched], second[:untouched], atol=1e-5)
    assert abs(first - second).max() > 1e-3


def test_empty_audio_is_an_error(random_model: AcousticModel) -> None:
    for blocks in ([], [np.zeros(0, np.float32)]):
        with pytest.raises(VastError) as caught:
            extract_ppg(blocks, random_model, where="a.wav")
        assert caught.value.code == "vast_audio_too_short"


def test_samples_that_are_not_numbers_are_an_error(random_model: AcousticModel) -> None:
    broken = audio(1)
    broken[77] = np.nan
    with pytest.raises(VastError) as caught:
        extract_ppg([broken], random_model)
    assert caught.value.code == "vast_bad_media"


def test_audio_that_is_far_too_loud_stays_finite(random_model: AcousticModel) -> None:
    assert np.isfinite(extract_ppg([1e6 * audio(1)], random_model).values).all()


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-3, 0.05])
def test_silence_and_noise_are_classified_as_silence(trained_model: AcousticModel, level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1, 80_000).astype(np.float32) * np.float32(level)
    ppg = extract_ppg([noise], trained_model)
    assert (ppg.values.argmax(axis=1) == SIL).mean() > 0.98
    assert speech_share(ppg) < 0.02 and not is_speech_present(ppg)

"""Embeddings: shapes, pieces that equal the whole, loudness that does not matter, checked weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli.core.errors import VastError
from vast_cli.records import load_tensors
from vast_cli.sync import LagSync, load_lagsync
from vast_cli.sync.audio import log_mel, normalise, windows
from vast_cli.sync.lagsync import FORMAT, save_lagsync


def mouths(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 96, 96)).astype(np.uint8)


def audio(seconds: float) -> np.ndarray:
    """Noise that swells and falls like syllables."""
    n = round(16_000 * seconds)
    swell = 0.02 + np.abs(np.sin(np.arange(n) * 3.0 * np.pi / 16_000))
    return (0.1 * swell * np.random.default_rng(1).standard_normal(n)).astype(np.float32)


def test_there_is_a_unit_vector_for_every_five_frames(untrained: LagSync) -> None:
    mouth, voice = untrained.embed_mouth(mouths(30)), untrained.embed_audio(audio(1.2), 30)
    assert mouth.shape == voice.shape == (26, 8)
    assert mouth.dtype == voice.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([mouth, voice]), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("n", [0, 4])
def test_less_than_five_frames_have_no_window(untrained: LagSync, n: int) -> None:
    assert untrained.embed_mouth(mouths(n)).shape == (0, 8)
    assert untrained.embed_audio(audio(0.1), n).shape == (0, 8)


def test_pieces_that_overlap_by_four_frames_equal_the_whole(untrained: LagSync) -> None:
    crops = mouths(60)
    whole = untrained.embed_mouth(crops)
    pieces = [untrained.embed_mouth(crops[a:b]) for a, b in ((0, 17), (13, 18), (14, 60))]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=2e-6)


def test_a_window_sees_its_five_frames_only(untrained: LagSync) -> None:
    crops = mouths(40)
    other = crops.copy()
    other[20] = 255 - other[20, ::-1]
    changed = np.abs(untrained.embed_mouth(crops) - untrained.embed_mouth(other)).max(axis=1) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(16, 21))


def test_an_audio_window_covers_the_time_of_its_frames() -> None:
    click = np.zeros(32_000, np.float32)
    click[16_000 + 80] = 1.0  # in the middle of log-mel frame 100, video frame 25
    loud = log_mel(click, 200).mean(axis=1)
    assert loud.argmax() in (99, 100, 101) and loud[100] == pytest.approx(loud.max(), abs=0.2)
    pieces = windows(np.repeat(np.arange(200.0, dtype=np.float32)[:, None], 40, 1), 50)
    assert pieces.shape == (46, 20, 40)
    np.testing.assert_array_equal(pieces[21, :, 0], np.arange(84, 104))


def test_gain_does_not_matter(untrained: LagSync) -> None:
    samples = audio(3.0)
    np.testing.assert_allclose(untrained.embed_audio(samples, 75), untrained.embed_audio(30 * samples, 75), atol=0.02)


def test_missing_audio_is_silence(untrained: LagSync) -> None:
    samples = audio(2.0)
    padded = np.concatenate([samples, np.zeros(16_000, np.float32)])
    np.testing.assert_array_equal(untrained.embed_audio(samples, 75), untrained.embed_audio(padded, 75))
    assert np.isfinite(untrained.embed_audio(np.zeros(0, np.float32), 50)).all()


def test_silence_stays_finite() -> None:
    assert np.isfinite(normalise(log_mel(np.zeros(16_000, np.float32), 100))).all()


def test_arrays_that_are_no_mouths_or_audio_are_refused(untrained: LagSync) -> None:
    with pytest.raises(ValueError, match="mouths"):
        untrained.embed_mouth(np.zeros((9, 64, 64), np.uint8))
    with pytest.raises(ValueError, match="mouths"):
        untrained.embed_mouth(np.zeros((9, 96, 96), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="audio"):
        untrained.embed_audio(np.zeros((9, 2), np.float32), 9)


def test_weights_are_read_as_saved_with_a_name_of_their_own(untrained: LagSync, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_lagsync(untrained.network, path, notes={"steps": 3})
    loaded = load_lagsync(path)
    assert loaded.name.startswith("lagsync@") and len(loaded.name) == len("lagsync@") + 8
    np.testing.assert_allclose(loaded.embed_mouth(mouths(9)), untrained.embed_mouth(mouths(9)), atol=5e-3)


def test_damaged_weights_are_refused(untrained: LagSync, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_lagsync(untrained.network, path)
    tensors, header = load_tensors(path, kind=FORMAT.kind, version=FORMAT.version)
    name = next(iter(tensors))
    broken = {
        "nan": ({**tensors, name: np.full_like(tensors[name], np.nan)}, header),
        "less": ({k: v for k, v in tensors.items() if k != name}, header),
        "huge": (tensors, {"config": {**header["config"], "hidden": 10**9}}),
        "none": (tensors, {}),
    }
    for key, (values, fields) in broken.items():
        FORMAT.save(tmp_path / key, values, fields)
        with pytest.raises(VastError) as failure:
            load_lagsync(tmp_path / key)
        assert failure.value.code == "vast_record_invalid", key
    with pytest.raises(VastError) as failure:
        load_lagsync(tmp_path / "absent")
    assert failure.value.code == "vast_input_missing"


def test_no_gradient_is_kept(untrained: LagSync) -> None:
    assert not any(p.requires_grad for p in untrained.network.parameters())
    assert not untrained.network.training and torch.is_grad_enabled()

"""Properties of E^p and E^v: lengths, padding, order, reflections, strength."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli import records, style
from vast_cli.core.errors import VastError
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.store.weights import STYLE_ENCODER, STYLE_ENHANCER, STYLE_MODEL
from vast_cli.style.encoder import StyleConfig, StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer, householder, kl_divergence

CONFIG = StyleConfig(width=24, hidden=32, d_style=16, n_reflections=4)


@pytest.fixture(scope="module")
def networks() -> tuple[StyleEncoder, StyleEnhancer]:
    torch.manual_seed(0)
    return StyleEncoder(CONFIG).eval(), StyleEnhancer(CONFIG).eval()


@pytest.fixture(scope="module")
def model(networks: tuple[StyleEncoder, StyleEnhancer], tmp_path_factory: pytest.TempPathFactory) -> style.StyleModel:
    encoder, enhancer = networks
    tensors = {f"{STYLE_ENCODER}{k}": v.numpy() for k, v in encoder.state_dict().items()}
    tensors |= {f"{STYLE_ENHANCER}{k}": v.numpy() for k, v in enhancer.state_dict().items()}
    path = tmp_path_factory.mktemp("style") / "style.safetensors"
    header = {"style": asdict(CONFIG), "face_model_hash": "face", "acoustic_model_hash": "acoustic"}
    STYLE_MODEL.save(path, tensors, header)
    return style.load_style_model(path)


def track(n: int, *, seed: int = 0, valid: np.ndarray | None = None) -> FaceTrack:
    random = np.random.default_rng(seed)
    return FaceTrack(
        valid=np.ones(n, bool) if valid is None else valid,
        score=np.ones(n, np.float32),
        segment=np.zeros(n, np.int16),
        expression=random.standard_normal((n, 233)).astype(np.float32),
        rotation=np.zeros((n, 3), np.float32),
        scale=np.ones(n, np.float32),
        translation=np.zeros((n, 3), np.float32),
        identity=np.zeros((478, 3), np.float32),
        height=8,
        width=8,
        source="person.mp4",
        model_hash="face",
    )


def speech(n_frames: int, *, seed: int = 0) -> Posteriorgram:
    values = np.random.default_rng(seed).dirichlet(np.ones(40), 2 * n_frames).astype(np.float32)
    return Posteriorgram(values=values, n_samples=640 * n_frames, model_hash="acoustic")


def encode(networks: tuple[StyleEncoder, StyleEnhancer], expression: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    ppg = torch.zeros(*expression.shape[:2], 40)
    with torch.inference_mode():
        return networks[0](expression, ppg, torch.ones(len(expression)), mask).mean


def test_padding_does_not_change_style(networks: tuple[StyleEncoder, StyleEnhancer]) -> None:
    torch.manual_seed(1)
    clip = torch.randn(1, 30, 233)
    alone = encode(networks, clip, torch.ones(1, 30))
    padded = torch.cat([clip, 50 * torch.randn(1, 25, 233)], 1)
    mask = torch.cat([torch.ones(1, 30), torch.zeros(1, 25)], 1)
    assert torch.allclose(encode(networks, padded, mask), alone, atol=1e-5)


def test_permuting_the_batch_permutes_the_styles(networks: tuple[StyleEncoder, StyleEnhancer]) -> None:
    torch.manual_seed(2)
    clips, order = torch.randn(4, 20, 233), torch.tensor([2, 0, 3, 1])
    styles = encode(networks, clips, torch.ones(4, 20))
    assert torch.allclose(encode(networks, clips[order], torch.ones(4, 20)), styles[order], atol=1e-5)


def test_reflections_keep_the_length_and_are_their_own_inverse() -> None:
    torch.manual_seed(3)
    z, vector = torch.randn(5, 16), torch.randn(5, 16)
    reflected = householder(z, vector)
    assert torch.allclose(reflected.norm(dim=-1), z.norm(dim=-1), rtol=1e-5)
    assert torch.allclose(householder(reflected, vector), z, atol=1e-5)


def test_flow_is_orthogonal_and_its_log_determinant_zero(networks: tuple[StyleEncoder, StyleEnhancer]) -> None:
    torch.manual_seed(4)
    enhancer = networks[1].double()
    seed = torch.randn(1, 16, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(
        lambda z: enhancer(z[None], seed)[0][0], torch.randn(16, dtype=torch.float64)
    )
    assert torch.allclose(matrix @ matrix.T, torch.eye(16, dtype=torch.float64), atol=1e-9)
    log_det = enhancer(torch.randn(1, 16, dtype=torch.float64), seed)[1]
    assert log_det.item() == 0 and abs(torch.linalg.slogdet(matrix)[1].item()) < 1e-9
    enhancer.float()


def test_kl_is_zero_for_the_prior_and_does_not_depend_on_the_flow() -> None:
    assert kl_divergence(torch.zeros(1, 4), torch.zeros(1, 4)).sum() == 0
    torch.manual_seed(5)
    mean, log_std, rotation = torch.randn(3), 0.3 * torch.randn(3), torch.linalg.qr(torch.randn(3, 3))[0]
    q = torch.distributions.MultivariateNormal(rotation @ mean, rotation @ torch.diag((2 * log_std).exp()) @ rotation.T)
    p = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    assert torch.allclose(
        torch.distributions.kl_divergence(q, p), kl_divergence(mean[None], log_std[None]).sum(), atol=1e-4
    )


@pytest.mark.parametrize("n", [1, 2, 24, 400])
def test_prompts_of_any_length_have_a_style(model: style.StyleModel, n: int) -> None:
    for ppg in (None, speech(n)):
        encoded = style.encode_style(track(n), model, ppg=ppg)
        assert encoded.vector.shape == (16,) and np.isfinite(encoded.vector).all()
        assert encoded.speech_known == (ppg is not None) and encoded.n_frames == n


def test_of_a_long_prompt_five_minutes_are_used(model: style.StyleModel) -> None:
    assert style.encode_style(track(9000), model).n_frames == 7500


def test_frames_without_a_face_are_ignored(model: style.StyleModel) -> None:
    valid = np.ones(40, bool)
    valid[25:] = False
    whole = track(40, valid=valid)
    wild = whole.expression.copy()
    wild[25:] = 100
    other = replace(whole, expression=wild)
    assert np.allclose(style.encode_style(whole, model).vector, style.encode_style(other, model).vector, atol=1e-5)


def test_a_prompt_without_any_face_is_refused(model: style.StyleModel) -> None:
    with pytest.raises(VastError) as caught:
        style.encode_style(track(10, valid=np.zeros(10, bool)), model)
    assert caught.value.code == "vast_face_lost"


def test_unknown_speech_differs_from_silence(model: style.StyleModel) -> None:
    silence = np.zeros((80, 40), np.float32)
    silence[:, 0] = 1
    ppg = Posteriorgram(values=silence, n_samples=640 * 40, model_hash="acoustic")
    known, unknown = style.encode_style(track(40), model, ppg=ppg), style.encode_style(track(40), model)
    assert not np.allclose(known.vector, unknown.vector, atol=1e-6)


def test_a_track_of_another_face_model_is_refused(model: style.StyleModel) -> None:
    other = replace(track(30), model_hash="another")
    with pytest.raises(VastError) as caught:
        style.encode_style(other, model)
    assert caught.value.code == "vast_model_mismatch"
    with pytest.raises(VastError):
        style.encode_style(track(30), model, ppg=replace(speech(30), model_hash="other"))


def test_strength_goes_from_neutral_to_the_style_and_beyond() -> None:
    neutral, vector = np.zeros(3, np.float32), np.array([1, -2, 3], np.float32)
    assert np.array_equal(style.interpolate(neutral, vector, 0), neutral)
    assert np.array_equal(style.interpolate(neutral, vector, 1), vector)
    lengths = [np.linalg.norm(style.interpolate(neutral, vector, k) - neutral) for k in (0, 0.5, 1, 1.5, 2)]
    assert lengths == sorted(lengths)


def test_samples_repeat_with_their_seed_and_centre_on_the_style(model: style.StyleModel) -> None:
    encoded = style.encode_style(track(50), model)
    first, again, other = (style.sample(encoded, model, seed=s).vector for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.allclose(first, other)
    assert np.allclose(style.sample(encoded, model, seed=1, temperature=0).vector, encoded.vector, atol=1e-6)


def test_a_mix_of_equal_styles_is_that_style_and_bad_weights_are_refused() -> None:
    vector = np.array([1, 2], np.float32)
    assert np.allclose(style.mix([vector, vector], [0.3, 0.7]), vector)
    with pytest.raises(VastError):
        style.mix([vector], [0.0])


def test_a_style_survives_its_file(model: style.StyleModel, tmp_path: Path) -> None:
    encoded = style.encode_style(track(30), model)
    encoded.save(tmp_path / "a.style")
    loaded = records.load(Style, tmp_path / "a.style", model_hash=model.hash)
    assert np.array_equal(loaded.vector, encoded.vector) and loaded.source == encoded.source


def test_a_file_without_the_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    STYLE_MODEL.save(path, {"style.x": np.zeros(3, np.float32)}, {"style": asdict(CONFIG)})
    with pytest.raises(VastError) as caught:
        style.load_style_model(path)
    assert caught.value.code == "vast_record_invalid"

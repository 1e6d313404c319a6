"""Properties of E^p and E^v: lengths, padding, order, reflections, strength."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vast_cli import records, style
from vast_cli.core.errors import VastError
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.store.weights import MOMENTS, STYLE_ENCODER, STYLE_ENHANCER, STYLE_MODEL
from vast_cli.style.encoder import StyleConfig, StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer, householder, kl_divergence
from vast_cli.style.moments import LEVEL, LEVELS, N_MOMENTS, RATE, SPREAD, MomentSpace, count_blinks

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
    space = moment_space()
    tensors |= {
        f"{MOMENTS}{k}": getattr(space, k) for k in ("mean", "scale", "chance", "style", "between", "lid", "gap")
    }
    path = tmp_path_factory.mktemp("style") / "style.safetensors"
    header = {"style": asdict(CONFIG), "face_model_hash": "face", "acoustic_model_hash": "acoustic", "person": 1.0}
    STYLE_MODEL.save(path, tensors, header)
    return style.load_style_model(path)


def moment_space(*, person: float = 1.0) -> MomentSpace:
    """Levels vary as much between clips of a person as between persons; a second is worth little."""
    n = len(LEVELS)
    return MomentSpace(
        mean=np.zeros(N_MOMENTS, np.float32),
        scale=np.ones(N_MOMENTS, np.float32),
        chance=np.stack([np.zeros(N_MOMENTS), np.full(N_MOMENTS, 25.0)]).astype(np.float32),
        style=np.eye(n, dtype=np.float32),
        between=np.eye(n, dtype=np.float32),
        lid=np.eye(233, dtype=np.float32)[90],
        gap=np.eye(233, dtype=np.float32)[0],
        person=person,
    )


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
        assert encoded.vector.shape == (16 + N_MOMENTS,) and np.isfinite(encoded.vector).all()
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


def test_styles_are_mixed_in_latent_and_moments(model: style.StyleModel) -> None:
    a, b = (style.encode_style(track(60, seed=k), model) for k in (1, 2))
    mixed = style.mix_styles([a, b], [3, 1])
    assert np.allclose(mixed.vector, 0.75 * a.vector + 0.25 * b.vector, atol=1e-6)
    assert np.array_equal(mixed.moments, mixed.vector[16:]) and mixed.n_frames == 120
    assert not np.allclose(style.sample(mixed, model, seed=1).vector, mixed.vector)
    with pytest.raises(VastError):
        style.mix_styles([a, replace(b, model_hash="another")], [1, 1])


def test_moments_are_level_and_spread_of_the_prompt(model: style.StyleModel) -> None:
    still = track(400)
    smiling = replace(still, expression=still.expression + 2 * np.eye(233, dtype=np.float32)[1])
    lively = replace(still, expression=still.expression * np.where(np.arange(233) == 2, 3, 1).astype(np.float32))
    base, smile, moved = (style.encode_style(t, model).moments for t in (still, smiling, lively))
    level, spread = smile - base, moved - base
    assert np.argmax(np.abs(level)) == 1 and 0.8 < level[1] < 1.1
    assert np.argmax(np.abs(spread)) == SPREAD.start + 2 and 0.6 < spread[SPREAD.start + 2] < 1.1


def test_moments_of_a_short_prompt_are_less_sure_and_nearer_to_the_mean(model: style.StyleModel) -> None:
    raised = np.eye(233, dtype=np.float32)[1]
    encoded = [style.encode_style(replace(track(n), expression=np.tile(2 * raised, (n, 1))), model) for n in (10, 500)]
    assert encoded[0].moments[1] < encoded[1].moments[1]
    assert (encoded[0].moments_std > encoded[1].moments_std)[: RATE.start].all()


def test_the_knob_takes_the_person_out_of_the_level_but_never_out_of_the_lip_gap() -> None:
    expression = np.zeros((1000, 233), np.float32)
    expression[:, [0, 1]] = 2.0  # open lips, and a jaw or a smile
    parts = []
    for person in (0.0, 1.0, 4.0):
        space = moment_space(person=person)
        q, _, removed = space.split(space.measure(expression, np.ones(1000, bool)))
        parts.append((q[LEVEL][1], removed[1]))
        assert removed[0] == 0
    assert parts[0][0] > parts[1][0] > parts[2][0] and parts[0][1] < parts[1][1] < parts[2][1]
    assert all(abs(q + removed - 2) < 1e-5 for q, removed in parts)


def test_glitches_of_the_tracker_hardly_move_the_moments(model: style.StyleModel) -> None:
    clean = track(300)
    broken = clean.expression.copy()
    broken[100:103] = 40
    a, b = (style.encode_style(t, model).moments for t in (clean, replace(clean, expression=broken)))
    assert np.abs(a - b)[: SPREAD.start + 12].max() < 0.3


def test_blinks_are_counted_once_each() -> None:
    opening = np.ones(200, np.float32)
    for start in (20, 90, 150):
        opening[start : start + 4] = 0.2
    assert count_blinks(opening, np.ones(200, bool)) == 3
    assert count_blinks(opening, np.arange(200) < 60) == 1
    assert count_blinks(opening, np.zeros(200, bool)) == 0


def test_a_style_file_of_the_version_before_is_refused_with_a_hint(tmp_path: Path) -> None:
    code = {name: np.zeros(4, np.float32) for name in ("mean", "log_std", "flow_seed", "vector")}
    header = {"source": "a", "n_frames": 1, "speech_known": True, "model_hash": "m"}
    records.save_tensors(tmp_path / "old.style", code, kind="vast.style", version=1, header=header)
    with pytest.raises(VastError) as caught:
        records.load(Style, tmp_path / "old.style")
    assert caught.value.code == "vast_record_version" and "encode-style" in str(caught.value.hint)


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

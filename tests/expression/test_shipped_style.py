"""The shipped style model: lips close in silence, a happy prompt smiles, strength is monotone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vast_cli import media, style
from vast_cli.expression import ExpressionModel, load_expression_model, predict
from vast_cli.face import FaceModel, track_video
from vast_cli.records import N_STRONG, FaceTrack, Posteriorgram
from vast_cli.speech import AcousticModel, extract_ppg, load_acoustic_model

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
CORNERS = [61, 291]

if not (WEIGHTS / "style.safetensors").exists():
    pytest.skip("weights/style.safetensors is not here", allow_module_level=True)


@pytest.fixture(scope="module")
def face() -> FaceModel:
    return FaceModel.load(WEIGHTS / "face_model.safetensors")


@pytest.fixture(scope="module")
def acoustic() -> AcousticModel:
    return load_acoustic_model(WEIGHTS / "acoustic.safetensors")


@pytest.fixture(scope="module")
def decoder() -> ExpressionModel:
    return load_expression_model(WEIGHTS / "style.safetensors")


@pytest.fixture(scope="module")
def encoder() -> style.StyleModel:
    return style.load_style_model(WEIGHTS / "style.safetensors")


def track_clip(path: Path, face: FaceModel) -> FaceTrack:
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return track_video(media.VideoReader(path), model=face, source=path.name, weights=WEIGHTS)


def corners(expression: np.ndarray, face: FaceModel) -> float:
    """Height of the mouth corners in the mean expression, percent of eye distance."""
    offset = (expression.mean(0) @ face.basis).reshape(-1, 3)
    return float(100 * offset[CORNERS, 1].mean() / face.iod)


def test_the_three_models_belong_together(face: FaceModel, acoustic: AcousticModel, decoder: ExpressionModel) -> None:
    assert decoder.face_model_hash == face.hash and decoder.acoustic_model_hash == acoustic.hash


@pytest.mark.parametrize("noise_kind", ["digital zero", "room tone", "noise of -60 dB"])
def test_silence_closes_the_lips(
    noise_kind: str, face: FaceModel, acoustic: AcousticModel, decoder: ExpressionModel
) -> None:
    random = np.random.default_rng(0)
    level = {"digital zero": 0.0, "room tone": 10 ** (-45 / 20), "noise of -60 dB": 1e-3}[noise_kind]
    noise = random.standard_normal(16_000 * 4 + 30)
    if noise_kind == "room tone":
        noise = np.convolve(noise, np.ones(31) / 31**0.5, "valid")
    ppg = extract_ppg([(level * noise[: 16_000 * 4]).astype(np.float32)], acoustic)
    for seed in range(3):  # any style
        vector = style.sample_prior(decoder.d_style, seed=seed)
        motion = np.concatenate(list(predict(ppg, vector, decoder)))[10:]
        gap = face.lip_gap(face.v_bar, motion)
        assert np.median(gap) < 1.5  # percent of eye distance; speech reaches 5 to 15
        assert gap.std() < 0.5


def test_eyes_do_not_drift_over_minutes(face: FaceModel, decoder: ExpressionModel) -> None:
    """The fifth minute of silence moves like the first: no drift, no standstill."""
    n = 25 * 300
    values = np.zeros((2 * n, 40), np.float32)
    values[:, 0] = 1
    ppg = Posteriorgram(values=values, n_samples=640 * n, model_hash=decoder.acoustic_model_hash)
    motion = np.concatenate(list(predict(ppg, np.zeros(decoder.d_style, np.float32), decoder)))
    weak = motion[:, N_STRONG:] / face.sd[N_STRONG:]
    first, last = weak[:1500], weak[-1500:]
    assert np.abs(first.mean(0) - last.mean(0))[:12].max() < 1.5
    assert 0.6 < last[:, :10].std() / first[:, :10].std() < 1.6


def test_a_happy_prompt_smiles_and_strength_is_monotone(
    shared: Path,
    face: FaceModel,
    acoustic: AcousticModel,
    encoder: style.StyleModel,
    decoder: ExpressionModel,
) -> None:
    """An actor who is not in the training data, without audio."""
    mead = shared / "video" / "mead"
    happy, neutral = (track_clip(mead / f"mead_W009_{m}.mp4", face) for m in ("happy_l3", "neutral_l1"))
    first, second = (style.encode_style(t, encoder).vector for t in (neutral, happy))
    ppg = extract_ppg([media.load_audio(shared / "video" / "talk" / "bob_menendez_1.mp4")], acoustic)

    def motion_at(strength: float) -> np.ndarray:
        return np.concatenate(list(predict(ppg, style.interpolate(first, second, strength), decoder)))

    motions = [motion_at(k) for k in (0.0, 0.5, 1.0, 1.5)]
    smiles = [corners(m, face) for m in motions]
    assert smiles == sorted(smiles) and smiles[2] - smiles[0] > 0.7
    distances = [float(np.sqrt(((m - motions[0])[:, :N_STRONG] ** 2).sum(1)).mean()) for m in motions]
    assert distances == sorted(distances)
    assert np.array_equal(motions[0], np.concatenate(list(predict(ppg, first, decoder))))


def test_lips_follow_their_own_audio_only(
    shared: Path,
    face: FaceModel,
    acoustic: AcousticModel,
    encoder: style.StyleModel,
    decoder: ExpressionModel,
) -> None:
    """A speaker who is not in the training data; style of the first half, lips of the second."""
    talk = shared / "video" / "talk"
    track = track_clip(talk / "bob_menendez_1.mp4", face)
    half = track.n_frames // 2
    prompt = track.expression[:half]
    head = {n: getattr(track, n)[:half] for n in ("valid", "score", "segment", "rotation", "scale", "translation")}
    vector = style.encode_style(dataclasses.replace(track, expression=prompt, **head), encoder).vector
    truth = face.lip_gap(track.identity, track.expression)[half:]

    def r(path: Path) -> float:
        ppg = extract_ppg([media.load_audio(path)], acoustic)
        motion = np.concatenate(list(predict(ppg, vector, decoder)))[half : half + len(truth)]
        gap = face.lip_gap(track.identity, motion)
        return float(np.corrcoef(gap, truth[: len(gap)])[0, 1])

    assert r(talk / "bob_menendez_1.mp4") > 0.45
    assert r(talk / "fi12.mp4") < 0.25

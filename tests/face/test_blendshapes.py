"""Blendshapes: ARKit's names and sides, weights within bounds that make the mesh again, gaze, lids, speed."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, Topology
from vast_cli.face.blendshapes import (
    FORMAT,
    FULL_PITCH,
    FULL_YAW,
    NAMES,
    ROTATIONS,
    VERSION,
    BlendshapeFit,
    Blendshapes,
    eye_rotations,
    solve_bounded,
)
from vast_cli.face.networks import Network
from vast_cli.training.face.blendshapes import make_blendshapes

# columns of a recording of Live Link Face, as its files have them
LIVE_LINK_FACE = (
    "EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,EyeWideLeft,EyeBlinkRight,"
    "EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,JawForward,JawRight,"
    "JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,MouthSmileLeft,MouthSmileRight,"
    "MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,MouthStretchRight,"
    "MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,"
    "MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,BrowOuterUpLeft,"
    "BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut,HeadYaw,"
    "HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


@pytest.fixture(scope="module")
def shapes() -> Blendshapes:
    return Blendshapes.load()


@pytest.fixture(scope="module")
def fit(model: FaceModel, shapes: Blendshapes, topology: Topology) -> BlendshapeFit:
    return BlendshapeFit(model, shapes, model.v_bar, topology)


@pytest.fixture(scope="module")
def speech_like(model: FaceModel) -> Float32:
    """Random expressions as large as those of the training clips: [600, 233]."""
    noise = np.random.default_rng(3).standard_normal((600, len(model.sd)))
    return (noise * model.sd).astype(np.float32)


def weights_of(**values: float) -> Float32:
    """One frame with these weights, the others 0: [1, 52]."""
    weights = np.zeros((1, len(NAMES)), np.float32)
    for name, value in values.items():
        weights[0, NAMES.index(name)] = value
    return weights


def mirrored_name(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_and_their_order_are_those_of_live_link_face() -> None:
    assert [name[0].upper() + name[1:] for name in (*NAMES, *ROTATIONS)] == LIVE_LINK_FACE.split(",")
    assert len(NAMES) == len(set(NAMES)) == 52


def test_the_mesh_moves_for_every_name_but_the_tongue(shapes: Blendshapes) -> None:
    still = [name for name, offset in zip(NAMES, shapes.offsets, strict=True) if not offset.any()]
    assert still == ["tongueOut"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("Left", "Right"))])
def test_left_is_the_persons_left(name: str, shapes: Blendshapes, model: FaceModel) -> None:
    offset = shapes.offsets[NAMES.index(name)]
    sign = 1 if name.endswith("Left") else -1
    if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        moved = offset[:, 0].sum()
    else:
        moved = (np.abs(offset).sum(1) * model.v_bar[:, 0]).sum()
    assert sign * moved > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_other_side_is_the_mirror_image(name: str, shapes: Blendshapes, topology: Topology) -> None:
    offset, other = (shapes.offsets[NAMES.index(one)] for one in (name, mirrored_name(name)))
    rest = offset[topology.mirror] * [-1, 1, 1] - other
    assert np.linalg.norm(rest) <= 0.05 * np.linalg.norm(offset)


# names that MediaPipe's network gives a face most, when it makes this shape and no other; it never gives jawForward,
# cheeks and nose a score, and takes small motion of shut lips for each other
RECOGNISED = [
    name
    for name in NAMES
    if name.startswith(("eyeBlink", "eyeSquint", "brow", "mouthSmile", "mouthStretch", "mouthUpperUp", "mouthDimple"))
] + ["jawOpen", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "mouthPucker", "mouthRollUpper", "mouthShrugLower"]


def test_a_network_trained_by_others_recognises_the_shapes(
    weights: Path, model: FaceModel, shapes: Blendshapes, topology: Topology
) -> None:
    network = Network(weights / "face_blendshapes.tflite", ["StatefulPartitionedCall:0"])
    names = _network_names(weights)
    points = topology.sets["blendshape_net_input"]

    def scores(mesh: Float32) -> Float32:
        pixels = (mesh[points, :2] * np.float32([14, -14]) + 128).astype(np.float32)
        return network(pixels[None])[0]

    neutral = scores(model.v_bar)
    for name in RECOGNISED:
        gained = scores(model.v_bar + 0.8 * shapes.offsets[NAMES.index(name)]) - neutral
        assert names[int(gained.argmax())] == name


def _network_names(weights: Path) -> list[str]:
    names: list[str] = json.loads((weights / "index_sets.json").read_text("utf-8"))["blendshape_net_output"]
    return names


# --- fit ------------------------------------------------------------------------------------------------------------


def test_a_neutral_face_has_no_weights(fit: BlendshapeFit) -> None:
    assert not fit.fit(np.zeros((3, 233), np.float32)).any()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("tongueOut", "mouthClose")])
def test_a_single_shape_is_found_again(name: str, fit: BlendshapeFit, model: FaceModel) -> None:
    mesh = fit.decode(weights_of(**{name: 0.6}))
    found = fit.fit(model.encode(mesh, model.v_bar))[0]
    assert NAMES[int(found.argmax())] == name
    assert 0.15 < found[NAMES.index(name)] < 0.8  # the pull towards 0 takes most from shapes that hardly move


def test_lips_close_over_an_open_jaw(fit: BlendshapeFit, model: FaceModel) -> None:
    weights = weights_of(jawOpen=0.4, mouthClose=0.4)
    found = fit.fit(model.encode(fit.decode(weights), model.v_bar))[0]
    jaw, close = (found[NAMES.index(name)] for name in ("jawOpen", "mouthClose"))
    assert jaw == pytest.approx(0.4, abs=0.12) and close == pytest.approx(0.4, abs=0.12)


def test_weights_stay_within_bounds_whatever_comes(fit: BlendshapeFit, speech_like: Float32) -> None:
    for scale in (1, 30):
        weights = fit.fit(scale * speech_like)
        assert weights.shape == (600, 52) and weights.dtype == np.float32
        assert 0 <= weights.min() and weights.max() <= 1
        assert not weights[:, NAMES.index("tongueOut")].any()
        assert (weights[:, NAMES.index("mouthClose")] <= weights[:, NAMES.index("jawOpen")]).all()


def test_a_rig_opens_mouth_and_eyes_as_the_mesh_does(
    fit: BlendshapeFit, model: FaceModel, speech_like: Float32
) -> None:
    meshes = model.decode(model.v_bar, speech_like)
    again = fit.decode(fit.fit(speech_like))

    def heights(points: Float32, upper: int, lower: int) -> Float32:
        return points[:, upper, 1] - points[:, lower, 1]

    wide = heights(meshes, 13, 14) > heights(model.v_bar[None], 13, 14)
    assert np.corrcoef(heights(meshes, 13, 14)[wide], heights(again, 13, 14)[wide])[0, 1] > 0.97
    assert np.corrcoef(heights(meshes, 159, 145), heights(again, 159, 145))[0, 1] > 0.97


def test_a_mirrored_face_has_mirrored_weights(
    fit: BlendshapeFit, model: FaceModel, topology: Topology, speech_like: Float32
) -> None:
    meshes = model.decode(model.v_bar, speech_like[:100])
    mirrored = (meshes[:, topology.mirror] * [-1, 1, 1]).astype(np.float32)
    weights, others = fit.fit(model.encode(meshes, model.v_bar)), fit.fit(model.encode(mirrored, model.v_bar))
    swapped = weights[:, [NAMES.index(mirrored_name(name)) for name in NAMES]]
    assert np.abs(swapped - others).mean() < 0.005


def test_a_frame_does_not_depend_on_the_others(fit: BlendshapeFit, speech_like: Float32) -> None:
    whole = fit.fit(speech_like)
    assert np.array_equal(whole, fit.fit(speech_like))
    assert np.array_equal(whole[:300], fit.fit(speech_like[:300]))
    assert fit.fit(speech_like[:0]).shape == (0, 52)


def test_sweeps_suffice(rng: np.random.Generator) -> None:
    factor = rng.standard_normal((60, 43))
    gram = factor.T @ factor / 43 + 0.02 * np.eye(43)
    target = 3 * gram @ rng.random((43, 20)) - 1
    found = solve_bounded(gram, target)
    root = np.linalg.cholesky(gram)
    for column, b in zip(found.T, target.T, strict=True):
        exact = lsq_linear(root.T, np.linalg.solve(root, b), bounds=(0, 1), tol=1e-12).x
        assert np.abs(column - exact).max() < 1e-3


# --- eyes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "left", "right"), [(0.3, "Out", "In"), (-0.3, "In", "Out")])
def test_both_eyes_look_to_the_side_where_the_irises_are(
    shift: float, left: str, right: str, fit: BlendshapeFit, model: FaceModel
) -> None:
    mesh = model.v_bar.copy()
    mesh[468:, 0] += shift  # to the image's right, which is the person's left
    weights = fit.fit(model.encode(mesh[None], model.v_bar))
    for name in (f"eyeLook{left}Left", f"eyeLook{right}Right"):
        assert weights[0, NAMES.index(name)] == pytest.approx(0.5, abs=0.1)
    yaw = eye_rotations(weights)[0, [ROTATIONS.index("leftEyeYaw"), ROTATIONS.index("rightEyeYaw")]]
    assert np.allclose(yaw, -np.sign(shift) * 0.3, atol=0.06)  # positive to the person's right


def test_rotations_of_full_gaze() -> None:
    rotations = eye_rotations(weights_of(eyeLookInLeft=1, eyeLookOutRight=1, eyeLookDownLeft=1, eyeLookUpRight=1))[0]
    named = dict(zip(ROTATIONS, rotations.tolist(), strict=True))
    assert named["leftEyeYaw"] == named["rightEyeYaw"] == pytest.approx(FULL_YAW)
    assert named["leftEyePitch"] == -named["rightEyePitch"] == pytest.approx(FULL_PITCH)
    assert not any(value for name, value in named.items() if name.startswith("head") or name.endswith("Roll"))


def test_a_shut_eye_blinks_fully_and_does_not_look_down(fit: BlendshapeFit, model: FaceModel) -> None:
    weights = weights_of(eyeBlinkLeft=1, eyeBlinkRight=1)
    mesh = fit.decode(weights)
    mesh[:, 468:, 1] -= 0.3  # the tracker's irises sink with the lids
    found = fit.fit(model.encode(mesh, model.v_bar))[0]
    for side in ("Left", "Right"):
        assert found[NAMES.index(f"eyeBlink{side}")] > 0.9
        assert found[NAMES.index(f"eyeLookDown{side}")] < 0.05


@pytest.mark.parametrize("scale", [0.7, 1.2])
def test_narrow_and_wide_eyes_shut_at_the_same_weight(
    scale: float, model: FaceModel, shapes: Blendshapes, topology: Topology
) -> None:
    identity = model.v_bar.copy()
    for side in ("image_left_eye", "image_right_eye"):
        ring = topology.sets[side]
        middle = identity[ring, 1].mean()
        identity[ring, 1] = middle + scale * (identity[ring, 1] - middle)
    mesh = BlendshapeFit(model, shapes, identity, topology).decode(weights_of(eyeBlinkLeft=1, eyeBlinkRight=1))[0]
    for upper, lower in ((159, 145), (386, 374)):
        assert 0 < (mesh[upper, 1] - mesh[lower, 1]) / (identity[upper, 1] - identity[lower, 1]) < 0.25


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_shipped_file_is_made_by_its_command(shared: Path, shapes: Blendshapes, tmp_path: Path) -> None:
    make_blendshapes(shared / "face" / "blendshapes_ict.npz", tmp_path / "made.safetensors")
    assert np.array_equal(Blendshapes.load(tmp_path / "made.safetensors").offsets, shapes.offsets)


def test_other_names_and_damaged_shapes_are_refused(shapes: Blendshapes, tmp_path: Path) -> None:
    def save(offsets: Float32, names: list[str]) -> Path:
        path = tmp_path / "shapes.safetensors"
        records.save_tensors(path, {"offsets": offsets}, kind=FORMAT, version=VERSION, header={"names": names})
        return path

    for offsets, names in (
        (shapes.offsets[:51], list(NAMES)),
        (np.full_like(shapes.offsets, np.nan), list(NAMES)),
        (shapes.offsets, sorted(NAMES)),
    ):
        with pytest.raises(VastError) as error:
            Blendshapes.load(save(offsets, names))
        assert error.value.code == "vast_record_invalid"


def test_a_source_without_all_shapes_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "shapes.npz"
    for names in (["jawOpen"], ["jawOpen", "earWiggle_L"]):
        np.savez(source, names=np.array(names), delta=np.ones((len(names), 468, 3), np.float16))
        with pytest.raises(VastError) as error:
            make_blendshapes(source, tmp_path / "made.safetensors")
        assert error.value.code == "vast_record_invalid"
    source.write_bytes(b"no archive")
    with pytest.raises(VastError) as error:
        make_blendshapes(source, tmp_path / "made.safetensors")
    assert error.value.code == "vast_record_invalid"
    assert not (tmp_path / "made.safetensors").exists()

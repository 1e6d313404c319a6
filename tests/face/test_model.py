"""The face model Phi, Phi'."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, Topology, geometry
from vast_cli.training.face.train import FaceModelSettings, mouth_offset


def expressions(model: FaceModel, rng: np.random.Generator, n: int) -> Float32:
    return (rng.normal(size=(n, records.N_EXPRESSION)) * model.sd).astype(np.float32)


def test_no_expression_is_the_identity(model: FaceModel) -> None:
    zeros = np.zeros((2, records.N_EXPRESSION), np.float32)
    assert np.array_equal(model.decode(model.v_bar, zeros)[1], model.v_bar)


def test_encode_undoes_decode(model: FaceModel, rng: np.random.Generator) -> None:
    expression = expressions(model, rng, 8)
    meshes = model.decode(model.v_bar, expression)
    rebuilt = model.decode(model.v_bar, model.encode(meshes, model.v_bar))
    # the prior shrinks by the noise of a vertex: 0.05 %IOD at most
    assert 100 * np.abs(rebuilt - meshes).max() / model.iod < 0.05


def test_stabilise_recovers_the_pose(model: FaceModel, rng: np.random.Generator) -> None:
    rotation = (0.4 * rng.normal(size=(6, 3))).astype(np.float32)
    scale = rng.uniform(5, 40, 6).astype(np.float32)
    translation = rng.uniform(-50, 300, (6, 3)).astype(np.float32)
    placed = model.place(np.repeat(model.v_bar[None], 6, 0), rotation, scale, translation)
    meshes, pose = model.stabilise(placed, model.v_bar)
    assert np.allclose(pose.rotation, rotation, atol=1e-4)
    assert np.allclose(pose.scale, scale, rtol=1e-4)
    assert np.allclose(pose.translation, translation, atol=1e-2)
    assert np.abs(meshes - model.v_bar).max() < 1e-3


def test_stabilised_meshes_do_not_depend_on_the_pose(model: FaceModel, rng: np.random.Generator) -> None:
    face = model.decode(model.v_bar, expressions(model, rng, 1))
    straight = model.place(face, np.zeros((1, 3), np.float32), np.ones(1, np.float32), np.zeros((1, 3), np.float32))
    turned = model.place(
        face, np.array([[0.2, -0.5, 0.3]], np.float32), np.full(1, 17, np.float32), np.full((1, 3), 90, np.float32)
    )
    first, second = (model.stabilise(points, model.v_bar)[0] for points in (straight, turned))
    assert np.abs(first - second).max() < 1e-3


def test_placing_stabilised_landmarks_restores_them(model: FaceModel, rng: np.random.Generator) -> None:
    face = model.decode(model.v_bar, expressions(model, rng, 3)) * np.array([1.1, 0.9, 1], np.float32)
    landmarks = model.place(
        face, np.full((3, 3), 0.2, np.float32), np.full(3, 20, np.float32), np.full((3, 3), 128, np.float32)
    )
    meshes, pose = model.stabilise(landmarks, model.v_bar)
    assert np.abs(model.place(meshes, pose.rotation, pose.scale, pose.translation) - landmarks).max() < 0.01


def test_rotation_vectors_and_matrices_agree(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 3))
    vectors *= (rng.uniform(0, np.pi - 1e-3, 50) / np.linalg.norm(vectors, axis=1))[:, None]
    vectors[0] = 0
    matrices = geometry.rotation_matrix(vectors.astype(np.float32))
    assert np.allclose(np.linalg.det(matrices), 1, atol=1e-5)
    assert np.allclose(geometry.rotation_vector(matrices), vectors, atol=2e-3)


def test_the_papers_rule_makes_85_components_strong_and_148_weak(model: FaceModel, topology: Topology) -> None:
    mouth = np.concatenate([topology.sets["lips_outer"], topology.sets["lips_inner"]])
    offset = mouth_offset(model.basis.astype(np.float64), model.sd.astype(np.float64), mouth, iod=model.iod)
    strong = offset > FaceModelSettings().strong_threshold
    assert strong.sum() == model.n_strong == records.N_STRONG
    assert strong[: model.n_strong].all()
    assert offset[model.n_strong :].max() < 1e-6  # weak components do not move the mouth at all


def test_components_of_a_group_are_orthonormal(model: FaceModel) -> None:
    for rows in (model.basis[: model.n_strong], model.basis[model.n_strong :]):
        assert np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-4)


def test_the_lip_gap_depends_on_the_lips_only(model: FaceModel) -> None:
    apart = model.v_bar.copy()
    eyes = np.linalg.norm(apart[33, :2] - apart[263, :2])
    apart[13], apart[14] = [0, 0, 5], [0, -0.1 * eyes, 5]
    expression = np.zeros((3, records.N_EXPRESSION), np.float32)
    expression[1, model.n_strong :] = model.sd[model.n_strong :]
    assert np.allclose(model.lip_gap(apart, expression)[:2], 10, atol=1e-3)


def test_a_smile_is_expression_not_bone(model: FaceModel, rng: np.random.Generator) -> None:
    """A clip that smiles throughout has nearly the same neutral mesh as one that does not."""
    motion = 0.3 * expressions(model, rng, 60)
    smile = model.mean_expression(model.v_bar + _corners_up(model, 0.02))
    poses = [np.zeros((60, 3), np.float32), np.full(60, 20, np.float32), np.zeros((60, 3), np.float32)]
    still = model.neutral(model.place(model.decode(model.v_bar, motion), *poses))
    smiling = model.neutral(model.place(model.decode(model.v_bar, motion) + smile, *poses))
    assert np.abs(smiling - still).max() < 0.5 * np.abs(smile).max()


def _corners_up(model: FaceModel, amount: float) -> Float32:
    expression = np.zeros((1, records.N_EXPRESSION), np.float32)
    directions = model.basis.reshape(-1, 478, 3)[: model.n_strong, [61, 291], 1].mean(1)
    expression[0, : model.n_strong] = directions * model.sd[: model.n_strong] ** 2
    offset = model.decode(np.zeros_like(model.v_bar), expression)[0]
    return offset * (amount * model.iod / offset[[61, 291], 1].mean())


def test_a_damaged_model_is_refused(model: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "face_model.safetensors"
    records.save_tensors(path, {"v_bar": model.v_bar[:10]}, kind="vast.face_model", version=1, header={})
    with pytest.raises(VastError) as caught:
        FaceModel.load(path)
    assert caught.value.code == "vast_record_invalid"
    with pytest.raises(VastError) as caught:
        FaceModel.load(tmp_path / "none.safetensors")
    assert caught.value.code == "vast_input_missing"


def test_the_model_cannot_be_changed(model: FaceModel) -> None:
    with pytest.raises(AttributeError):
        model.iod = 1.0  # type: ignore[misc]
    assert replace(model, iod=1.0).iod == 1.0

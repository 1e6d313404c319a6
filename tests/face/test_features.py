"""Features of the face have the direction that their names say."""

import numpy as np
import pytest

from vast_cli.core.arrays import Float32
from vast_cli.face import FaceModel
from vast_cli.face.features import FEATURES, count_blinks, eye_opening, face_features


def moved(model: FaceModel, offsets: dict[int, tuple[float, float, float]]) -> Float32:
    """Expression [1, 233] of the mean face with some vertices moved, percent of the eye distance."""
    mesh = model.v_bar.copy()
    for vertex, offset in offsets.items():
        mesh[vertex] += np.array(offset, np.float32) * model.iod / 100
    return model.encode(mesh[None], model.v_bar)


def test_a_face_without_expression_has_no_features(model: FaceModel) -> None:
    features = face_features(np.zeros((3, 233), np.float32), model)
    assert set(features) == set(FEATURES)
    assert all(np.array_equal(values, np.zeros(3)) for values in features.values())


@pytest.mark.parametrize(
    ("feature", "offsets"),
    [
        ("mouth corners", {61: (0, 3, 0), 291: (0, 3, 0)}),
        ("lip opening", {13: (0, 2, 0), 14: (0, -2, 0)}),
        ("mouth width", {61: (-2, 0, 0), 291: (2, 0, 0)}),
        ("inner brows", {55: (0, 3, 0), 285: (0, 3, 0)}),
        ("outer brows", {70: (0, 3, 0), 300: (0, 3, 0)}),
        ("brow distance", {55: (-2, 0, 0), 285: (2, 0, 0)}),
        ("lids", {159: (0, 2, 0), 386: (0, 2, 0)}),
        ("jaw", {152: (0, 3, 0)}),
    ],
)
def test_features_grow_in_the_direction_of_their_names(
    feature: str, offsets: dict[int, tuple[float, float, float]], model: FaceModel
) -> None:
    up, down = (face_features(sign * moved(model, offsets), model)[feature][0] for sign in (1, -1))
    assert up > 0.05 and down == pytest.approx(-up, rel=1e-4)


def test_features_are_those_of_the_decoded_mesh(model: FaceModel, rng: np.random.Generator) -> None:
    expression = (rng.normal(size=(5, 233)) * model.sd).astype(np.float32)
    mesh = (model.decode(model.v_bar, expression) - model.v_bar) * 100 / model.iod
    features = face_features(expression, model)
    assert np.allclose(features["lip opening"], mesh[:, 13, 1] - mesh[:, 14, 1], atol=1e-3)
    assert np.allclose(features["mouth corners"], mesh[:, [61, 291], 1].mean(1), atol=1e-3)


def test_blinks_are_counted_once_each(model: FaceModel) -> None:
    assert 0.1 < eye_opening(np.zeros((1, 233), np.float32), model.v_bar, model)[0] < 0.6
    opening = np.full(100, 0.3, np.float32)
    assert count_blinks(opening) == 0
    opening[10:14] = opening[50:53] = opening[90] = 0.05
    opening[70] = 0.25  # not shut
    assert count_blinks(opening) == 3

"""The similarity that aligns faces, the openings of lips and eyes, and the crop box."""

import numpy as np
import pytest
from skimage.transform import SimilarityTransform

from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import CropBox


@pytest.mark.parametrize("mirrored", [False, True])
def test_similarity_is_that_of_scikit_image(mirrored: bool) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        source = random.normal(0, 30, (13, 2)) + random.normal(0, 100, 2)
        target = source @ random.normal(0, 1, (2, 2)) + random.normal(0, 3, (13, 2))
        if mirrored:
            target[:, 0] *= -1
        theirs = SimilarityTransform.from_estimate(source, target).params
        matrix, offset = landmarks.similarity(source, target)
        np.testing.assert_allclose(matrix, theirs[:2, :2], atol=1e-9)
        np.testing.assert_allclose(offset, theirs[:2, 2], atol=1e-9)


def test_a_batch_of_similarities_equals_single_ones() -> None:
    random = np.random.default_rng(1)
    source, target = random.normal(0, 30, (2, 7, 13, 2))
    matrix, offset = landmarks.similarity(source, target)
    aligned = landmarks.move(source, matrix, offset)
    for k in range(7):
        alone = landmarks.move(source[k], *landmarks.similarity(source[k], target[k]))
        np.testing.assert_allclose(aligned[k], alone, atol=1e-9)


def test_lip_gap_does_not_depend_on_size_and_rotation() -> None:
    face = np.random.default_rng(2).normal(0, 30, (68, 2))
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert landmarks.lip_gap(3 * face @ rotation + 5) == pytest.approx(landmarks.lip_gap(face))
    assert landmarks.eye_opening(3 * face @ rotation + 5) == pytest.approx(landmarks.eye_opening(face))


def test_crop_puts_points_where_the_pixels_go() -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[80:84, 120:124] = 255
    box = CropBox(left=60, top=-20, side=128)  # reaches beyond the image
    crop = box.cut(frame)
    assert crop.shape == (256, 256, 3)
    y, x = np.argwhere(crop[..., 0] > 200).mean(0) + 0.5
    np.testing.assert_allclose(box.points(np.array([[122.0, 82.0]]))[0], [x, y], atol=0.3)


def test_the_box_of_a_clip_is_a_median() -> None:
    low = np.array([[10.0, 10], [12, 10], [200, 200]])
    box = CropBox.around(low, low + 100)
    assert (box.left, box.top, box.side) == (-18, -20, 160)

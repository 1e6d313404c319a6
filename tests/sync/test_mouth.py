"""The mouth crop: level, scaled by the eyes, the same for a rotated or enlarged image."""

import cv2
import numpy as np
import pytest

from vast_cli.face import Topology
from vast_cli.sync import MouthCropper, mouth_crop
from vast_cli.sync.mouth import crop_frame

CENTRE = np.array([130.0, 120.0])


def face(angle: float = 0.0, size: float = 8.0) -> np.ndarray:
    """The canonical face in an image, [478, 3]."""
    points = np.zeros((478, 3), np.float32)
    points[:468] = Topology.load().canonical
    c, s = np.cos(angle), np.sin(angle)
    flat = points[:, :2] * [1, -1] * size
    points[:, :2] = flat @ np.array([[c, s], [-s, c]]) + CENTRE
    return points


def pattern(angle: float = 0.0, size: float = 8.0) -> np.ndarray:
    """A smooth pattern that rotates and grows with the face, [256, 256, 3]."""
    y, x = np.mgrid[0:256, 0:256] + 0.5
    c, s = np.cos(angle), np.sin(angle)
    u, v = ((x - CENTRE[0]) * c + (y - CENTRE[1]) * s) / size, ((y - CENTRE[1]) * c - (x - CENTRE[0]) * s) / size
    grey = 128 + 60 * np.sin(0.9 * u) + 60 * np.cos(0.7 * v + 0.3 * u)
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("angle", "size"), [(0.3, 8.0), (-0.2, 11.0), (0.0, 6.0), (0.1, 18.0)])
def test_rotation_and_size_of_the_image_do_not_matter(angle: float, size: float) -> None:
    straight = mouth_crop(pattern(), face()).astype(float)
    turned = mouth_crop(pattern(angle, size), face(angle, size)).astype(float)
    inner = np.s_[8:-8, 8:-8]  # a large face's crop may reach beyond the image
    assert np.abs(straight - turned)[inner].mean() < 3


def test_the_mouth_is_inside_and_the_eyes_are_not() -> None:
    points = face()
    centre, across, unit = crop_frame(points)
    np.testing.assert_allclose(across, [1, 0], atol=1e-3)
    lips = points[[61, 291, 0, 17], :2]
    assert (np.abs(lips - centre) < 0.45 * unit).all()
    assert (points[[33, 263], 1] < centre[1] - 0.5 * unit).all()


def test_closing_the_eyes_or_opening_the_mouth_moves_nothing() -> None:
    points = face()
    moved = points.copy()
    moved[[13, 14, 17, 0, 152, 61, 291]] += [0, 9, 0]
    moved[[159, 145, 386, 374]] += [0, 3, 0]
    for a, b in zip(crop_frame(points), crop_frame(moved), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_turned_head_keeps_its_size() -> None:
    points = face()
    turned = points.copy()
    turned[:, 0] = CENTRE[0] + (points[:, 0] - CENTRE[0]) * 0.6
    assert crop_frame(turned)[2] == pytest.approx(crop_frame(points)[2], rel=0.15)


def test_a_larger_crop_shows_more_around_the_same_middle() -> None:
    small, large = mouth_crop(pattern(), face()), MouthCropper(128)(pattern(), face())
    assert small.shape == (96, 96) and large.shape == (128, 128)
    assert np.abs(small.astype(int) - large[16:112, 16:112]).max() <= 1


def test_crops_do_not_depend_on_earlier_frames() -> None:
    cropper = MouthCropper()
    first = cropper(pattern(), face())
    cropper(pattern(0.3), face(0.3))
    np.testing.assert_array_equal(cropper(pattern(), face()), first)


def test_a_face_at_the_edge_still_gives_a_crop() -> None:
    points = face()
    points[:, :2] += [120, 130]
    assert mouth_crop(pattern(), points).shape == (96, 96)


def test_points_and_frames_of_other_shapes_are_refused() -> None:
    frame, points = pattern(), face()
    with pytest.raises(ValueError, match="landmarks"):
        mouth_crop(frame, points[:468])
    with pytest.raises(ValueError, match="landmarks"):
        mouth_crop(frame, np.full_like(points, np.nan))
    with pytest.raises(ValueError, match="frame"):
        mouth_crop(frame[:, :, 0], points)


def test_large_faces_do_not_alias() -> None:
    fine = np.zeros((1024, 1024, 3), np.uint8)
    fine[::2] = 255
    points = face(size=64.0)
    points[:, :2] += [382, 392]
    crop = cv2.GaussianBlur(mouth_crop(fine, points), (0, 0), 1)
    assert crop.std() < 12

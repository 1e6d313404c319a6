"""Judges of others: what they are fed is right, what is absent or wrong is said."""

from itertools import islice

import cv2
import numpy as np
import pytest

from vast_cli.evaluate.judges import descriptor
from vast_cli.face.model import FaceModel
from vast_cli.face.track import track_landmarks
from vast_cli.media import VideoReader


def face_points(centre=(128.0, 110.0), eye_distance=80.0, angle=0.0):
    """Landmarks whose five corners lie as in dlib's mean face; the others do not matter."""
    shape = descriptor.TEMPLATE - descriptor.TEMPLATE.mean(0)
    shape = shape * eye_distance / np.linalg.norm(shape[0] - shape[2])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.full((478, 3), np.nan)
    points[list(descriptor.CORNERS), :2] = shape @ turn + centre
    return points


def dots(points, size):
    """A picture with a bright dot on each of the five corners."""
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    distance = np.linalg.norm(grid[:, :, None] - points[list(descriptor.CORNERS), :2], axis=-1).min(2)
    grey = 255 * np.exp(-0.5 * (distance / (size / 100)) ** 2)
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(("size", "angle"), [(128, 0.0), (256, 0.4), (512, -0.7), (1024, 0.1)])
def test_a_chip_has_the_corners_where_the_network_expects_them(size, angle):
    points = face_points((size * 0.5, size * 0.45), size * 0.3, angle)
    chip = descriptor.face_chip(dots(points, size), points)
    assert chip.shape == (150, 150, 3)
    for x, y in descriptor.TARGET:
        left, top = int(x) - 8, int(y) - 8
        patch = chip[top : top + 17, left : left + 17, 0].astype(float)
        patch[patch < 0.3 * patch.max()] = 0
        rows, columns = np.mgrid[top : top + 17, left : left + 17] + 0.5
        found = (patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()
        assert found == pytest.approx((x, y), abs=0.35)


def test_a_chip_does_not_depend_on_how_the_head_is_turned_in_the_picture():
    points = face_points(angle=0.0)
    frame = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 4)
    quarter = points.copy()
    quarter[:, 0], quarter[:, 1] = 256 - points[:, 1], points[:, 0]
    straight, turned = (
        descriptor.face_chip(f, p).astype(int) for f, p in ((frame, points), (np.rot90(frame, -1), quarter))
    )
    assert np.abs(straight - turned)[5:-5, 5:-5].max() <= 3


def test_landmarks_that_mean_nothing_are_refused():
    frame = np.zeros((64, 64, 3), np.uint8)
    for points in (np.full((478, 3), np.nan), np.ones((478, 2))):
        with pytest.raises(ValueError, match="landmarks"):
            descriptor.face_chip(frame, points)


def test_descriptor_is_none_without_its_package(monkeypatch):
    monkeypatch.setattr(descriptor.importlib.util, "find_spec", lambda name: None)
    assert descriptor.load_descriptor() is None


def test_descriptor_tells_people_apart(shared):
    judge = descriptor.load_descriptor()
    if judge is None:
        pytest.skip("the extra `evaluate` is not installed")
    model = FaceModel.load()

    def describe(clip, start):
        frames = list(islice(VideoReader(shared / "video" / clip), start, start + 2))
        track = track_landmarks(frames, model, source=clip)
        assert track.present[1]
        return judge.describe(frames[1], track.points[1])

    markey, markey_later = describe("avatar/ed_markey.mp4", 0), describe("avatar/ed_markey.mp4", 150)
    may = describe("avatar/theresa_may.mp4", 0)
    assert markey.shape == (128,)
    assert markey.dtype == np.float32
    assert np.linalg.norm(markey - markey_later) < 0.45
    assert np.linalg.norm(markey - may) > 0.55

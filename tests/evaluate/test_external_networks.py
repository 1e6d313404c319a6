"""Face descriptor and Inception: faces are aligned as expected, people differ, wrong weights are refused."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vast_cli.core.errors import VastError
from vast_cli.evaluate.external import descriptor
from vast_cli.evaluate.external.inception import InceptionNet, load_inception
from vast_cli.evaluate.external.syncnet import load_syncnet
from vast_cli.face.model import FaceModel
from vast_cli.face.track import track_landmarks
from vast_cli.media import VideoReader


def face_points(centre=(128.0, 110.0), eye_distance=80.0, angle=0.0):
    """Landmarks whose five corners lie as in dlib's mean face; the others do not matter."""
    shape = descriptor.TEMPLATE - descriptor.TEMPLATE.mean(0)
    shape = shape * eye_distance / np.linalg.norm(shape[0] - shape[2])
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.full((478, 3), np.nan)
    points[list(descriptor.CORNERS), :2] = shape @ rotation + centre
    return points


def dots(points, size):
    """An image with a bright dot on each of the five corners."""
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
        centroid = (patch * columns).sum() / patch.sum(), (patch * rows).sum() / patch.sum()
        assert centroid == pytest.approx((x, y), abs=0.35)


def test_a_chip_does_not_depend_on_the_rotation_of_the_head():
    points = face_points(angle=0.0)
    frame = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 4)
    quarter = points.copy()
    quarter[:, 0], quarter[:, 1] = 256 - points[:, 1], points[:, 0]
    straight, turned = (
        descriptor.face_chip(f, p).astype(int) for f, p in ((frame, points), (np.rot90(frame, -1), quarter))
    )
    assert np.abs(straight - turned)[5:-5, 5:-5].max() <= 3


def test_degenerate_landmarks_are_refused():
    frame = np.zeros((64, 64, 3), np.uint8)
    for points in (np.full((478, 3), np.nan), np.ones((478, 2))):
        with pytest.raises(ValueError, match="landmarks"):
            descriptor.face_chip(frame, points)


def test_descriptor_is_none_without_its_package(monkeypatch):
    monkeypatch.setattr(descriptor.importlib.util, "find_spec", lambda name: None)
    assert descriptor.load_descriptor() is None


def test_descriptor_tells_people_apart(shared):
    network = descriptor.load_descriptor()
    if network is None:
        pytest.skip("the extra `evaluate` is not installed")
    model = FaceModel.load()

    def describe(clip, start):
        frames = list(islice(VideoReader(shared / "video" / clip), start, start + 2))
        track = track_landmarks(frames, model, source=clip)
        assert track.present[1]
        return network.describe(frames[1], track.points[1])

    markey, markey_later = describe("avatar/ed_markey.mp4", 0), describe("avatar/ed_markey.mp4", 150)
    may = describe("avatar/theresa_may.mp4", 0)
    assert markey.shape == (128,)
    assert markey.dtype == np.float32
    assert np.linalg.norm(markey - markey_later) < 0.45
    assert np.linalg.norm(markey - may) > 0.55


@pytest.fixture(scope="module")
def inception_state(randomised):
    return randomised(InceptionNet()) | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="module")
def inception(inception_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(inception_state, path)
    return load_inception(path)


def test_inception_gives_2048_features_alike_for_equal_images(inception):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 80, 3)).astype(np.uint8)
    frames[2] = frames[0]
    features = inception.features(frames)
    assert features.shape == (3, 2048)
    assert (features >= 0).all()
    assert np.linalg.norm(features[0] - features[1]) > 0.01 * np.linalg.norm(features[0])
    np.testing.assert_allclose(features[0], features[2], rtol=1e-4)
    np.testing.assert_array_equal(inception.features(frames), features)
    np.testing.assert_allclose(inception.features(frames[1:2])[0], features[1], rtol=1e-3, atol=1e-4)
    assert inception.features(frames[:0]).shape == (0, 2048)
    with pytest.raises(ValueError, match="uint8"):
        inception.features(frames / 255)


def test_inception_loads_safetensors_too(inception, inception_state, tmp_path):
    save_file(inception_state, tmp_path / "inception.safetensors")
    again = load_inception(tmp_path / "inception.safetensors")
    frames = np.full((1, 32, 32, 3), 90, np.uint8)
    np.testing.assert_array_equal(again.features(frames), inception.features(frames))
    assert again.sha256 != inception.sha256


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, "1000 classes"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("fc")}, "0 classes"),
        (lambda s: {k: v for k, v in s.items() if k != "Mixed_7c.branch1x1.bn.bias"}, "Mixed_7c.branch1x1.bn.bias"),
        (lambda s: s | {"AuxLogits.fc.weight": torch.zeros(3)}, "AuxLogits"),
        (lambda s: s | {"Mixed_6a.branch3x3.bn.weight": torch.full((384,), torch.nan)}, "no numbers"),
        (lambda s: {"model": s}, "no state dict"),
        (lambda s: list(s.values()), "no state dict"),
        (lambda s: {"a": Bomb()}, "no plain PyTorch state dict"),
    ],
)
def test_another_file_is_refused(spoil, message, inception_state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(spoil(inception_state), "weights.pth")
    with pytest.raises(VastError, match=message) as error:
        load_inception(Path("weights.pth"))
    assert error.value.code == "vast_record_invalid"
    assert not Path("exploded").exists()


@pytest.mark.parametrize("load", [load_inception, load_syncnet])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_missing_and_damaged_weights_are_refused(load, name, tmp_path):
    path = tmp_path / name
    with pytest.raises(VastError) as error:
        load(path)
    assert error.value.code == "vast_input_missing"
    for content in (b"", b"not weights", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(VastError) as error:
            load(path)
        assert error.value.code == "vast_record_invalid"


def test_inceptions_file_is_no_syncnet(inception_state, tmp_path):
    torch.save(inception_state, tmp_path / "inception.pth")
    with pytest.raises(VastError, match="netcnnaud"):
        load_syncnet(tmp_path / "inception.pth")

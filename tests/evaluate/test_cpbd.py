"""CPBD equals the published port; noise and sharpening fool it as they must, blur lowers it."""

import cpbd as port
import cv2
import numpy as np
import pytest
from skimage.feature import canny as skimage_canny

from vast_cli.evaluate.measures.cpbd import canny, cpbd
from vast_cli.media import VideoReader

CLIPS = ("avatar/ed_markey.mp4", "avatar/theresa_may.mp4", "avatar/katie_hill.mp4")


def noise(seed, *shape, top=256):
    return np.random.default_rng(seed).integers(0, top, shape).astype(np.uint8)


def long_ramps():
    """An edge between two ramps of 113 pixels, rising above and falling below: longer than a width may grow."""
    steps = np.ones(230, int)
    steps[115:117] = 10, 15
    row = np.cumsum(steps).astype(np.uint8)
    return np.vstack([np.tile(row, (64, 1)), np.tile(row[::-1], (64, 1))])


def images():
    random = noise(0, 256, 256)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (128, 1))
    return {
        "noise": random,
        "smooth": cv2.GaussianBlur(random, (0, 0), 1.5),
        "smoother, odd size": cv2.GaussianBlur(noise(1, 201, 133), (0, 0), 4),
        "few levels": noise(3, 129, 140, top=3),
        "black and white": noise(4, 128, 192, top=2) * 255,
        "one block": noise(5, 64, 64),
        "long ramps": long_ramps(),
        "wavy ramps": (ramp // 2 + noise(6, 128, 256, top=4)),
    }


def unmeasured():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (128, 1))
    return {
        "flat": np.full((128, 128), 7, np.uint8),
        "rising ramp": ramp,
        "ramp down the page": ramp.T.copy(),
        "no strict maximum": np.kron(noise(2, 16, 16), np.ones((16, 16), np.uint8)),
    }


@pytest.fixture(scope="module")
def frames(shared):
    """Twelve frames of three clips, 256x256 grey."""
    found = []
    for clip in CLIPS:
        for index, frame in enumerate(VideoReader(shared / "video" / clip)):
            if index % 30 == 0:
                small = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA)
                found.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
            if index == 90:
                break
    return found


@pytest.mark.parametrize("name", images())
def test_equals_the_published_port(name):
    image = images()[name]
    assert cpbd(image) == pytest.approx(port.compute(image), abs=1e-9)


def test_equals_the_published_port_on_frames(frames):
    def variants(frame):
        yield frame
        yield cv2.GaussianBlur(frame, (0, 0), 1)
        yield cv2.GaussianBlur(frame, (0, 0), 2)
        yield np.clip(frame + np.random.default_rng(0).normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
        yield cv2.resize(frame[::2, ::2], (256, 256), interpolation=cv2.INTER_NEAREST)

    compared = [(cpbd(x), port.compute(x)) for frame in frames for x in variants(frame)]
    assert len(compared) >= 50
    # the port says 0 where nothing could be measured
    np.testing.assert_allclose(
        [0 if ours is None else ours for ours, _ in compared], [theirs for _, theirs in compared], atol=1e-9
    )


def test_orders_blur_and_is_fooled_by_noise(frames):
    def mean(change):
        values = [cpbd(change(frame)) for frame in frames]
        return np.mean([value for value in values if value is not None])

    def noisy(frame):
        return np.clip(frame + np.random.default_rng(0).normal(0, 5, frame.shape), 0, 255).astype(np.uint8)

    truth = mean(lambda x: x)
    assert mean(lambda x: cv2.GaussianBlur(x, (0, 0), 2)) < mean(lambda x: cv2.GaussianBlur(x, (0, 0), 1)) < truth
    assert mean(lambda x: noisy(cv2.GaussianBlur(x, (0, 0), 2))) > truth


@pytest.mark.parametrize("name", [*images(), *unmeasured()])
def test_canny_equals_scikit_image(name):
    image = (images() | unmeasured())[name]
    np.testing.assert_array_equal(canny(image), skimage_canny(image.astype(np.float64)))


@pytest.mark.parametrize("name", unmeasured())
def test_a_image_without_edges_has_no_value(name):
    assert cpbd(unmeasured()[name]) is None
    assert port.compute(unmeasured()[name]) == 0


@pytest.mark.parametrize("shape", [(1, 1), (63, 200), (200, 63)])
def test_smaller_than_a_block_has_no_value(shape):
    assert cpbd(noise(0, *shape)) is None


def test_floats_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        cpbd(noise(0, 64, 64) / 255)

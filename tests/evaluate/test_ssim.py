"""SSIM equals scikit-image's, is symmetric, and is 1 for an image against itself."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from vast_cli.evaluate.measures.ssim import ssim, ssim_map, ssim_rgb7

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def pairs():
    random = noise(0, 256, 256)
    smooth = cv2.GaussianBlur(random, (0, 0), 3)
    flat = np.full((40, 31), 90, np.uint8)
    return {
        "noise and blur": (random, cv2.GaussianBlur(random, (0, 0), 1)),
        "smooth, shifted": (smooth, np.roll(smooth, 1, 1)),
        "smooth, other level": (smooth, np.clip(smooth.astype(int) + 20, 0, 255).astype(np.uint8)),
        "flat": (flat, flat + 10),
        "odd size": (noise(1, 57, 33), noise(2, 57, 33)),
        "smallest": (noise(3, 11, 11), noise(4, 11, 11)),
        "opposite": (random, 255 - random),
    }


@pytest.mark.parametrize("name", pairs())
def test_equals_scikit_image(name):
    a, b = pairs()[name]
    mean, whole = structural_similarity(a, b, full=True, **WANG)
    assert ssim(a, b) == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(ssim_map(a, b), whole, atol=1e-9)


@pytest.mark.parametrize("name", pairs())
def test_colour_equals_scikit_image_with_its_defaults(name):
    a, b = (np.dstack([x, x[::-1], 255 - x]) for x in pairs()[name])
    assert ssim_rgb7(a, b) == pytest.approx(structural_similarity(a, b, channel_axis=2), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(11, 40), st.integers(11, 40))
def test_symmetric_bounded_and_one_for_equal_images(seed, height, width):
    a, b = noise(seed, height, width), noise(seed + 1, height, width)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert abs(ssim_map(a, b)).max() <= 1 + 1e-9
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)


def test_more_damage_scores_lower():
    truth = cv2.GaussianBlur(noise(5, 128, 128), (0, 0), 2)
    scores = [ssim(truth, cv2.GaussianBlur(truth, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)


def test_floats_and_other_sizes_are_refused():
    a = noise(6, 32, 32)
    with pytest.raises(ValueError, match="uint8"):
        ssim(a / 255, a / 255)
    with pytest.raises(ValueError, match="shape"):
        ssim(a, a[:-1])
    with pytest.raises(ValueError, match="window"):
        ssim(a[:8], a[:8])

"""The 80 band energies: shape, order of the numbers, what moves them and what does not."""

import cv2
import numpy as np
import pytest

from vast_cli.evaluate.measures.bands import SIZE, band80
from vast_cli.evaluate.measures.frechet import frechet

MOUTH = (128.0, 180.0, 40.0)


def texture(seed=0, sigma=1.0):
    random = np.random.default_rng(seed).integers(0, 256, (256, 256)).astype(np.uint8)
    return cv2.GaussianBlur(random, (0, 0), sigma)


def test_eighty_finite_numbers():
    features = band80(texture(), MOUTH)
    assert features.shape == (SIZE,) == (80,)
    assert features.dtype == np.float64
    assert np.isfinite(features).all()


def test_a_flat_image_has_the_floor_everywhere():
    np.testing.assert_allclose(band80(np.full((256, 256), 200, np.uint8), MOUTH), np.log(0.05))


def test_brightness_does_not_matter():
    image = texture() // 2 + 20
    np.testing.assert_allclose(band80(image, MOUTH), band80(image + 60, MOUTH), atol=1e-3)


def test_a_cell_holds_its_own_part_of_the_face():
    image = np.full((256, 256), 100, np.uint8)
    image[:60, 196:] = texture()[:60, 196:]  # upper right cell
    finest = band80(image, MOUTH)[:16].reshape(4, 4)
    assert np.unravel_index(finest.argmax(), (4, 4)) == (0, 3)
    assert finest[2:, :2].max() == pytest.approx(np.log(0.05))


def test_the_mouth_counts_in_both_grids():
    image = texture(sigma=3)
    x, y, half = (int(v) for v in MOUTH)
    changed = image.copy()
    changed[y - half : y + half, x - half : x + half] = texture(1)[y - half : y + half, x - half : x + half]
    moved = np.abs(band80(changed, MOUTH) - band80(image, MOUTH))
    assert (moved[64:68] > 1).all()
    assert moved[:4].max() < 0.01  # the forehead's cells


def test_a_wave_lies_in_the_band_of_its_frequency():
    x = np.arange(256)
    for band, period in enumerate((4, 8, 16, 32)):
        wave = np.tile(128 + 60 * np.sin(2 * np.pi * x / period), (256, 1)).astype(np.uint8)
        energies = band80(wave, MOUTH)[:64].reshape(4, 16).mean(1)
        assert energies.argmax() == band


def test_blur_costs_more_the_stronger_it_is():
    frames = [texture(seed) for seed in range(40)]
    truth = np.stack([band80(frame, MOUTH) for frame in frames])
    costs = [
        frechet(np.stack([band80(cv2.GaussianBlur(frame, (0, 0), sigma), MOUTH) for frame in frames]), truth)
        for sigma in (0.3, 0.6, 1, 2)
    ]
    assert costs == sorted(costs)


@pytest.mark.parametrize("mouth", [(-20.0, 128.0, 40.0), (250.0, 250.0, 60.0), (128.2, 127.9, 0.4), (128, 128, 300)])
def test_squares_that_leave_the_image_still_count(mouth):
    assert np.isfinite(band80(texture(), mouth)).all()


def test_other_images_are_refused():
    for image in (texture() / 255, np.zeros((256, 250), np.uint8), np.zeros((256, 256, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            band80(image, MOUTH)

"""Templates of any length stay within the footage, do not jump and do not depend on cuts."""

import numpy as np
import pytest

from vast_cli.renderer import template


@pytest.mark.parametrize("length", [2, 7, 40, 1169])
@pytest.mark.parametrize("seed", [0, 1, 99])
def test_positions_stay_within_the_footage_and_do_not_jump(length: int, seed: int) -> None:
    positions = template.positions(0, 5000, length=length, seed=seed)
    assert positions.min() >= 0
    assert positions.max() <= length - 1
    assert np.abs(np.diff(positions)).max() <= 1 + 1e-9


def test_turning_points_are_eased() -> None:
    speed = np.diff(template.positions(0, 3000, length=200, seed=0))
    assert np.abs(np.diff(speed)).max() < 0.2  # a plain ping-pong has 2


def test_parts_equal_the_whole() -> None:
    whole = template.positions(0, 500, length=120, seed=5)
    parts = [template.positions(start, 50, length=120, seed=5) for start in range(0, 500, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_seeds_start_elsewhere_and_one_frame_is_enough() -> None:
    starts = {float(template.positions(0, 1, length=500, seed=seed)[0]) for seed in range(8)}
    assert len(starts) > 5
    assert not template.positions(0, 10, length=1, seed=3).any()


def test_poses_between_frames_are_interpolated() -> None:
    values = np.array([[0.0], [2.0], [6.0]], np.float32)
    np.testing.assert_allclose(template.interpolate(values, np.array([0.0, 0.5, 1.25, 2.0]))[:, 0], [0, 1, 3, 6])

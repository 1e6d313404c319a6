"""The tracker: it finds a face, follows the chosen one, reports when there is none."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, LandmarkTrack, Topology, draw_preview, track_landmarks, track_video
from vast_cli.face.cuts import CutDetector


def faceless(n: int, height: int = 96, width: int = 128) -> Iterator[NDArray[np.uint8]]:
    """Frames without a face: a slowly moving pattern."""
    y, x = np.mgrid[:height, :width]
    for k in range(n):
        grey = (127 + 60 * np.sin((x + k) / 9) + 60 * np.cos(y / 7)).astype(np.uint8)
        yield cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def test_no_face_is_reported_with_frames_and_times(model: FaceModel, weights: Path) -> None:
    with pytest.raises(VastError, match=r"`empty.mp4` \(searched 50 frames, 0.0 s - 2.0 s\)") as caught:
        track_video(faceless(50), model=model, source="empty.mp4", weights=weights)
    assert caught.value.code == "vast_no_face"


def test_a_talking_face_is_tracked_in_every_frame(talking: Image, model: FaceModel, weights: Path) -> None:
    track = track_video(talking, model=model, source="w.mp4", weights=weights)
    assert track.report["valid"] == len(talking) and track.report["segments"] == 1
    assert 24 < 9 * track.scale.mean() < 256
    gap = model.lip_gap(track.identity, track.expression)
    assert gap.std() > 1 and gap.min() < 10 < gap.max()


def test_two_runs_give_the_same_bytes(talking: Image, model: FaceModel, weights: Path) -> None:
    first, second = (track_landmarks(talking[:8], model, weights=weights) for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_the_frame_size_does_not_change_the_expression(talking: Image, model: FaceModel, weights: Path) -> None:
    large = np.stack([cv2.resize(f, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for f in talking[:12]])
    small = track_landmarks(talking[:12], model, weights=weights).points
    other = track_landmarks(large, model, weights=weights).points / 3
    iod = np.linalg.norm(small[:, 33] - small[:, 263], axis=1).mean()
    assert 100 * np.linalg.norm((small - other)[:, :, :2], axis=2).mean() / iod < 2  # %IOD


def test_a_rotated_face_is_found(talking: Image, model: FaceModel, weights: Path) -> None:
    """A head tilted by 90 degrees is found, and its landmarks rotate with it."""
    turned = np.ascontiguousarray(np.rot90(talking[:10], axes=(1, 2)))
    small = track_landmarks(talking[:10], model, weights=weights).points[9]
    other = track_landmarks(turned, model, weights=weights).points[9]
    back = np.stack([256 - other[:, 1], other[:, 0]], 1)
    iod = np.linalg.norm(small[33] - small[263])
    assert 100 * np.linalg.norm(small[:, :2] - back, axis=1).mean() / iod < 4


@pytest.mark.parametrize(("face", "centre"), [("left", 128), ("right", 384), ("largest", 128), (0, 128), (1, 384)])
def test_of_two_faces_the_chosen_one_is_followed(
    talking: Image, model: FaceModel, weights: Path, face: str | int, centre: int
) -> None:
    second = np.zeros_like(talking[:6])
    for k in range(6):  # smaller, turned to the other side
        second[k, 40:216, 40:216] = cv2.resize(talking[k], (176, 176))
    both = np.concatenate([talking[:6], second], axis=2)
    raw = track_landmarks(both, model, face=face, weights=weights)  # type: ignore[arg-type]
    assert len(raw.faces) == 2
    assert np.abs(raw.points[:, :468, 0].mean(1) - centre).max() < 60


def test_choosing_a_face_that_is_not_there_is_refused(talking: Image, model: FaceModel, weights: Path) -> None:
    with pytest.raises(VastError) as caught:
        track_landmarks(talking[:3], model, face=2, weights=weights)
    assert caught.value.code == "vast_option_invalid"


def test_black_frames_are_lost_and_the_face_is_found_again(talking: Image, model: FaceModel, weights: Path) -> None:
    frames = talking.copy()
    frames[20:32] = 0
    track = track_video(frames, model=model, weights=weights)
    assert not track.valid[21:31].any() and track.valid[:20].all() and track.valid[36:].all()
    assert len(track.report["lost_s"]) == 1


def test_landmarks_are_read_as_they_were_saved(talking: Image, model: FaceModel, weights: Path, tmp_path: Path) -> None:
    raw = track_landmarks(talking[:5], model, source="a.mp4", weights=weights)
    raw.save(tmp_path / "a.npz")
    again = LandmarkTrack.load(tmp_path / "a.npz")
    assert np.array_equal(raw.points, again.points) and raw.source == again.source and raw.faces == again.faces


def test_a_cut_is_detected_and_motion_is_not_one() -> None:
    moving, other = list(faceless(30)), [255 - f for f in faceless(10)]
    detector = CutDetector()
    assert [k for k, f in enumerate([*moving, *other]) if detector.step(f)] == [30]


def test_the_preview_is_a_copy(talking: Image, model: FaceModel, topology: Topology, weights: Path) -> None:
    track = track_video(talking[:12], model=model, weights=weights)
    before = talking[3].copy()
    preview = draw_preview(talking[3], track, 3, model=model, topology=topology)
    assert np.array_equal(before, talking[3]) and (preview != before).any()


def test_networks_loaded_in_parallel_restore_standard_error() -> None:
    from vast_cli.face.networks import Network
    from vast_cli.store import assets

    before = os.fstat(2)
    path = assets.find("face_detection_short_range")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Network(path, []), range(64)))
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)

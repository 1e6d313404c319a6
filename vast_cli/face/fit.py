"""From raw landmarks to face parameters (Phi, paper 3): which frames to trust, identity, expression, pose.

A frame is valid if a face is flagged, its outer eye corners are 24 px or more apart and it is turned 45 degrees at
most. Gaps up to 5 frames are bridged by interpolation. A longer gap, a cut or a jump of the face begins a new segment;
segments whose neutral mesh differs too much from the main one's show another person and are dropped.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32
from vast_cli.core.errors import VastError
from vast_cli.face import geometry, smooth
from vast_cli.face.landmark_track import LandmarkTrack
from vast_cli.face.model import OUTER_EYES, FaceModel, Pose
from vast_cli.records import FaceTrack

MIN_IOD = 24.0  # pixels between the outer eye corners
MAX_YAW = np.pi / 4
MAX_JUMP = 0.25  # of the face's centre from frame to frame, in outer-eye distances
MAX_GAP = 5  # frames bridged
MIN_VALID, LEAST_VALID = 24, 8  # frames for a reliable neutral mesh; for any, in clips too short for more
SAME_PERSON = 1.2  # %IOD rms between neutral meshes; the same person 0.8 - 0.95, others 2.0 on average
SAME_PLACE = 1.8  # the same, where the face went on at the same place without a cut
MAX_LIP_JUMP = 4.0  # %IOD from the filtered lips: something covers the mouth, or the mesh hallucinates
LIPS = (61, 291, 0, 17, 13, 14, 39, 269, 181, 405)
BRIDGED_SCORE = DOUBTFUL_SCORE = 0.5


@dataclass(frozen=True)
class _Segment:
    frames: NDArray[np.int64]  # valid ones, ascending
    continuous: bool  # began without a cut: after a gap or a jump


@dataclass(frozen=True)
class _Frames:
    """What the landmarks of each frame say before anything is fitted."""

    points: Float32  # [n, 478, 3]; frames without a face hold those of the nearest with one
    present: Bools
    large: Bools
    frontal: Bools
    iod: Float32  # pixels
    yaw: Float32  # radians
    centre: Float32  # [n, 2], pixels

    @property
    def ok(self) -> Bools:
        return self.present & self.large & self.frontal

    @classmethod
    def of(cls, track: LandmarkTrack, model: FaceModel) -> "_Frames":
        present = track.present
        safe = _filled(track.points, present)
        iod = np.linalg.norm(safe[:, OUTER_EYES[0], :2] - safe[:, OUTER_EYES[1], :2], axis=1)
        _, pose = model.stabilise(safe, model.v_bar)
        yaw = _yaw(pose.rotation)
        return cls(safe, present, iod >= MIN_IOD, np.abs(yaw) <= MAX_YAW, iod, yaw, pose.translation[:, :2])


def runs(track: LandmarkTrack, model: FaceModel) -> list[NDArray[np.int64]]:
    """Valid frames of each segment, of any person: what training uses of a clip.

    Args:
        track: of the clip.
        model: only its mean face and rigid vertices are used.
    """
    frames = _Frames.of(track, model)
    return [s.frames for s in _segments(frames, track.cut)] if frames.ok.any() else []


def fit_track(track: LandmarkTrack, model: FaceModel, *, neutral: Float32 | None = None) -> FaceTrack:
    """Fit the face model to landmarks.

    The result holds the pose smoothed (Savitzky-Golay 9/2), weak components smoothed (5/2), strong ones raw. Bridged
    frames are valid with score 0.5, as are doubtful ones (lips that jump); the report counts both.

    Args:
        track: landmarks of a video.
        model: face model.
        neutral: [478, 3], identity known from elsewhere (an avatar's); estimated from this clip if not given.

    Raises:
        VastError: `vast_face_lost` if there are too few valid frames: 24, or half of a clip shorter than 48, and
            never fewer than 8.
    """
    n = len(track.points)
    frames = _Frames.of(track, model)
    needed = int(np.clip(n // 2, LEAST_VALID, MIN_VALID))
    _check(frames.ok, needed, frames=frames, source=track.source)
    segments, n_others = _same_person(_segments(frames, track.cut), frames.points, model)
    valid = np.zeros(n, bool)
    for s in segments:
        valid[s.frames] = True
    _check(valid, needed, frames=frames, source=track.source)

    identity = model.neutral(frames.points[valid]) if neutral is None else neutral.astype(np.float32)
    meshes, pose = model.stabilise(frames.points, identity)
    expression = model.encode(meshes, identity)
    segment, bridged = _number(segments, n)
    known = np.flatnonzero(valid)
    pose = Pose(*(_bridge(v, known, bridged) for v in (smooth.unwrap(pose.rotation), pose.scale, pose.translation)))
    expression = _bridge(expression, known, bridged)
    doubtful = valid & _lips_jump(meshes, segment, identity)
    pose = smooth.smooth_pose(pose, segment)
    expression = smooth.smooth_weak(expression, segment, n_strong=model.n_strong)

    score = np.where(valid, np.clip(track.flag, 0, 1) * np.clip(1.5 - np.abs(frames.yaw) / MAX_YAW, 0.5, 1.0), 0.0)
    score[doubtful] = np.minimum(score[doubtful], DOUBTFUL_SCORE)
    score[bridged] = BRIDGED_SCORE
    report = _counts(frames, valid=valid, bridged=bridged, doubtful=doubtful, n_others=n_others)
    report |= {"segments": len(segments), "faces_at_start": [[round(v, 1) for v in face] for face in track.faces]}
    return FaceTrack(
        valid=valid | bridged,
        score=score.astype(np.float32),
        segment=segment,
        expression=expression,
        rotation=pose.rotation,
        scale=pose.scale,
        translation=pose.translation,
        identity=identity,
        height=track.height,
        width=track.width,
        source=track.source,
        model_hash=model.hash,
        report=report,
    )


def _counts(frames: _Frames, *, valid: Bools, bridged: Bools, doubtful: Bools, n_others: int) -> dict[str, Any]:
    """How many frames are what, for the report."""
    return {
        "frames": len(valid),
        "valid": int(valid.sum()),
        "bridged": int(bridged.sum()),
        "doubtful": int(doubtful.sum()),
        "turned_away": int((frames.present & ~frames.frontal).sum()),
        "too_small": int((frames.present & ~frames.large).sum()),
        "other_person": n_others,
        "fragments": int((frames.ok & ~valid).sum()) - n_others,  # in runs too short to compare persons
        "lost_s": _intervals(~(valid | bridged)),
    }


def _check(ok: Bools, needed: int, *, frames: _Frames, source: str) -> None:
    if ok.sum() >= needed:
        return
    n_small, n_large = (frames.present & ~frames.large).sum(), (frames.present & frames.large).sum()
    reason = "too small" if n_small > n_large else "lost or turned away"
    name = f" of `{source}`" if source else ""
    usable = f"the face is usable in {int(ok.sum())} of {len(ok)} frames{name}"
    raise VastError("vast_face_lost", f"{usable}, {needed} are needed (in the others it is {reason})")


def _yaw(rotation: Float32) -> Float32:
    matrix = geometry.rotation_matrix(rotation)
    yaw: Float32 = np.arctan2(matrix[:, 0, 2], matrix[:, 2, 2])
    return yaw


def _filled(points: Float32, present: Bools) -> Float32:
    """Give frames without a face the landmarks of the nearest with one, so that no arithmetic sees zeros."""
    known = np.flatnonzero(present)
    if len(known) in (0, len(points)):
        return points
    return points[known[_nearest(known, len(points))]]


def _nearest(known: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """[n], position in `known` (ascending) of the entry nearest to each index."""
    right = np.clip(np.searchsorted(known, np.arange(n)), 0, len(known) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(known[left] - np.arange(n)) <= np.abs(known[right] - np.arange(n))
    return np.where(nearer, left, right)


def _segments(frames: _Frames, cut: Bools) -> list[_Segment]:
    """Runs of valid frames at most `MAX_GAP` apart, without a cut or jump between them."""
    known = np.flatnonzero(frames.ok)
    present = frames.present
    gap = np.diff(known) - 1
    moved = np.linalg.norm(np.diff(frames.centre[known], axis=0), axis=1) / frames.iod[known[1:]]
    jumped = moved > MAX_JUMP * (1 + gap)
    # a face detected again after frames without one may have stayed in its place (a hand passed): only cuts in frames
    # without a face, or a new search from one frame to the next, break continuity
    new_search = cut & np.concatenate([[True], present[:-1]])
    count = np.cumsum(new_search | (cut & ~present))
    was_cut = np.diff(count[known]) > 0
    borders = np.flatnonzero(jumped | (gap > MAX_GAP) | was_cut)
    parts = np.split(known, borders + 1)
    return [_Segment(part, k > 0 and not was_cut[borders[k - 1]]) for k, part in enumerate(parts)]


def _same_person(segments: list[_Segment], points: Float32, model: FaceModel) -> tuple[list[_Segment], int]:
    """The longest segment and those with a neutral mesh near to its; how many frames show another person."""
    main = max(segments, key=lambda s: len(s.frames))
    if len(segments) == 1:
        return segments, 0
    reference = model.neutral(points[main.frames])
    same, n_others = [], 0
    for s in segments:
        if s is main:
            same.append(s)
        elif len(s.frames) >= LEAST_VALID:
            offset = model.neutral(points[s.frames]) - reference
            distance = 100 * float(np.sqrt(np.square(offset).sum(1).mean())) / model.iod
            if distance < (SAME_PLACE if s.continuous else SAME_PERSON):
                same.append(s)
            else:
                n_others += len(s.frames)
    return same, n_others


def _number(segments: list[_Segment], n: int) -> tuple[NDArray[np.int16], Bools]:
    """Segment of each frame (-1: none) and which frames are bridged."""
    segment = np.full(n, -1, np.int16)
    bridged = np.zeros(n, bool)
    for k, s in enumerate(segments):
        first, last = s.frames[0], s.frames[-1] + 1
        segment[first:last] = k
        bridged[first:last] = True
    for s in segments:
        bridged[s.frames] = False
    return segment, bridged


def _bridge(values: Float32, known: NDArray[np.int64], bridged: Bools) -> Float32:
    """Bridged frames by linear interpolation, frames without a face by the nearest known one. [n, ...]."""
    n = len(values)
    result = values[known[_nearest(known, n)]]
    inside = np.flatnonzero(bridged)
    if len(inside):
        right = np.searchsorted(known, inside)
        left = right - 1
        weight = ((inside - known[left]) / (known[right] - known[left])).astype(np.float32)
        weight = weight.reshape(-1, *[1] * (values.ndim - 1))
        result[inside] = values[known[left]] * (1 - weight) + values[known[right]] * weight
    return result


def _lips_jump(meshes: Float32, segment: NDArray[np.int16], identity: Float32) -> Bools:
    """[n], lips that are far from where the neighbouring frames put them."""
    lips = meshes[:, LIPS, :2]
    away = np.linalg.norm(lips - smooth.by_segment(lips, segment, smooth.WEAK_WINDOW), axis=2).max(1)
    iod = np.linalg.norm(identity[OUTER_EYES[0]] - identity[OUTER_EYES[1]])
    jump: Bools = 100 * away / iod > MAX_LIP_JUMP
    return jump


def _intervals(flags: Bools) -> list[list[float]]:
    """Runs of set flags as [start, end] in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [[round(timebase.seconds(int(a)), 2), round(timebase.seconds(int(b)), 2)] for a, b in edges.reshape(-1, 2)]

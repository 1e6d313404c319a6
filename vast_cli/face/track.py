"""Follow one face through the frames of a video: raw landmarks first, then the parameters of Phi (paper 3).

Memory holds landmarks only (6 kB a frame), never frames. The face is chosen once at the start and then followed by its
region; only after a loss or a cut it is chosen again, by shape.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.face import fit
from vast_cli.face.cuts import CutDetector
from vast_cli.face.detect import FaceDetector, Region
from vast_cli.face.landmark_track import LandmarkTrack
from vast_cli.face.landmarks import MIN_FLAG, LandmarkNet, Landmarks, next_region
from vast_cli.face.model import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.records import N_VERTICES, FaceTrack

FaceChoice = (
    Literal["largest", "left", "right"] | int
)  # an int counts the faces of the first frame from the left, from 0

SEARCH_ALL = 12  # frames without a face in which every frame is searched; then every fifth
SEARCH_EVERY = 5
MIN_SIDE = 16.0  # pixels; smaller regions hold no face
MAX_SIDES = 4.0  # of the frame; larger regions hold no face
SAME_REGION = 0.06  # of the region's side


@dataclass(frozen=True)
class TrackedFace:
    """The face of one frame."""

    landmarks: Landmarks | None  # None: no face
    cut: bool  # a cut, or detected after a search: continuity with the frame before is not known


class FaceTracker:
    """Follows one face through a stream of upright RGB frames [H, W, 3], uint8.

    Args:
        model: face model, distinguishes persons after a loss or cut.
        face: which one to follow if there are several at the start.
        weights: folder of the tracker's networks; those that ship with vast if not given.
    """

    def __init__(self, model: FaceModel, *, face: FaceChoice = "largest", weights: Path | None = None) -> None:
        cv2.setNumThreads(1)  # with more, timings and bytes vary

        def path(name: str) -> Path | None:
            return None if weights is None else weights / name

        self._model = model
        self._face = face
        topology = Topology.load(path("topology.npz"), path("index_sets.json"))
        self._detector = FaceDetector(path("face_detection_short_range.tflite"))
        self._net = LandmarkNet(path("face_mesh_backbone.tflite"), path("face_mesh_heads.tflite"), topology)
        self._cuts = CutDetector()
        self._region: Region | None = None
        self._misses = 0
        self._shape_sum = np.zeros((N_VERTICES, 3), np.float64)
        self._shape_count = 0
        self._frame = -1
        self.faces: tuple[tuple[float, float, float], ...] = ()  # of the first frame with a face

    def step(self, frame: Image) -> TrackedFace:
        """Track the face into the next frame.

        Raises:
            VastError: `vast_option_invalid` if the face asked for is not there at the start.
        """
        self._frame += 1
        cut = self._cuts.step(frame)
        before = self._region
        if cut:
            self._region, self._misses = None, 0
        if self._region is not None:
            landmarks = self._net.locate(frame, self._region)
            if landmarks.flag >= MIN_FLAG and self._follow(landmarks, frame):
                return TrackedFace(landmarks, False)
            self._region = None
            # the region may have slipped off the face: search this frame
        elif self._misses >= SEARCH_ALL and self._misses % SEARCH_EVERY:
            self._misses += 1
            return TrackedFace(None, cut)
        chosen = self._search(frame)
        if chosen is None or not self._follow(chosen, frame):
            self._region = None
            self._misses += 1
            return TrackedFace(None, cut)
        self._misses = 0
        # a flash or a hand in front of the camera changes the frame like a cut, but not the face
        return TrackedFace(chosen, before is None or not _near(before, self._region))

    def _follow(self, landmarks: Landmarks, frame: Image) -> bool:
        """Set the region for the next frame from this one's landmarks; False if it is implausible."""
        region = next_region(landmarks.points)
        height, width = frame.shape[:2]
        inside = -0.25 * width <= region.x <= 1.25 * width and -0.25 * height <= region.y <= 1.25 * height
        if not inside or not MIN_SIDE <= region.size <= MAX_SIDES * max(height, width):
            return False
        self._region = region
        if self._frame % SEARCH_EVERY == 0 or self._shape_count == 0:  # the mean shape needs few frames
            self._shape_sum += self._shape(landmarks)
            self._shape_count += 1
        return True

    def _shape(self, landmarks: Landmarks) -> Float32:
        """The face's shape without pose and likely expression: roughly distinguishes persons."""
        return self._model.neutral(landmarks.points[None])

    def _search(self, frame: Image) -> Landmarks | None:
        candidates = [self._net.locate(frame, d.region) for d in self._detector.detect(frame)]
        faces = [face for face in candidates if face.flag >= MIN_FLAG]
        if not faces:
            return None
        if self._shape_count:
            if len(faces) == 1:
                return faces[0]  # `fit` compares whole segments, with more frames than this one
            mean = (self._shape_sum / self._shape_count).astype(np.float32)
            return min(faces, key=lambda face: float(np.square(self._shape(face) - mean).mean()))
        regions = [next_region(face.points) for face in faces]
        order = sorted(range(len(faces)), key=lambda k: regions[k].x)
        self.faces = tuple((regions[k].x, regions[k].y, regions[k].size) for k in order)
        return faces[self._choose(order, [r.size for r in regions])]

    def _choose(self, order: list[int], size: list[float]) -> int:
        if self._face == "largest":
            return max(order, key=lambda k: size[k])
        if isinstance(self._face, str):
            return order[0 if self._face == "left" else -1]
        if not 0 <= self._face < len(order):
            time_s = timebase.seconds(self._frame)
            message = f"face {self._face} was requested, but there are {len(order)} at {time_s:.1f} s"
            raise VastError("vast_option_invalid", message, hint="faces are counted from the left, from 0")
        return order[self._face]


def _near(a: Region, b: Region | None) -> bool:
    """The same place and size, as from one frame to the next."""
    if b is None:
        return False
    size = max(a.size, b.size)
    return abs(a.x - b.x) + abs(a.y - b.y) < SAME_REGION * size and abs(a.size - b.size) < SAME_REGION * size


def track_landmarks(
    frames: Iterable[Image],
    model: FaceModel,
    *,
    source: str = "",
    face: FaceChoice = "largest",
    weights: Path | None = None,
) -> LandmarkTrack:
    """Raw landmarks of one face through a video.

    Args:
        frames: upright RGB frames [H, W, 3] at 25 fps, uint8, all of one size.
        model: face model.
        source: name of the video for messages.
        face: which one to follow.
        weights: folder of the tracker's networks.

    Raises:
        VastError: `vast_no_face`, `vast_option_invalid`.
    """
    tracker = FaceTracker(model, face=face, weights=weights)
    points: list[Float32] = []
    flags: list[float] = []
    cuts: list[bool] = []
    no_points = np.zeros((N_VERTICES, 3), np.float32)
    height = width = 0
    for frame in frames:
        height, width = frame.shape[:2]
        tracked = tracker.step(frame)
        points.append(no_points if tracked.landmarks is None else tracked.landmarks.points)
        flags.append(0.0 if tracked.landmarks is None else tracked.landmarks.flag)
        cuts.append(tracked.cut)
    if not any(flags):
        name = f" in `{source}`" if source else ""
        searched = f"(searched {len(flags)} frames, 0.0 s - {timebase.seconds(len(flags)):.1f} s)"
        raise VastError("vast_no_face", f"no face found{name} {searched}")
    return LandmarkTrack(
        np.stack(points), np.array(flags, np.float32), np.array(cuts), height, width, source, tracker.faces
    )


def track_video(
    frames: Iterable[Image],
    *,
    model: FaceModel,
    source: str = "",
    face: FaceChoice = "largest",
    weights: Path | None = None,
) -> FaceTrack:
    """Face parameters of a video (Phi, paper 3): `track_landmarks`, then `fit.fit_track`.

    Args:
        frames: upright RGB frames [H, W, 3] at 25 fps, uint8, all of one size; read once, none is kept.
        model: face model.
        source: name of the video, without its folder.
        face: which one to follow if there are several: `largest`, `left`, `right` or an index from the left, from 0.
        weights: folder of the tracker's networks; those that ship with vast if not given.

    Raises:
        VastError: `vast_no_face`, `vast_face_lost`, `vast_option_invalid`.
    """
    return fit.fit_track(track_landmarks(frames, model, source=source, face=face, weights=weights), model)

"""First pass over a video: the tracker's landmarks, and the brightness of every frame."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli import face, media
from vast_cli.core import files
from vast_cli.core.arrays import Float32, Float64, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.streams import prefetch
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import CropBox, luma
from vast_cli.pipeline.extract import face_choice

LOST_SHARE = 0.05  # with a larger share of frames without a face, nothing about faces is measured


@dataclass(frozen=True)
class TrackedVideo:
    """One video at 25 fps and its landmarks. Frames without a face hold NaN points."""

    path: Path
    width: int
    height: int
    source_fps: float
    start_s: float  # container time of the first frame
    has_audio: bool
    truncated: bool  # the file breaks off before its end
    mesh: Float32  # [n, 478, 3], pixels
    brightness: Float32  # [n, 2], mean and standard deviation of luma
    mean_frame: Image

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.mesh)

    @functools.cached_property
    def present(self) -> NDArray[np.bool_]:
        """[n], whether a face was found with finite points."""
        return np.asarray(np.isfinite(self.mesh).all(axis=(1, 2)), bool)

    @property
    def lost_share(self) -> float:
        """Share of frames without a face."""
        return 1 - float(self.present.mean()) if self.n_frames else 1.0

    @functools.cached_property
    def points(self) -> Float64:
        """[n, 68, 2], iBUG points in pixels."""
        return self.mesh[:, landmarks.IBUG, :2].astype(np.float64)

    def crop_box(self) -> CropBox | None:
        """The clip's crop box; None without a face."""
        mesh = self.mesh[self.present][..., :2].astype(np.float64)
        return CropBox.around(mesh.min(1), mesh.max(1)) if len(mesh) else None


class _Brightness:
    """Brightness of every frame and the mean frame, collected while the tracker reads."""

    def __init__(self) -> None:
        self.values: list[tuple[float, float]] = []
        self._total: NDArray[np.float32] | None = None

    def add(self, frame: Image) -> None:
        mean, sd = cv2.meanStdDev(luma(frame))
        self.values.append((float(mean[0, 0]), float(sd[0, 0])))
        self._total = np.zeros(frame.shape, np.float32) if self._total is None else self._total
        cv2.accumulate(frame, self._total)

    def mean_frame(self) -> Image | None:
        if self._total is None:
            return None
        return np.clip(np.rint(self._total / len(self.values)), 0, 255).astype(np.uint8)


def track_video(
    path: Path,
    model: face.FaceModel,
    *,
    face_name: str = "largest",
    on_frame: Callable[[Image], None] | None = None,
    progress: Progress = silent,
) -> TrackedVideo:
    """Track a video from end to end; a video without a face has NaN points.

    Args:
        path: any video.
        model: face model.
        face_name: which face, as `--face`.
        on_frame: called with every frame.
        progress: called after every frame.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`, `vast_option_invalid`.
    """
    files.check_input(path)
    info = media.probe(path)
    brightness = _Brightness()

    def frames(reader: media.VideoReader) -> Iterator[Image]:
        for k, frame in enumerate(reader):
            brightness.add(frame)
            if on_frame is not None:
                on_frame(frame)
            progress("track", k + 1, reader.n_frames)
            yield frame

    with media.VideoReader(path) as reader:
        mesh = _mesh(frames(reader), model, source=path.name, face_name=face_name)
        mean_frame = brightness.mean_frame()
        if mean_frame is None:
            raise VastError("vast_bad_media", f"`{path}` has no frames")
        return TrackedVideo(
            path=path,
            width=reader.width,
            height=reader.height,
            source_fps=info.fps,
            start_s=reader.start_s,
            has_audio=info.has_audio,
            truncated=reader.truncated,
            mesh=np.full((len(brightness.values), 478, 3), np.nan, np.float32) if mesh is None else mesh,
            brightness=np.array(brightness.values, np.float32),
            mean_frame=mean_frame,
        )


def _mesh(frames: Iterator[Image], model: face.FaceModel, *, source: str, face_name: str) -> Float32 | None:
    """Landmarks [n, 478, 3] with NaN where there is no face; None without a face in any frame."""
    try:
        track = face.track_landmarks(prefetch(frames, depth=8), model, source=source, face=face_choice(face_name))
    except VastError as error:
        if error.code != "vast_no_face":
            raise
        return None
    return np.where(track.present[:, None, None], track.points, np.nan).astype(np.float32)

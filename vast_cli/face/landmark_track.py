"""Raw landmarks of one face through a video, and their file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli.core import files
from vast_cli.core.arrays import Bools, Float32
from vast_cli.face.landmarks import MIN_FLAG


@dataclass(frozen=True)
class LandmarkTrack:
    """Raw landmarks of one face through a video at 25 fps: what `fit.fit_track` turns into a `FaceTrack`."""

    points: Float32  # [n, 478, 3], pixels, image axes; 0 where no face
    flag: Float32  # [n], 0..1, the network's face flag; 0 where the frame was not searched
    cut: Bools  # [n], a cut before this frame, or the face was searched again here
    height: int
    width: int
    source: str
    faces: tuple[tuple[float, float, float], ...]  # x, y, size in pixels of those in the first frame with a face

    @property
    def present(self) -> Bools:
        """[n], a face was detected."""
        return self.flag >= MIN_FLAG

    def save(self, path: Path) -> None:
        """Write as npz (a cache for training; not a record)."""
        with files.atomic_write(path) as part, part.open("wb") as file:
            np.savez(
                file,
                points=self.points,
                flag=self.flag,
                cut=self.cut,
                size=np.array([self.height, self.width]),
                source=np.array(self.source),
                faces=np.array(self.faces, np.float64).reshape(-1, 3),
            )

    @classmethod
    def load(cls, path: Path) -> "LandmarkTrack":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as a:
            height, width = (int(v) for v in a["size"])
            faces = tuple((float(x), float(y), float(s)) for x, y, s in a["faces"])
            return cls(a["points"], a["flag"], a["cut"], height, width, str(a["source"]), faces)

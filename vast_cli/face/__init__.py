"""Face stage: detection -> landmarks -> Phi (identity, expression, pose) -> mesh images (paper 3, 3.4)."""

from vast_cli.face.blendshapes import BlendshapeFit, Blendshapes
from vast_cli.face.landmark_track import LandmarkTrack
from vast_cli.face.mesh import MeshRasteriser, hull
from vast_cli.face.model import FaceModel
from vast_cli.face.preview import draw_preview
from vast_cli.face.topology import Topology
from vast_cli.face.track import FaceChoice, FaceTracker, track_landmarks, track_video

__all__ = [
    "BlendshapeFit",
    "Blendshapes",
    "FaceChoice",
    "FaceModel",
    "FaceTracker",
    "LandmarkTrack",
    "MeshRasteriser",
    "Topology",
    "draw_preview",
    "hull",
    "track_landmarks",
    "track_video",
]

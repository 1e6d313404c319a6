"""LagSync: does the mouth fit the audio, and by how many frames is it late?"""

from vast_cli.sync.lagsync import LagSync, load_lagsync
from vast_cli.sync.mouth import MouthCropper, mouth_crop
from vast_cli.sync.score import LagScore, score

__all__ = ["LagScore", "LagSync", "MouthCropper", "load_lagsync", "mouth_crop", "score"]

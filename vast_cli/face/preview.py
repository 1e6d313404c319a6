"""What the tracker found: the mesh drawn over the frame (`vast extract --preview`)."""

import cv2
import numpy as np

from vast_cli.core.arrays import Image
from vast_cli.face.model import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.records import FaceTrack

Colour = tuple[int, int, int]

GOOD: Colour = (80, 220, 120)  # RGB
DOUBTFUL: Colour = (250, 180, 40)
NONE: Colour = (230, 60, 60)
LINES = ("lips_outer", "lips_inner", "image_left_eye", "image_right_eye")
SHIFT = 4  # bits of sub-pixels


def draw_preview(frame: Image, track: FaceTrack, index: int, *, model: FaceModel, topology: Topology) -> Image:
    """A copy of a frame with the tracked mesh: green if trusted, orange if doubtful or bridged.

    A frame without a face gets a red border.

    Args:
        frame: upright RGB frame [H, W, 3] that was tracked.
        track: of its video.
        index: of the frame in the track.
        model: face model of the track.
        topology: names of the vertices.
    """
    preview: Image = frame.copy()
    thickness = max(1, round(max(frame.shape[:2]) / 400))
    if not track.valid[index]:
        cv2.rectangle(preview, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), NONE, 2 * thickness)
        return preview
    row = slice(index, index + 1)
    mesh = model.decode(track.identity, track.expression[row])
    points = model.place(mesh, track.rotation[row], track.scale[row], track.translation[row])[0, :, :2]
    fixed = np.rint((np.clip(points, -1e6, 1e6) - 0.5) * 2**SHIFT).astype(np.int32)
    colour = GOOD if track.score[index] > 0.5 else DOUBTFUL
    for x, y in fixed.tolist():
        cv2.circle(preview, (x, y), 8 * thickness, colour, cv2.FILLED, shift=SHIFT)
    for name in LINES:
        cv2.polylines(preview, [fixed[topology.sets[name]]], True, colour, thickness, cv2.LINE_AA, shift=SHIFT)
    return preview

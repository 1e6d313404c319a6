"""What a face does, in words that people use: mouth corners, lips, jaw, brows, lids, and blinks."""

import numpy as np

from vast_cli.core.arrays import Float32
from vast_cli.face.model import FaceModel
from vast_cli.records import N_VERTICES

X, Y = 0, 1
# feature -> axis, vertices that count positive, vertices that count negative; means over each
FEATURES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "mouth corners": (Y, (61, 291), ()),
    "lip opening": (Y, (13,), (14,)),
    "mouth width": (X, (291,), (61,)),
    "jaw": (Y, (152,), ()),
    "inner brows": (Y, (55, 285), ()),
    "outer brows": (Y, (70, 300), ()),
    "brow distance": (X, (285,), (55,)),
    "lids": (Y, (159, 386), (145, 374)),
}
EYES = ((159, 145, 33, 133), (386, 374, 362, 263))  # upper lid, lower lid, corners
BLINK = 0.6  # of the median opening: below it an eye is shut


def face_features(expression: Float32, face: FaceModel) -> dict[str, Float32]:
    """Features of expressions, without pose.

    Args:
        expression: [n, 233].
        face: the face model.

    Returns:
        For each of `FEATURES` [n], in percent of the distance of the outer eye corners over the face without any
        expression: corners, jaw and brows upwards, the others wider.
    """
    offsets = face.basis.reshape(-1, N_VERTICES, 3) * np.float32(100 / face.iod)
    values = {}
    for name, (axis, plus, minus) in FEATURES.items():
        direction = offsets[:, plus, axis].mean(1)
        if minus:
            direction = direction - offsets[:, minus, axis].mean(1)
        values[name] = expression @ direction
    return values


def eye_opening(expression: Float32, identity: Float32, face: FaceModel) -> Float32:
    """Height of the eyes over their width, mean of both: [n, 233] -> [n]."""
    mesh = face.decode(identity, expression)
    heights = [
        np.linalg.norm(mesh[:, up] - mesh[:, down], axis=1) / np.linalg.norm(mesh[:, left] - mesh[:, right], axis=1)
        for up, down, left, right in EYES
    ]
    opening: Float32 = np.mean(heights, axis=0)
    return opening


def count_blinks(opening: Float32) -> int:
    """How often the eyes shut: falls of the opening [n] below `BLINK` of its median."""
    shut = opening < BLINK * np.median(opening)
    return int((shut[1:] & ~shut[:-1]).sum())

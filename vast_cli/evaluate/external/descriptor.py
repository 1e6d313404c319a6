"""Identity of a face as 128 numbers: dlib's residual network on faces aligned by our own landmarks.

Network and weights come with the extra `vast-avatar[evaluate]` (packages dlib-bin and face-recognition-models, weights
in the public domain). Of the latter only the file is used: importing it needs a package that Python no longer brings,
and its own 68-point model was trained on non-commercial data.

Euclidean distances on 60 clips of 33 persons, up to 15 frames each, 256-512 px: a frame to its clip's mean .19 (95 %
below .28), after blur of 2 px .26; means of two clips of one person .18 (95 % below .37, most .46: one actress in two
emotions), of two persons .78 (least .46, 5 % below .62). 66 ms a face on one core.
"""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
SIZE = 128  # of a descriptor
CHIP = 150  # pixels, side of the network's input
PADDING = 0.25  # of the face around it, as in the network's training
# eye corners as the image shows them: right eye outer, inner, left eye outer, inner; base of the nose
CORNERS = (263, 362, 33, 133, 2)
TEMPLATE = np.array(  # dlib's mean face: where these points lie in a unit square
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
TARGET = (PADDING + TEMPLATE) / (2 * PADDING + 1) * CHIP


class DlibDescriptor:
    """The network; threads may share it, they run it one at a time."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._lock = threading.Lock()  # the network keeps its layers' outputs

    def describe(self, frame: Image, points: NDArray[np.floating[Any]]) -> Float32:
        """Describe one face.

        Args:
            frame: RGB uint8 [H, W, 3].
            points: [478, 2 or more], landmarks in pixels, pixel centres at +0.5.

        Returns:
            [128], about unit length; the Euclidean distance tells people apart (one person .1-.4, two .4-.9).

        Raises:
            ValueError: landmarks that are not finite or lie in one point.
        """
        chip = face_chip(frame, points)
        with self._lock:
            return np.array(self._network.compute_face_descriptor(chip), np.float32)


def face_chip(frame: Image, points: NDArray[np.floating[Any]]) -> Image:
    """The face turned upright and scaled so that its eye corners and nose lie as in dlib's mean face: [150, 150, 3].

    Raises:
        ValueError: landmarks that are not finite or lie in one point.
    """
    corners = np.asarray(points, np.float64)[list(CORNERS), :2]
    matrix = _similarity(corners, TARGET)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # halve first where a pixel of the chip spans several of the frame: bilinear sampling alone would alias
    while scale < 0.5:
        frame = np.asarray(cv2.pyrDown(frame), np.uint8)
        corners = (corners - 0.5) / 2 + 0.5  # pyrDown keeps the first pixel's centre
        matrix = _similarity(corners, TARGET)
        scale *= 2
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from pixel centres
    return np.asarray(cv2.warpAffine(frame, matrix, (CHIP, CHIP), flags=cv2.INTER_LINEAR), np.uint8)


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares scale, rotation and translation from `source` to `target`: [2, 3]."""
    if not np.isfinite(source).all():
        raise ValueError("landmarks that are not finite")
    a, b = (p @ (1, 1j) for p in (source, target))  # points as complex numbers: one factor turns and scales
    spread = a - a.mean()
    norm = float(np.vdot(spread, spread).real)
    if norm < 1e-6:
        raise ValueError("landmarks in one point")
    turn = np.vdot(spread, b - b.mean()) / norm
    move = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def load_descriptor() -> DlibDescriptor | None:
    """The network, or None where the extra `vast-avatar[evaluate]` is not installed.

    Raises:
        VastError: `vast_asset_corrupt`, the weights' file is damaged.
    """
    path = _weights()
    try:
        import dlib
    except ImportError:
        return None
    if path is None:
        return None
    try:
        return DlibDescriptor(dlib.face_recognition_model_v1(str(path)))
    except RuntimeError as error:
        hint = "`python -m pip install --force-reinstall face-recognition-models`"
        raise VastError("vast_asset_corrupt", f"dlib cannot read `{path.name}`: {error}", hint=hint) from error


def _weights() -> Path | None:
    """The weights' file, found without importing the package around it."""
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "models" / WEIGHTS
        if path.is_file():
            return path
    return None

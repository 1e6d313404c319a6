"""Flicker of a face whose head motion is removed."""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float64, Image
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import SIDE


class Stabiliser:
    """Second difference in time of the face's luma, with every frame warped onto the first face."""

    def __init__(self, points: Float64, present: NDArray[np.bool_]) -> None:
        self._points, self._present = points, present
        self._last: deque[NDArray[np.float32] | None] = deque(maxlen=3)
        self._mask: NDArray[np.bool_] | None = None
        self._first_points: Float64 | None = None

    def step(self, k: int, grey: Image) -> float:
        """Of the frames k - 2 .. k; NaN if one of them shows no face."""
        if not self._present[k]:
            self._last.append(None)
            return np.nan
        points = self._points[k]
        if self._first_points is None:
            self._first_points = points
            mask = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
            self._mask = mask > 0
        matrix, offset = landmarks.similarity(points[landmarks.STILL], self._first_points[landmarks.STILL])
        shift = offset - 0.5 + matrix @ np.full(2, 0.5)  # OpenCV counts from pixel centres
        affine = np.concatenate([matrix, shift[:, None]], axis=1)
        warped = cv2.warpAffine(grey.astype(np.float32), affine, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        self._last.append(np.asarray(warped, np.float32))
        if len(self._last) < 3 or any(frame is None for frame in self._last):
            return np.nan
        a, b, c = self._last
        assert a is not None and b is not None and c is not None and self._mask is not None
        return float(np.abs(a - 2 * b + c)[self._mask].mean())

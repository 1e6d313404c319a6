"""The square around a face that all frames of a comparison are cropped to: one box a clip, 256 x 256 pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Image

Points = NDArray[np.float64]

SIDE = 256  # pixels
MARGIN = 1.6  # times the mesh


@dataclass(frozen=True)
class CropBox:
    """A square of whole pixels in the upright frame; may reach beyond it, where the border's pixels are repeated."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, low: Points, high: Points) -> "CropBox":
        """The box of a clip: centre and size are medians over its frames.

        Args:
            low: [n, 2], top left corners of the mesh in the frames with a face, pixels.
            high: [n, 2], bottom right corners.
        """
        centre = np.median((low + high) / 2, axis=0)
        side = round(MARGIN * float(np.median((high - low).max(1))))
        return cls(round(float(centre[0]) - side / 2), round(float(centre[1]) - side / 2), max(side, 8))

    def cut(self, frame: Image) -> Image:
        """The square of a frame [H, W, 3] (or [H, W]) at 256 x 256: area filter down, bicubic up."""
        height, width = frame.shape[:2]
        right, bottom = self.left + self.side, self.top + self.side
        inside = frame[max(self.top, 0) : max(bottom, 0), max(self.left, 0) : max(right, 0)]
        beyond = (max(-self.top, 0), max(bottom - height, 0), max(-self.left, 0), max(right - width, 0))
        if any(beyond):
            inside = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        interpolation = cv2.INTER_AREA if self.side > SIDE else cv2.INTER_CUBIC
        return np.ascontiguousarray(cv2.resize(inside, (SIDE, SIDE), interpolation=interpolation), np.uint8)

    def points(self, points: Points) -> Points:
        """Points of the frame in pixels of the crop."""
        moved: Points = (points - (self.left, self.top)) * (SIDE / self.side)
        return moved


def luma(image: Image) -> Image:
    """RGB to the luma of bt601, which the papers measure: [H, W, 3] -> [H, W]."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)

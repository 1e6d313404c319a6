"""A face's mouth as a small level image: 96x96 grey, scale and rotation from the eyes, position from the nose's base.

One frame at a time, without state: pieces of a video give the same images as the whole.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Image

SIZE = 96  # pixels
SIDE = 1.0  # of the crop, in outer-eye distances: from the nostrils to the chin
DROP = 0.25  # from the nose's base down to the crop's centre, in outer-eye distances
UPRIGHT = 0.61  # eye line to nose's base over outer-eye distance of a face seen from the front
OUTER_EYES = (33, 263)
EYES = ((33, 133), (362, 263))  # corners, image-left and image-right
NOSE_BASE = 2


def crop_frame(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Where the mouth is: centre [2] in pixels, direction [2] to the image's right, outer-eye distance in pixels.

    A turned head brings the eyes together in the image, but not eyes and nose: the larger of the two measures counts.
    """
    xy = np.asarray(points, np.float64)[:, :2]
    left, right = (xy[list(pair)].mean(axis=0) for pair in EYES)
    across = (right - left) / max(float(np.hypot(*(right - left))), 1e-6)
    down = np.array([-across[1], across[0]])
    base = xy[NOSE_BASE]
    distance = abs(float((xy[OUTER_EYES[1]] - xy[OUTER_EYES[0]]) @ across))
    height = float((base - (left + right) / 2) @ down)
    unit = max(distance, height / UPRIGHT, 1.0)
    return base + DROP * unit * down, across, unit


def mouth_crop(frame: Image, points: NDArray[np.floating], *, size: int = SIZE) -> Image:
    """The mouth of one frame.

    Args:
        frame: [H, W, 3], RGB.
        points: [478, 2] or [478, 3], the tracker's landmarks in pixels (pixel centres at +0.5).
        size: side of the result; more than 96 shows more around the mouth at the same scale.

    Returns:
        [size, size] grey; outside of the frame its border is repeated.

    Raises:
        ValueError: points that are not 478 finite landmarks, or a frame that is not RGB.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame is uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")
    if len(points) != 478 or not np.isfinite(points).all():
        raise ValueError("a face has 478 finite landmarks")
    centre, across, unit = crop_frame(points)
    pitch = SIDE * unit / SIZE  # source pixels a crop pixel
    linear = pitch * np.array([[across[0], -across[1]], [across[1], across[0]]])
    frame, centre, linear = _shrink(frame, centre, linear, pitch * size)
    shift = centre - 0.5 + linear @ np.full(2, 0.5 - size / 2)
    affine = np.concatenate([linear, shift[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(frame, affine, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    grey: Image = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    return grey


def _shrink(
    frame: Image, centre: NDArray[np.float64], linear: NDArray[np.float64], reach: float
) -> tuple[Image, NDArray[np.float64], NDArray[np.float64]]:
    """Halve the area around a large face until a crop pixel is less than two of its pixels, else the crop aliases."""
    height, width = frame.shape[:2]
    x0, y0 = (max(0, int(v)) for v in centre - reach)
    x1, y1 = min(width, int(centre[0] + reach) + 1), min(height, int(centre[1] + reach) + 1)
    factor = 1
    while np.hypot(*linear[:, 0]) / factor >= 2 and min(x1 - x0, y1 - y0) >= 4 * factor:
        factor *= 2
    if factor == 1:
        return frame, centre, linear
    w, h = (x1 - x0) // factor, (y1 - y0) // factor
    part = frame[y0 : y0 + h * factor, x0 : x0 + w * factor]
    small = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, (centre - [x0, y0]) / factor, linear / factor


class MouthCropper:
    """`mouth_crop` as an object with a fixed size: `cropper(frame, points)`."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size

    def __call__(self, frame: Image, points: NDArray[np.floating]) -> Image:
        """The mouth of one frame, [size, size]; see `mouth_crop`."""
        return mouth_crop(frame, points, size=self.size)

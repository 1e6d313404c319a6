"""Contact sheets of clips: frames at even times, the truth below the output, mouths below both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.report.ranking import number
from vast_cli.media import VideoReader, contact_sheet

N_MOMENTS = 10  # columns of a sheet
WIDTH = 144  # px of a cell
HEIGHTS = (72, 216)  # px, least and most; frames of another shape are letterboxed
MOUTH_HEIGHT = 84  # px of a mouth's cell
GREY = 118  # of missing frames and borders
QUALITY = 82  # of the JPEG
RATES = (1, 5, FPS)  # all divide FPS: frames at these rates are frames of the 25 fps stream


@dataclass(frozen=True)
class ContactSheet:
    """One image with a row for each of `rows` and a column for each of `times`.

    Attributes:
        jpeg: the image.
        rows: (name, top, height) of each row, px; names are `output`, `truth`, `output mouth`, `truth mouth`.
        times: seconds of each column.
        width: px of a cell.
        gap: px between cells.
        size: (width, height) of the image.
    """

    jpeg: bytes
    rows: list[tuple[str, int, int]]
    times: list[float]
    width: int
    gap: int
    size: tuple[int, int]

    def layout(self) -> dict[str, Any]:
        """What the page needs to cut the image into cells."""
        rows = [{"name": name, "top": top, "height": height} for name, top, height in self.rows]
        return {"rows": rows, "times": self.times, "width": self.width, "gap": self.gap, "size": list(self.size)}


def make_sheet(clip: Mapping[str, Any]) -> ContactSheet:
    """The contact sheet of a clip of the document; a truth that cannot be read is left out.

    A clip may give `mouth_box` and `reference_mouth_box`, [left, top, right, bottom] in pixels of the upright frame.

    Raises:
        VastError: the output is gone or cannot be decoded.
    """
    output = Path(str(clip["output"]))
    with VideoReader(output) as reader:
        duration_s = reader.duration_s or number(clip.get("duration_s")) or 0.0
        height = round(np.clip(WIDTH * reader.height / reader.width, *HEIGHTS))
    rate, picks = _moments(duration_s)
    box = _parse_box(clip.get("mouth_box"))
    faces, mouths = _read_rows(output, rate=rate, picks=picks, height=height, box=box)
    rows = [("output", faces), ("output mouth", mouths)]
    if clip.get("reference"):
        try:
            truth_box = _parse_box(clip.get("reference_mouth_box")) or box
            truth_faces, truth_mouths = _read_rows(
                Path(str(clip["reference"])), rate=rate, picks=picks, height=height, box=truth_box
            )
            rows[1:1] = [("truth", truth_faces)]
            rows.append(("truth mouth", truth_mouths))
        except VastError:
            pass  # the page notes every missing file
    return _join_rows([(name, cells) for name, cells in rows if cells], times=[pick / rate for pick in picks])


def encode_jpeg(image: Image) -> bytes:
    """RGB [H, W, 3] as JPEG."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise VastError("vast_write_failed", "a contact sheet cannot be encoded as JPEG")
    return bytes(data)


def _moments(duration_s: float) -> tuple[int, list[int]]:
    """A frame rate, and the frames to take at it: the middles of even parts."""
    # a lower rate saves the conversion of frames that are not shown
    rate = next((rate for rate in RATES if duration_s * rate >= 4 * N_MOMENTS), FPS)
    total = max(round(duration_s * rate), 1)
    count = min(N_MOMENTS, total)
    return rate, [int((column + 0.5) * total / count) for column in range(count)]


def _read_rows(
    path: Path, *, rate: int, picks: Sequence[int], height: int, box: tuple[int, int, int, int] | None
) -> tuple[list[Image], list[Image]]:
    blank = np.full((height, WIDTH, 3), GREY, np.uint8)
    faces, mouths = [blank] * len(picks), [blank[:MOUTH_HEIGHT]] * len(picks)
    for column, frame in _read_frames(path, rate, picks, max_side=None if box else 2 * max(WIDTH, height)):
        faces[column] = _fit(frame, WIDTH, height)
        if box is not None:
            mouths[column] = _fit(_crop(frame, box), WIDTH, MOUTH_HEIGHT)
    return faces, mouths if box is not None else []


def _read_frames(path: Path, rate: int, picks: Sequence[int], *, max_side: int | None) -> Iterator[tuple[int, Image]]:
    columns = {pick: column for column, pick in enumerate(picks)}
    with VideoReader(path, rate, max_side=max_side) as reader:
        for index, frame in enumerate(reader):
            if index in columns:
                yield columns[index], frame
            if index >= picks[-1]:
                break


def _crop(frame: Image, box: tuple[int, int, int, int]) -> Image:
    """The box, grown to the shape of a cell, clipped to the frame; the whole frame if the box lies outside."""
    left, top, right, bottom = box
    grow_x = max(round((bottom - top) * WIDTH / MOUTH_HEIGHT) - (right - left), 0) // 2
    grow_y = max(round((right - left) * MOUTH_HEIGHT / WIDTH) - (bottom - top), 0) // 2
    inside = frame[max(top - grow_y, 0) : max(bottom + grow_y, 0), max(left - grow_x, 0) : max(right + grow_x, 0)]
    return inside if inside.size else frame


def _fit(image: Image, width: int, height: int) -> Image:
    """The whole image in the middle of a cell."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell = np.full((height, width, 3), GREY, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = resized
    return cell


def _join_rows(rows: list[tuple[str, list[Image]]], *, times: list[float]) -> ContactSheet:
    strips, layout, top = [], [], 0
    for name, cells in rows:
        strip = contact_sheet(cells, len(cells))
        layout.append((name, top, len(strip)))
        strips.append(strip)
        top += len(strip)
    image = np.concatenate(strips)
    gap = (image.shape[1] - WIDTH * len(times)) // max(len(times) - 1, 1)
    return ContactSheet(encode_jpeg(image), layout, times, WIDTH, gap, (image.shape[1], image.shape[0]))


def _parse_box(value: object) -> tuple[int, int, int, int] | None:
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    sides = [number(side) for side in value]
    if any(side is None for side in sides):
        return None
    left, top, right, bottom = (round(side) for side in sides if side is not None)
    return (left, top, right, bottom) if right > left and bottom > top else None

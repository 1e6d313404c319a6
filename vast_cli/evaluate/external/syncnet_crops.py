"""SyncNet's video input: faces cropped as its authors' pipeline does, through the two lossy files in between.

Crop (their `run_pipeline.py`): half side s of the face box and its centre, each median-filtered over 13 frames; from y
- s to y + 1.8 s, x +- 1.4 s, grey 110 outside the frame, resized to 224x224 without regard to the aspect. Then XVID
in an AVI, then JPEG with ffmpeg's defaults. Crops are BGR here, as the network was trained.
"""

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.signal import medfilt

from vast_cli.core.arrays import Float64, Image
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS

SIDE = 224
SMOOTH = 13  # frames
BELOW, ASIDE = 1.8, 1.4  # of the half side
GREY = (110, 110, 110)
MIN_FACE = 100.0  # pixels: mean of the larger side, below which the pipeline drops a face


def large_enough(boxes: Float64) -> bool:
    """Whether the pipeline would keep a face of these boxes [N, 4] (x0, y0, x1, y1)."""
    return bool(max((boxes[:, 2:] - boxes[:, :2]).mean(0)) > MIN_FACE)


def crop_faces(frames: Iterable[Image], boxes: Float64) -> Iterator[Image]:
    """Cut the face out of every frame.

    Args:
        frames: RGB uint8 [H, W, 3] at 25 fps, as many as boxes.
        boxes: [N, 4], x0, y0, x1, y1 of the face in pixels, a box for every frame, N >= 13.

    Yields:
        BGR uint8 [224, 224, 3].

    Raises:
        ValueError: boxes that are not finite, empty, outside the frame or not as many as frames.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) < SMOOTH or not np.isfinite(boxes).all():
        raise ValueError(f"face boxes of shape {boxes.shape}; [N, 4], finite, N >= {SMOOTH} are needed")
    half = medfilt((boxes[:, 2:] - boxes[:, :2]).max(1) / 2, SMOOTH)
    x, y = (medfilt((boxes[:, k] + boxes[:, k + 2]) / 2, SMOOTH) for k in (0, 1))
    for k, frame in enumerate(frames):
        if k >= len(boxes):
            raise ValueError(f"more frames than the {len(boxes)} face boxes")
        yield _crop(frame, float(x[k]), float(y[k]), float(half[k]))


def _crop(frame: Image, x: float, y: float, half: float) -> Image:
    pad = int(half * BELOW)
    wide = cv2.copyMakeBorder(frame[:, :, ::-1], pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=GREY)
    x, y = x + pad, y + pad
    top, bottom = int(y - half), int(y + half * BELOW)
    left, right = int(x - half * ASIDE), int(x + half * ASIDE)
    face = wide[max(top, 0) : bottom, max(left, 0) : right]
    if not face.size:
        raise ValueError("a face box that is empty or outside the frame")
    return np.asarray(cv2.resize(face, (SIDE, SIDE)), np.uint8)


def through_files(crops: Iterable[Image]) -> Iterator[Image]:
    """The crops after XVID and JPEG, BGR uint8 [224, 224, 3]; a temporary file holds the XVID, memory one frame.

    Raises:
        VastError: `vast_encode_failed`, this OpenCV writes no XVID.
    """
    with tempfile.TemporaryDirectory(prefix="vast-syncnet-") as folder:
        path = Path(folder) / "crops.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), FPS, (SIDE, SIDE))
        try:
            if not writer.isOpened():
                raise VastError("vast_encode_failed", "this OpenCV cannot write XVID, which SyncNet needs")
            for crop in crops:
                writer.write(crop)
        finally:
            writer.release()
        yield from _as_jpeg(path)


def _as_jpeg(path: Path) -> Iterator[Image]:
    """The frames of a file after `ffmpeg -i FILE %06d.jpg`: the encoder's rate control runs along the whole file."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = SIDE
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, FPS)
    encoder.thread_count = 1
    with av.open(str(path)) as container:
        for k, decoded in enumerate(container.decode(video=0)):
            frame = decoded.reformat(format="yuvj420p")
            frame.pts, frame.time_base = k, encoder.time_base
            frame.pict_type = 0
            yield from _decoded(map(bytes, encoder.encode(frame)))
        yield from _decoded(map(bytes, encoder.encode(None)))


def _decoded(packets: Iterable[bytes]) -> Iterator[Image]:
    for packet in packets:
        image = cv2.imdecode(np.frombuffer(packet, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise VastError("vast_internal", "a JPEG that was just written cannot be read")
        yield np.asarray(image, np.uint8)

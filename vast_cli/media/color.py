"""Decoded frames to RGB: matrix and range as tagged, wide gamut and HDR brought to ordinary bt709.

Values of the result are bt709-coded and full range, the convention for every frame in vast; `VideoWriter` converts
back.
"""

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from vast_cli.media.probe import HLG, PQ, Orientation

WHITE_NITS = 203.0  # diffuse white of HDR (ITU-R BT.2408), becomes SDR's 1.0 before the shoulder
PEAK_NITS = 1000.0  # assumed brightest value; metadata that say otherwise are too often wrong
KNEE = 0.5  # share of SDR white below which nothing changes: skin stays as it was
SDR_GAMMA = 2.4  # display curve of bt709 (ITU-R BT.1886)
HD_HEIGHT = 720  # untagged frames of this height and above are bt709, smaller ones bt601, as in players

# swscale's numbers of the matrices of H.273; PyAV 17, the oldest we support, lacks names for some
BT601, BT709, BT2020 = 5, 1, 9
_MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: BT2020, 10: BT2020}
_TO_BT709: dict[int, NDArray[np.float32]] = {  # linear light; keys are primaries of H.273
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
_EXACT = 0x40000 | 0x2000  # swscale's ACCURATE_RND and FULL_CHR_H_INT
_SAME_SIZE, _SMALLER = 0x4 | _EXACT, 0x20 | _EXACT  # BICUBIC and AREA


class Converter:
    """Decoded frames of one video to upright RGB.

    Args:
        width: of the upright result.
        height: of the upright result.
        turn: how a frame is turned upright.
    """

    def __init__(self, *, width: int, height: int, turn: Orientation) -> None:
        self._stored = (height, width) if turn.transpose else (width, height)
        self._turn = turn
        self._engine = VideoReformatter()  # reused: a new one for every frame doubles the time

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """One frame, [height, width, 3]."""
        transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
        deep = transfer in (PQ, HLG) or primaries in _TO_BT709
        shrinks = self._stored[0] < frame.width or self._stored[1] < frame.height
        default = BT709 if frame.height >= HD_HEIGHT else BT601
        converted = self._engine.reformat(
            frame,
            width=self._stored[0],
            height=self._stored[1],
            format="rgb48le" if deep else "rgb24",
            src_colorspace=_MATRICES.get(int(frame.colorspace), default),
            dst_colorspace=BT709,
            src_color_range=int(frame.color_range) or int(ColorRange.MPEG),
            dst_color_range=int(ColorRange.JPEG),
            interpolation=_SMALLER if shrinks else _SAME_SIZE,
        ).to_ndarray()
        rgb: NDArray[np.uint8]
        if deep:
            rgb = to_sdr(converted.astype(np.uint16, copy=False), transfer=transfer, primaries=primaries)
        else:
            rgb = converted.astype(np.uint8, copy=False)
        if self._turn.transpose:
            rgb = rgb.transpose(1, 0, 2)
        if self._turn.mirror_x:
            rgb = rgb[:, ::-1]
        if self._turn.mirror_y:
            rgb = rgb[::-1]
        return np.ascontiguousarray(rgb)


def to_sdr(image: NDArray[np.uint16], *, transfer: int, primaries: int) -> NDArray[np.uint8]:
    """HDR or wide gamut to bt709.

    To linear light by a table, to bt709's primaries by a matrix, and for HDR a shoulder on the largest of R, G, B,
    which keeps the hue; values outside the gamut are clipped.

    Args:
        image: [H, W, 3], coded values, full range 0 - 65535.
        transfer: code of H.273; PQ and HLG are HDR, everything else counts as a display gamma of 2.4.
        primaries: code of H.273.
    """
    light = _linear_table(transfer)[image]
    if transfer == HLG:  # the system gamma of a 1000 nit display (ITU-R BT.2100)
        luma = np.maximum(cv2.transform(light, _BT2020_LUMA[None]), 1e-6)
        light *= (luma ** np.float32(0.2)).reshape(*light.shape[:2], 1) * np.float32(PEAK_NITS / WHITE_NITS)
    matrix = _TO_BT709.get(primaries)
    if matrix is not None:
        light = np.asarray(cv2.transform(light, matrix), np.float32)
    np.maximum(light, 0, out=light)
    if transfer in (PQ, HLG):
        peak = np.minimum(light.max(axis=2), np.float32(PEAK_NITS / WHITE_NITS))
        light *= (shoulder(peak) / np.maximum(light.max(axis=2), 1e-6))[..., None]
    np.minimum(light, 1, out=light)
    coded = cv2.pow(light, 1 / SDR_GAMMA)
    return np.asarray(coded * 255 + 0.5).astype(np.uint8)


def shoulder(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Moebius curve: identity up to the knee, then smooth with slope 1 at the knee, 1.0 at the peak."""
    peak = PEAK_NITS / WHITE_NITS
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    bent = (b * b + 2 * b * KNEE + KNEE * KNEE) / (b - a) * (light + a) / (light + b)
    return np.where(light <= KNEE, light, bent).astype(np.float32)


def _linear_table(transfer: int) -> NDArray[np.float32]:
    """Linear light of 65536 coded values; 1 is SDR white (for HLG: scene light, 1 is the peak)."""
    if transfer not in _TABLES:
        coded = np.arange(65536, dtype=np.float64) / 65535
        if transfer == PQ:  # SMPTE ST 2084
            root = coded ** (1 / 78.84375)
            nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
            linear = nits / WHITE_NITS
        elif transfer == HLG:  # ARIB STD-B67
            linear = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        else:
            linear = coded**SDR_GAMMA
        _TABLES[transfer] = linear.astype(np.float32)
    return _TABLES[transfer]


_TABLES: dict[int, NDArray[np.float32]] = {}

"""Waveform strip of a comparison's audio from first to last frame, with a time scale."""

from collections.abc import Iterable

import cv2
import numpy as np

from vast_cli.core.arrays import Float32, Image
from vast_cli.core.text import timestamp
from vast_cli.evaluate import drawing
from vast_cli.evaluate.compare.layout import BACKGROUND

WAVE_COLOUR: drawing.Colour = (86, 150, 214)
SCALE_COLOUR: drawing.Colour = (120, 128, 138)
PLAYHEAD_COLOUR: drawing.Colour = (255, 196, 64)
MARGIN = 8  # px left and right
SCALE_HEIGHT = 20
TICK_STEPS_S = (0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
MIN_TICK_DISTANCE = 80  # px


def envelope(blocks: Iterable[Float32], *, n_samples: int, columns: int) -> Float32:
    """Minimum and maximum in each of `columns` equal parts of `n_samples`: [columns, 2]; 0 where audio is missing.

    Memory does not grow with the length of the audio.
    """
    result = np.zeros((columns, 2), np.float32)
    start = 0
    for block in blocks:
        column = (np.arange(start, start + len(block)) * columns // n_samples).clip(max=columns - 1)
        np.minimum.at(result[:, 0], column, block)
        np.maximum.at(result[:, 1], column, block)
        start += len(block)
    return result


def plot_waveform(values: Float32, *, height: int, duration_s: float) -> Image:
    """The strip [height, columns + 2 * MARGIN, 3] of an envelope [columns, 2]."""
    image = drawing.blank_image(height, len(values) + 2 * MARGIN, BACKGROUND)
    middle, reach = (height - SCALE_HEIGHT) / 2, (height - SCALE_HEIGHT) / 2 - 4
    peak = max(float(np.abs(values).max(initial=0.0)), 1e-4)
    for x, (low, high) in enumerate(values.tolist(), MARGIN):
        top, bottom = round(middle - high / peak * reach), round(middle - low / peak * reach)
        cv2.line(image, (x, top), (x, bottom), WAVE_COLOUR, 1)
    step = next((s for s in TICK_STEPS_S if len(values) * s / duration_s >= MIN_TICK_DISTANCE), TICK_STEPS_S[-1])
    for k in range(int(duration_s / step) + 1):
        x = MARGIN + round(k * step / duration_s * len(values))
        cv2.line(image, (x, height - SCALE_HEIGHT), (x, height - SCALE_HEIGHT + 4), SCALE_COLOUR, 1)
        anchor = "l" if k == 0 else "m"
        if x < image.shape[1] - MIN_TICK_DISTANCE // 2:
            drawing.draw_text(image, timestamp(k * step), (x, height - 8), 12, colour=SCALE_COLOUR, anchor=anchor)
    return image

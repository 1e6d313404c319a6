"""Plot a posteriorgram under its waveform: why the lips move as they do."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Image
from vast_cli.records import Posteriorgram
from vast_cli.speech.acoustic import CLASSES, SIL

# rows grouped by what the lips do, from shut to wide
GROUPS = (
    ("lips shut", "P B M"),
    ("lip and teeth", "F V"),
    ("rounded", "W UW UH OW OY AO R ER"),
    ("open", "AA AW AY AH AE EH EY"),
    ("spread", "IH IY Y"),
    ("tongue", "L N T D TH DH S Z SH ZH CH JH K G NG HH"),
    ("silence", "SIL"),
)
ROWS = [CLASSES.index(name) for _, names in GROUPS for name in names.split()]
LINE_S = 10.0  # seconds in one line of the plot
MAX_LINES = 30
PLOTTED_S = LINE_S * MAX_LINES
PX, CELL = 3, 13  # width of a frame, height of a class
LEFT, TOP, WAVE, GAP = 150, 20, 110, 34
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, FAINT, WAVE_COLOUR = (40, 45, 50), (205, 210, 215), (40, 95, 150)


def plot_posteriorgram(ppg: Posteriorgram, samples: Float32) -> Image:
    """Plot the waveform, the likeliest phone at each moment and the probability of each (dark is likely), 10 s a line.

    Args:
        ppg: of the audio.
        samples: [n] the audio, 16 kHz; its first `MAX_LINES` lines are plotted (5 minutes).

    Returns:
        RGB [H, W, 3].
    """
    per_line = int(timebase.to_ppg(LINE_S))
    n_lines = min(MAX_LINES, max(1, -(-len(ppg.values) // per_line)))
    height = TOP + WAVE + len(ROWS) * CELL + GAP
    width = LEFT + PX * min(per_line, len(ppg.values)) + 30
    image = np.full((n_lines * height, max(width, LEFT + 300), 3), 255, np.uint8)
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-4)
    for k in range(n_lines):
        part = slice(k * per_line, (k + 1) * per_line)
        audio = samples[timebase.ppg_samples(part.start) : timebase.ppg_samples(part.stop)] / peak
        _plot_line(image[k * height : (k + 1) * height], ppg.values[part], audio, k * LINE_S)
    return image


def _plot_line(image: Image, values: Float32, audio: Float32, start_s: float) -> None:
    middle, top, n = TOP + WAVE // 2, TOP + WAVE, len(values)
    for j in range(min(n * PX, timebase.ppg_frames(len(audio) * PX))):
        piece = audio[timebase.ppg_samples(j) // PX : timebase.ppg_samples(j + 1) // PX]
        if len(piece):
            low, high = (int(middle - value * (WAVE / 2 - 18)) for value in (piece.max(), piece.min()))
            cv2.line(image, (LEFT + j, low), (LEFT + j, high), WAVE_COLOUR, 1)
    heat = 255 - 255 * np.sqrt(values[:, ROWS].T)
    heat = np.repeat(np.repeat(heat, CELL, axis=0), PX, axis=1).astype(np.uint8)
    image[top : top + len(ROWS) * CELL, LEFT : LEFT + n * PX] = heat[:, :, None]
    row = 0
    for group, names in GROUPS:
        y = top + row * CELL
        cv2.line(image, (8, y), (LEFT + n * PX, y), FAINT, 1)
        _write(image, group, (8, y + CELL - 2), 0.36)
        for name in names.split():
            row += 1
            _write(image, name, (LEFT - 32, top + row * CELL - 2), 0.36)
    for second in range(int(LINE_S) + 1):
        x = LEFT + int(timebase.to_ppg(second)) * PX
        if x <= LEFT + n * PX:
            cv2.line(image, (x, top - 4), (x, top + len(ROWS) * CELL), FAINT, 1)
            _write(image, f"{start_s + second:.0f} s", (x - 8, top + len(ROWS) * CELL + 14), 0.36)
    phones = values.argmax(axis=1)
    borders = [0, *(np.flatnonzero(np.diff(phones)) + 1), n]
    starts = [a for a, b in pairwise(borders) if phones[a] != SIL and b - a >= 2]
    for k, a in enumerate(starts):  # without single frames: there is no room for their names
        _write(image, CLASSES[phones[a]], (LEFT + a * PX, TOP - 8 + (k % 3) * 11), 0.32)


def _write(image: Image, text: str, where: tuple[int, int], size: float) -> None:
    cv2.putText(image, text, where, FONT, size, INK, 1, cv2.LINE_AA)

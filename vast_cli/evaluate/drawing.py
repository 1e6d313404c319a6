"""Draws text of any script, and marks that differ in shape and colour, on RGB images [H, W, 3], uint8."""

import functools
import math
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from vast_cli.core.arrays import Image

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

INK: Colour = (30, 34, 40)
FAINT: Colour = (120, 126, 134)
LINE: Colour = (208, 212, 218)
PAPER: Colour = (255, 255, 255)
# Okabe & Ito 2008: distinct under any colour vision; yellow comes last, it is weak on white
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (60, 60, 60),
    (240, 228, 66),
)  # fmt: skip
SUBPIXEL_BITS = 4  # of OpenCV's coordinates
# tried in this order for each character; Pillow searches the system's font folders, and its own font comes last
FONTS = (
    "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf",
    "Helvetica.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "SourceHanSans-Regular.ttc",
    "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "ipag.ttf", "YuGothM.ttc", "msgothic.ttc",
    "msyh.ttc", "malgun.ttf", "Hiragino Sans GB.ttc", "ヒラギノ角ゴシック W3.ttc", "AppleSDGothicNeo.ttc",
    "Arial Unicode.ttf", "NotoNaskhArabic-Regular.ttf", "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "unifont.ttf",
)  # fmt: skip
MISSING = "\U0010fffd"  # private use: a font draws its "missing" glyph for it


@functools.lru_cache(maxsize=512)
def _font(name: str, size: int) -> Font | None:
    """The font of a file name, Pillow's own for an empty name; None if it is not installed."""
    if not name:
        own = ImageFont.load_default(size)
        return own if isinstance(own, ImageFont.FreeTypeFont) else None
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(maxsize=4096)
def _font_with(character: str) -> str | None:
    """Name of the first font that has `character`; None if no font has it."""
    for name in (*FONTS, ""):
        font = _font(name, 24)
        if font is None:
            continue
        if character.isspace() or _glyph(font, character) != _glyph(font, MISSING):
            return name
    return None


def _glyph(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _font_runs(text: str) -> list[tuple[str, str]]:
    """(font, piece) of a line; a character that no font has becomes a question mark."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    fonts = [(_font_with(c), c) for c in printable]
    drawable = [(name, c) if name is not None else (_font_with("?") or "", "?") for name, c in fonts]
    return [(name, "".join(c for _, c in run)) for name, run in groupby(drawable, key=lambda pair: pair[0])]


def characters_without_font(text: str) -> str:
    """The characters of `text` that no font on this machine has, each once."""
    return "".join(dict.fromkeys(c for c in text if c.isprintable() and _font_with(c) is None))


def _require_font(name: str, size: int) -> Font:
    font = _font(name, size)
    assert font is not None
    return font


def text_width(text: str, size: int) -> int:
    """Width of a line in pixels."""
    return math.ceil(sum(_require_font(name, size).getlength(piece) for name, piece in _font_runs(text)))


def shorten(text: str, width: int, size: int) -> str:
    """`text` if it fits into `width` pixels, otherwise its start and end around an ellipsis."""
    if text_width(text, size) <= width:
        return text
    for keep in range(len(text) - 1, 0, -1):
        tail = keep // 3  # names of versions differ in their endings
        short = text[: keep - tail].rstrip() + "…" + (text[-tail:].lstrip() if tail else "")
        if text_width(short, size) <= width:
            return short
    return "…"


def draw_text(
    image: Image, text: str, position: tuple[float, float], size: int, *, colour: Colour = INK, anchor: str = "l"
) -> None:
    """Draw a line of text into an image; parts outside the image are cut off.

    Args:
        image: changed in place.
        text: one line.
        position: x of the line's left end (`l`), middle (`m`) or right end (`r`), and y of its middle.
        size: font size in pixels.
        colour: RGB.
        anchor: `l`, `m` or `r`.
    """
    width = text_width(text, size)
    left = round(position[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * width)
    top, height = round(position[1] - 0.8 * size), round(1.7 * size)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width + 2, image.shape[1]), min(top + height, image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    patch = Pillow.fromarray(image[y0:y1, x0:x1])
    pen = ImageDraw.Draw(patch)
    x = float(left - x0)
    for name, piece in _font_runs(text):
        font = _require_font(name, size)
        pen.text((x, position[1] - y0 + 0.35 * size), piece, font=font, fill=colour, anchor="ls")
        x += font.getlength(piece)
    image[y0:y1, x0:x1] = np.asarray(patch)


@dataclass(frozen=True)
class Mark:
    """Colour and shape of one kind of point."""

    colour: Colour
    corners: tuple[tuple[float, float], ...]  # of a polygon of radius about 1; none for a disc

    def draw(self, image: Image, position: tuple[float, float], radius: float) -> None:
        """Draw the mark with a thin dark outline."""
        x, y = (round(v * 2**SUBPIXEL_BITS) for v in position)
        dark = tuple(int(0.45 * c) for c in self.colour)
        if not self.corners:
            cv2.circle(
                image,
                (x, y),
                round(radius * 2**SUBPIXEL_BITS),
                self.colour,
                cv2.FILLED,
                cv2.LINE_AA,
                SUBPIXEL_BITS,
            )
            cv2.circle(image, (x, y), round(radius * 2**SUBPIXEL_BITS), dark, 1, cv2.LINE_AA, SUBPIXEL_BITS)
            return
        points = np.rint((np.array(self.corners) * radius + position) * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(image, [points], self.colour, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.polylines(image, [points], True, dark, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _star(n: int, inner_radius: float, turn: float = -0.25) -> tuple[tuple[float, float], ...]:
    angles = [(2 * math.pi * (k / (2 * n) + turn), 1.25 if k % 2 == 0 else inner_radius) for k in range(2 * n)]
    return tuple((r * math.cos(a), r * math.sin(a)) for a, r in angles)


def _regular(n: int, turn: float = -0.25, radius: float = 1.15) -> tuple[tuple[float, float], ...]:
    angles = [2 * math.pi * (k / n + turn) for k in range(n)]
    return tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles)


_ARM = 0.42
_CROSS = (
    (-_ARM, -1.15), (_ARM, -1.15), (_ARM, -_ARM), (1.15, -_ARM), (1.15, _ARM), (_ARM, _ARM), (_ARM, 1.15),
    (-_ARM, 1.15), (-_ARM, _ARM), (-1.15, _ARM), (-1.15, -_ARM), (-_ARM, -_ARM),
)  # fmt: skip
SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    _regular(4, -0.125, 1.25),
    _regular(3, -0.25, 1.35),
    _CROSS,
    _regular(4, -0.25, 1.3),
    _star(5, 0.5),
    _regular(3, 0.25, 1.35),
    tuple(((x - y) * 0.75, (x + y) * 0.75) for x, y in _CROSS),
    _regular(6),
)


def marks(n: int) -> list[Mark]:
    """`n` marks; the first 72 differ, neighbours in both shape and colour."""
    return [Mark(COLOURS[k % len(COLOURS)], SHAPES[k % len(SHAPES)]) for k in range(n)]


def blank_image(height: int, width: int, colour: Colour = PAPER) -> Image:
    """An image of one colour."""
    return np.full((height, width, 3), colour, np.uint8)

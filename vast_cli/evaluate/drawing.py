"""Text of any script and marks that differ in shape and colour, on RGB pictures [H, W, 3], uint8."""

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
# Okabe & Ito 2008: told apart with any colour vision; yellow last, it is weak on white
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0), (60, 60, 60),
    (240, 228, 66),
)  # fmt: skip
SUB = 4  # bits of sub-pixels in OpenCV's coordinates
# tried in this order, character by character; Pillow looks for them in the system's folders, the last is Pillow's own
FONTS = (
    "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf",
    "Helvetica.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "SourceHanSans-Regular.ttc",
    "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "ipag.ttf", "YuGothM.ttc", "msgothic.ttc",
    "msyh.ttc", "malgun.ttf", "Hiragino Sans GB.ttc", "ヒラギノ角ゴシック W3.ttc", "AppleSDGothicNeo.ttc",
    "Arial Unicode.ttf", "NotoNaskhArabic-Regular.ttf", "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "unifont.ttf",
)  # fmt: skip
MISSING = "\U0010fffd"  # private use: what a font draws for what it does not have


@functools.lru_cache(maxsize=512)
def _font(name: str, size: int) -> Font | None:
    """A font by the name of its file; Pillow's own for an empty name."""
    if not name:
        own = ImageFont.load_default(size)
        return own if isinstance(own, ImageFont.FreeTypeFont) else None
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(maxsize=4096)
def _font_of(character: str) -> str | None:
    """The first font that has `character`; None if none has it."""
    for name in (*FONTS, ""):
        font = _font(name, 24)
        if font is None:
            continue
        if character.isspace() or _shape(font, character) != _shape(font, MISSING):
            return name
    return None


def _shape(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _runs(text: str) -> list[tuple[str, str]]:
    """(font, piece) of a line; what no font has becomes a question mark."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    chosen = [(_font_of(c), c) for c in clean]
    known = [(name, c) if name is not None else (_font_of("?") or "", "?") for name, c in chosen]
    return [(name, "".join(c for _, c in run)) for name, run in groupby(known, key=lambda pair: pair[0])]


def without_font(text: str) -> str:
    """The characters of `text` that no font here has, each once."""
    return "".join(dict.fromkeys(c for c in text if c.isprintable() and _font_of(c) is None))


def _sized(name: str, size: int) -> Font:
    font = _font(name, size)
    assert font is not None
    return font


def text_width(text: str, size: int) -> int:
    """Pixels that a line takes."""
    return math.ceil(sum(_sized(name, size).getlength(piece) for name, piece in _runs(text)))


def shorten(text: str, width: int, size: int) -> str:
    """`text` if it fits into `width` pixels, else its start and end around an ellipsis."""
    if text_width(text, size) <= width:
        return text
    for keep in range(len(text) - 1, 0, -1):
        tail = keep // 3  # endings of names tell versions apart
        short = text[: keep - tail].rstrip() + "…" + (text[-tail:].lstrip() if tail else "")
        if text_width(short, size) <= width:
            return short
    return "…"


def write(
    picture: Image, text: str, where: tuple[float, float], size: int, *, colour: Colour = INK, anchor: str = "l"
) -> None:
    """Write a line in place.

    Args:
        picture: changed.
        text: one line.
        where: x of its left end (`l`), middle (`m`) or right end (`r`), y of its middle.
        size: of the font in pixels.
        colour: RGB.
        anchor: `l`, `m` or `r`.
    """
    width = text_width(text, size)
    left = round(where[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * width)
    top, height = round(where[1] - 0.8 * size), round(1.7 * size)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width + 2, picture.shape[1]), min(top + height, picture.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    patch = Pillow.fromarray(picture[y0:y1, x0:x1])
    pen = ImageDraw.Draw(patch)
    x = float(left - x0)
    for name, piece in _runs(text):
        font = _sized(name, size)
        pen.text((x, where[1] - y0 + 0.35 * size), piece, font=font, fill=colour, anchor="ls")
        x += font.getlength(piece)
    picture[y0:y1, x0:x1] = np.asarray(patch)


@dataclass(frozen=True)
class Mark:
    """How one kind of point looks."""

    colour: Colour
    corners: tuple[tuple[float, float], ...]  # of a polygon of radius about 1; none for a disc

    def draw(self, picture: Image, where: tuple[float, float], radius: float) -> None:
        """Draw the mark with a thin dark outline."""
        x, y = (round(v * 2**SUB) for v in where)
        dark = tuple(int(0.45 * c) for c in self.colour)
        if not self.corners:
            cv2.circle(picture, (x, y), round(radius * 2**SUB), self.colour, cv2.FILLED, cv2.LINE_AA, SUB)
            cv2.circle(picture, (x, y), round(radius * 2**SUB), dark, 1, cv2.LINE_AA, SUB)
            return
        points = np.rint((np.array(self.corners) * radius + where) * 2**SUB).astype(np.int32)
        cv2.fillPoly(picture, [points], self.colour, cv2.LINE_AA, SUB)
        cv2.polylines(picture, [points], True, dark, 1, cv2.LINE_AA, SUB)


def _star(n: int, inner: float, turn: float = -0.25) -> tuple[tuple[float, float], ...]:
    angles = [(2 * math.pi * (k / (2 * n) + turn), 1.25 if k % 2 == 0 else inner) for k in range(2 * n)]
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


def blank(height: int, width: int, colour: Colour = PAPER) -> Image:
    """An empty picture."""
    return np.full((height, width, 3), colour, np.uint8)

"""Where things are in a comparison: cells in rows, names and scores under them, the strip of sound below."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.evaluate import drawing

MAX_SIDE = 8192  # px of a picture that our encoder takes
MIN_ASPECT, MAX_ASPECT = 0.75, 16 / 9  # of a cell: names need room; wider videos get bars above and below
GROUND = (18, 20, 24)
NAME_INK, SCORE_INK = (240, 242, 245), (170, 196, 224)
GAP = 8

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Grid:
    """Sizes in pixels."""

    n: int  # cells
    widths: tuple[int, ...]  # of the columns
    cell_height: int
    caption: int  # height under each cell
    strip: int  # height of the sound below all; 0 without
    name_size: int
    score_size: int

    @property
    def rows(self) -> int:
        """Of cells."""
        return -(-self.n // len(self.widths))

    @property
    def width(self) -> int:
        """Of the whole picture, even."""
        width = sum(self.widths) + GAP * (len(self.widths) + 1)
        return width + width % 2

    @property
    def height(self) -> int:
        """Of the whole picture, even."""
        height = self.rows * (self.cell_height + self.caption + GAP) + GAP + self.strip
        return height + height % 2

    def cell_width(self, index: int) -> int:
        """Of a cell."""
        return self.widths[index % len(self.widths)]

    def place(self, index: int) -> tuple[int, int]:
        """Left and top of a cell."""
        row, column = divmod(index, len(self.widths))
        left = GAP + sum(self.widths[:column]) + GAP * column
        return left, GAP + row * (self.cell_height + self.caption + GAP)


def default_columns(n: int) -> int:
    """Side by side up to three, then as square as it goes."""
    return n if n <= 3 else next(k for k in range(1, n + 1) if k * k >= n)


def column_widths(aspects: Sequence[float], *, height: int, columns: int | None) -> tuple[int, ...]:
    """Each column as wide as its widest video needs.

    Args:
        aspects: width over height of each video.
        height: of a cell.
        columns: cells in a row, chosen if not given.
    """
    columns = min(columns or default_columns(len(aspects)), len(aspects))
    widest = [max(aspects[k::columns]) for k in range(columns)]
    return tuple(round(height * min(max(aspect, MIN_ASPECT), MAX_ASPECT)) for aspect in widest)


def make_grid(n: int, widths: tuple[int, ...], *, height: int, lines: int, strip: bool) -> Grid:
    """Lay out `n` cells.

    Args:
        n: videos.
        widths: of the columns.
        height: of a cell.
        lines: of scores under each name.
        strip: whether there is sound to show.

    Raises:
        VastError: `vast_option_invalid` if the picture would be larger than the encoder takes.
    """
    name_size, small = max(14, round(height / 18)), score_size(height)
    grid = Grid(
        n=n,
        widths=widths,
        cell_height=height,
        caption=round(1.7 * name_size) + (round(1.45 * small) * lines + small // 2 if lines else 0),
        strip=max(72, height // 4) if strip else 0,
        name_size=name_size,
        score_size=small,
    )
    if max(grid.width, grid.height) > MAX_SIDE:
        raise VastError(
            "vast_option_invalid",
            f"{n} videos of {height} px make a picture of {grid.width} x {grid.height}; the limit is {MAX_SIDE} a side",
            hint="lower `--height`, or change `--columns`",
        )
    return grid


def score_size(height: int) -> int:
    """Pixels of the scores' font under a cell of `height`."""
    return max(12, round(height / 24))


def score_lines(scores: Scores | None, *, width: int, size: int) -> list[str]:
    """Names and values in as many lines of `width` pixels as they need; none without scores."""
    lines: list[str] = []
    for name, value in (scores or {}).items():
        piece = f"{name} {score_text(value)}"
        joined = f"{lines[-1]}  ·  {piece}" if lines else piece
        if lines and drawing.text_width(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(drawing.shorten(piece, width, size))
    return lines


def score_text(value: float | None) -> str:
    """A value with three figures; a dash for what could not be measured."""
    if value is None:
        return "–"
    if abs(value) < 1e-6:  # rounding of what is zero
        return "0"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def draw_caption(grid: Grid, index: int, label: str, lines: Sequence[str]) -> Image:
    """Name and scores under cell `index`: [caption, its width, 3]."""
    width = grid.cell_width(index)
    picture = drawing.blank(grid.caption, width, GROUND)
    middle, y = width / 2, 0.9 * grid.name_size
    name = drawing.shorten(label, width - 8, grid.name_size)
    drawing.write(picture, name, (middle, y), grid.name_size, colour=NAME_INK, anchor="m")
    y = 1.7 * grid.name_size + 0.7 * grid.score_size
    for line in lines:
        drawing.write(picture, line, (middle, y), grid.score_size, colour=SCORE_INK, anchor="m")
        y += round(1.45 * grid.score_size)
    return picture

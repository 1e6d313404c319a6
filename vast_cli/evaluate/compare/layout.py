"""Layout of a comparison: cells in rows, names and scores under them, the waveform strip at the bottom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.text import short_number
from vast_cli.evaluate import drawing

MAX_SIDE = 8192  # px that our encoder takes
MIN_ASPECT, MAX_ASPECT = 0.75, 16 / 9  # of a cell: names need room; wider videos get bars above and below
BACKGROUND = (18, 20, 24)
NAME_COLOUR, SCORE_COLOUR = (240, 242, 245), (170, 196, 224)
GAP = 8

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Grid:
    """Sizes in pixels."""

    n_cells: int
    column_widths: tuple[int, ...]
    cell_height: int
    caption_height: int  # under each cell
    strip_height: int  # of the waveform at the bottom; 0 without one
    name_size: int
    score_size: int

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-self.n_cells // len(self.column_widths))

    @property
    def width(self) -> int:
        """Width of the whole frame, even."""
        width = sum(self.column_widths) + GAP * (len(self.column_widths) + 1)
        return width + width % 2

    @property
    def height(self) -> int:
        """Height of the whole frame, even."""
        height = self.rows * (self.cell_height + self.caption_height + GAP) + GAP + self.strip_height
        return height + height % 2

    def cell_width(self, index: int) -> int:
        """Width of cell `index`."""
        return self.column_widths[index % len(self.column_widths)]

    def cell_corner(self, index: int) -> tuple[int, int]:
        """Left and top of cell `index`."""
        row, column = divmod(index, len(self.column_widths))
        left = GAP + sum(self.column_widths[:column]) + GAP * column
        return left, GAP + row * (self.cell_height + self.caption_height + GAP)


def default_columns(n: int) -> int:
    """Up to three side by side, more in the squarest grid."""
    return n if n <= 3 else next(k for k in range(1, n + 1) if k * k >= n)


def column_widths(aspects: Sequence[float], *, height: int, columns: int | None) -> tuple[int, ...]:
    """Width of each column: what its widest video needs.

    Args:
        aspects: width over height of each video.
        height: of a cell.
        columns: cells in a row; `default_columns` if not given.
    """
    columns = min(columns or default_columns(len(aspects)), len(aspects))
    widest = [max(aspects[k::columns]) for k in range(columns)]
    return tuple(round(height * min(max(aspect, MIN_ASPECT), MAX_ASPECT)) for aspect in widest)


def make_grid(n: int, widths: tuple[int, ...], *, height: int, n_lines: int, strip: bool) -> Grid:
    """Lay out `n` cells.

    Args:
        n: number of videos.
        widths: of the columns.
        height: of a cell.
        n_lines: lines of scores under each name.
        strip: whether a waveform is shown.

    Raises:
        VastError: `vast_option_invalid` if the frame would be larger than the encoder takes.
    """
    name_size, small = max(14, round(height / 18)), score_size(height)
    grid = Grid(
        n_cells=n,
        column_widths=widths,
        cell_height=height,
        caption_height=round(1.7 * name_size) + (round(1.45 * small) * n_lines + small // 2 if n_lines else 0),
        strip_height=max(72, height // 4) if strip else 0,
        name_size=name_size,
        score_size=small,
    )
    if max(grid.width, grid.height) > MAX_SIDE:
        raise VastError(
            "vast_option_invalid",
            f"{n} videos of {height} px make a frame of {grid.width} x {grid.height}; the limit is {MAX_SIDE} a side",
            hint="lower `--height`, or change `--columns`",
        )
    return grid


def score_size(height: int) -> int:
    """Font size in pixels of the scores under a cell of `height`."""
    return max(12, round(height / 24))


def score_lines(scores: Scores | None, *, width: int, size: int) -> list[str]:
    """Names and values, in as many lines of `width` pixels as they need; no lines without scores."""
    lines: list[str] = []
    for name, value in (scores or {}).items():
        piece = f"{name} {short_number(value, missing='–')}"
        joined = f"{lines[-1]}  ·  {piece}" if lines else piece
        if lines and drawing.text_width(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(drawing.shorten(piece, width, size))
    return lines


def draw_caption(grid: Grid, index: int, label: str, lines: Sequence[str]) -> Image:
    """The image under cell `index`, with name and scores: [caption_height, cell width, 3]."""
    width = grid.cell_width(index)
    image = drawing.blank_image(grid.caption_height, width, BACKGROUND)
    middle, y = width / 2, 0.9 * grid.name_size
    name = drawing.shorten(label, width - 8, grid.name_size)
    drawing.draw_text(image, name, (middle, y), grid.name_size, colour=NAME_COLOUR, anchor="m")
    y = 1.7 * grid.name_size + 0.7 * grid.score_size
    for line in lines:
        drawing.draw_text(image, line, (middle, y), grid.score_size, colour=SCORE_COLOUR, anchor="m")
        y += round(1.45 * grid.score_size)
    return image

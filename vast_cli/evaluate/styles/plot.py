"""Plots a style map: the best t-SNE run large, the other runs and embeddings small, and the figures below."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vast_cli import media
from vast_cli.core import files
from vast_cli.core.arrays import Float64, Image
from vast_cli.evaluate import drawing
from vast_cli.evaluate.drawing import Mark
from vast_cli.evaluate.styles.separation import Separation
from vast_cli.evaluate.styles.style_map import Projection, StyleMap

WIDTH, MARGIN, GAP = 2000, 50, 34
LARGE, SMALL = 1000, 266  # px, sides of the panels
COLUMNS = 3  # of small panels
LEGEND = 440  # px, width of one of its two columns
TOP, LINE_HEIGHT, TEXT = 146, 34, 22
STEP = SMALL + LINE_HEIGHT + GAP // 2  # from one small panel to the one below
RADIUS = 11.0
TITLES = {
    "enhanced": "style code s, after the enhancer",
    "encoder": "mean of E^p, without the enhancer",
    "untrained": "untrained encoder",
    "mean_sd": "mean and sd of the expressions",
}
SHORT_TITLES = {"encoder": "without the enhancer", "untrained": "untrained encoder", "mean_sd": "mean and sd"}
FIGURES = {
    "silhouette": "silhouette (cosine)",
    "nearest_neighbour": "1-NN, source left out",
    "linear_probe": "linear probe, source left out",
    "nearest_neighbour_person": "1-NN, person left out",
    "linear_probe_person": "linear probe, person left out",
}


def write_plot(style_map: StyleMap, output: Path, *, overwrite: bool = False) -> None:
    """Write the plot of a map as PNG.

    Raises:
        VastError: `vast_output_exists`, `vast_write_failed`, ...
    """
    files.check_output(output, overwrite=overwrite)
    media.write_png(output, plot_style_map(style_map), overwrite=overwrite)


def plot_style_map(style_map: StyleMap) -> Image:
    """The whole plot, RGB [H, 2000, 3]."""
    marks = _marks_by([item.label for item in style_map.codes.items])
    legend_rows = -(-len(marks) // 2)
    right = MARGIN + LARGE + GAP
    table_top = TOP + max(LARGE, 2 * STEP + (legend_rows + 1) * LINE_HEIGHT) + GAP
    n_lines = len(TITLES) + 2 + len(style_map.codes.warnings)
    image = drawing.blank_image(table_top + n_lines * LINE_HEIGHT + MARGIN + 2 * LINE_HEIGHT, WIDTH)
    _draw_title(image, style_map)
    _draw_large_panel(image, style_map.runs[0], [marks[item.label] for item in style_map.codes.items])
    for k, (title, run, point_marks) in enumerate(_small_panels(style_map, marks)):
        left, top = right + k % COLUMNS * (SMALL + GAP), TOP + k // COLUMNS * STEP
        _draw_panel(image, (left, top), SMALL, run.xy, point_marks, 0.55 * RADIUS)
        drawing.draw_text(image, title, (left, top + SMALL + 18), 18, colour=drawing.FAINT)
    _draw_legend(image, marks, style_map, (right, TOP + 2 * STEP + LINE_HEIGHT))
    _draw_table(image, style_map, table_top)
    return image


def _marks_by(names: Sequence[str]) -> dict[str, Mark]:
    """A mark for each different name, in alphabetical order."""
    distinct = sorted(set(names))
    return dict(zip(distinct, drawing.marks(len(distinct)), strict=True))


def _small_panels(style_map: StyleMap, marks: dict[str, Mark]) -> list[tuple[str, Projection, list[Mark]]]:
    """Title, projection and marks of each: the other embeddings, the other runs, the best run marked by person."""
    items = style_map.codes.items
    by_label = [marks[item.label] for item in items]
    panels = [(SHORT_TITLES[name], run, by_label) for name, run in style_map.others.items()]
    panels += [(f"seed {run.seed}, divergence {run.kl:.3f}", run, by_label) for run in style_map.runs[1:]]
    of_person = _marks_by([item.speaker for item in items])
    if len(of_person) > 1:
        panels.append(
            ("left plot, one mark per person", style_map.runs[0], [of_person[item.speaker] for item in items])
        )
    return panels


def _draw_title(image: Image, style_map: StyleMap) -> None:
    items = style_map.codes.items
    clips, persons = len({item.path for item in items}), len({item.speaker for item in items} - {""})
    size = f"{clips} clips" + (f", {len(items)} windows" if len(items) > clips else "")
    people = f"{persons} persons" if persons > 1 else "one person" if persons else "persons not known"
    drawing.draw_text(image, f"Style codes: {size}, {people}", (MARGIN, 42), 34)
    speech = {"known": "with their audio", "unknown": "speech masked", "mixed": "some with audio, some without"}
    subtitle = (
        f"t-SNE by cosine distance, perplexity {style_map.perplexity:.1f}, the best of {len(style_map.runs)} random "
        f"starts, {speech[style_map.codes.speech]}.",
        "Distances and sizes of clusters mean little: the figures below are computed in the embeddings.",
    )
    for k, line in enumerate(subtitle):
        drawing.draw_text(image, line, (MARGIN, 84 + 32 * k), TEXT, colour=drawing.FAINT)


def _draw_large_panel(image: Image, run: Projection, marks: Sequence[Mark]) -> None:
    _draw_panel(image, (MARGIN, TOP), LARGE, run.xy, marks, RADIUS)
    title = f"{TITLES['enhanced']}: seed {run.seed}, divergence {run.kl:.3f}"
    drawing.draw_text(image, title, (MARGIN + 14, TOP + 24), TEXT)


def _draw_panel(
    image: Image, corner: tuple[int, int], side: int, xy: Float64, marks: Sequence[Mark], radius: float
) -> None:
    left, top = corner
    cv2.rectangle(image, (left, top), (left + side, top + side), drawing.LINE, 1, cv2.LINE_AA)
    centre, half = (xy.max(0) + xy.min(0)) / 2, max(float(np.ptp(xy, axis=0).max()) / 2, 1e-9)
    positions = (xy - centre) / half * (side / 2 - 4 * radius) + (left + side / 2, top + side / 2)
    for mark, (x, y) in zip(marks, positions.tolist(), strict=True):
        mark.draw(image, (x, y), radius)


def _draw_legend(image: Image, marks: dict[str, Mark], style_map: StyleMap, corner: tuple[int, int]) -> None:
    labels = [item.label for item in style_map.codes.items]
    for k, (label, mark) in enumerate(marks.items()):
        x, y = corner[0] + k % 2 * LEGEND + 14, corner[1] + k // 2 * LINE_HEIGHT
        mark.draw(image, (x, y), RADIUS)
        line = f"{drawing.shorten(label, LEGEND - 130, TEXT)}  ({labels.count(label)})"
        drawing.draw_text(image, line, (x + 28, y), TEXT)


def _draw_table(image: Image, style_map: StyleMap, top: int) -> None:
    y = float(top + LINE_HEIGHT)
    columns = [MARGIN + 420 + 300 * k for k in range(len(FIGURES))]
    for x, title in zip(columns, FIGURES.values(), strict=True):
        drawing.draw_text(image, title, (x, y), 20, colour=drawing.FAINT)
    for name, title in TITLES.items():
        y += LINE_HEIGHT
        drawing.draw_text(image, title, (MARGIN, y), TEXT)
        for x, figure in zip(columns, FIGURES, strict=True):
            drawing.draw_text(image, figure_text(style_map.figures[name][figure]), (x, y), TEXT)
    y += LINE_HEIGHT
    legend = (
        "In brackets: mean of shuffled labels; p: share of shuffles at least as good. The last two rows are baselines."
    )
    drawing.draw_text(image, legend, (MARGIN, y), 18, colour=drawing.FAINT)
    for warning in style_map.codes.warnings:
        y += LINE_HEIGHT
        drawing.draw_text(image, warning, (MARGIN, y), 18, colour=(170, 60, 0))


def figure_text(figure: Separation) -> str:
    """A figure as text: value, chance, p."""
    if figure.value is None or figure.chance is None or figure.p is None:
        return f"– ({figure.reason})"
    return f"{figure.value:.2f} ({figure.chance:.2f})  p {figure.p:.3f}".replace("p 0.", "p .")

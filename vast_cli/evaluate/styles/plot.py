"""The style map as a picture: the best t-SNE large, the other runs and embeddings small, and the figures below."""

import cv2
import numpy as np

from vast_cli.core.arrays import Float64, Image
from vast_cli.evaluate import drawing
from vast_cli.evaluate.drawing import Mark
from vast_cli.evaluate.styles.map import SEEDS, StyleMap
from vast_cli.evaluate.styles.separation import Separation

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
SHORT = {"encoder": "without the enhancer", "untrained": "untrained encoder", "mean_sd": "mean and sd"}
FIGURES = {
    "silhouette": "silhouette (cosine)",
    "nearest_neighbour": "1-NN, source left out",
    "linear_probe": "linear probe, source left out",
    "nearest_neighbour_person": "1-NN, person left out",
    "linear_probe_person": "linear probe, person left out",
}


def draw(made: StyleMap) -> Image:
    """The whole picture, RGB [H, 2000, 3]."""
    items = made.codes.items
    labels = sorted({item.label for item in items})
    by_label = dict(zip(labels, drawing.marks(len(labels)), strict=True))
    look = [by_label[item.label] for item in items]
    rows = -(-(len(labels)) // 2)
    right = MARGIN + LARGE + GAP
    body = TOP + max(LARGE, 2 * STEP + (rows + 1) * LINE_HEIGHT)
    height = body + GAP + (len(TITLES) + 2 + len(made.codes.warnings)) * LINE_HEIGHT + MARGIN + 2 * LINE_HEIGHT
    picture = drawing.blank(height, WIDTH)
    _title(picture, made)
    _panel(picture, (MARGIN, TOP), LARGE, made.runs[0].xy, look, RADIUS)
    best = made.runs[0]
    drawing.write(
        picture, f"{TITLES['enhanced']}: seed {best.seed}, divergence {best.kl:.3f}", (MARGIN + 14, TOP + 24), TEXT
    )
    people = sorted({item.speaker for item in items})
    by_person = dict(zip(people, drawing.marks(len(people)), strict=True))
    small = [(SHORT[name], run, look) for name, run in made.others.items()]
    small += [(f"seed {run.seed}, divergence {run.kl:.3f}", run, look) for run in made.runs[1:]]
    if len(people) > 1:
        small.append(("left picture, a mark a person", best, [by_person[item.speaker] for item in items]))
    for k, (title, run, marks) in enumerate(small):
        left, top = right + k % COLUMNS * (SMALL + GAP), TOP + k // COLUMNS * STEP
        _panel(picture, (left, top), SMALL, run.xy, marks, 0.55 * RADIUS)
        drawing.write(picture, title, (left, top + SMALL + 18), 18, colour=drawing.FAINT)
    _legend(picture, by_label, made, (right, TOP + 2 * STEP + LINE_HEIGHT))
    _table(picture, made, body + GAP)
    return picture


def _title(picture: Image, made: StyleMap) -> None:
    items = made.codes.items
    clips, persons = len({item.path for item in items}), len({item.speaker for item in items} - {""})
    size = f"{clips} clips" + (f", {len(items)} windows" if len(items) > clips else "")
    people = f"{persons} persons" if persons > 1 else "one person" if persons else "persons not known"
    drawing.write(picture, f"Style codes: {size}, {people}", (MARGIN, 42), 34)
    sound = {"known": "with their sound", "unknown": "speech masked", "mixed": "some with sound, some without"}
    about = (
        f"t-SNE by cosine distance, perplexity {made.perplexity:.1f}, the best of {SEEDS} random starts, "
        f"{sound[made.codes.speech]}.",
        "Distances and sizes of clusters mean little: the figures below are taken in the embeddings.",
    )
    for k, line in enumerate(about):
        drawing.write(picture, line, (MARGIN, 84 + 32 * k), TEXT, colour=drawing.FAINT)


def _panel(picture: Image, corner: tuple[int, int], side: int, xy: Float64, look: list[Mark], radius: float) -> None:
    left, top = corner
    cv2.rectangle(picture, (left, top), (left + side, top + side), drawing.LINE, 1, cv2.LINE_AA)
    middle, half = (xy.max(0) + xy.min(0)) / 2, max(float(np.ptp(xy, axis=0).max()) / 2, 1e-9)
    places = (xy - middle) / half * (side / 2 - 4 * radius) + (left + side / 2, top + side / 2)
    for mark, (x, y) in zip(look, places.tolist(), strict=True):
        mark.draw(picture, (x, y), radius)


def _legend(picture: Image, by_label: dict[str, Mark], made: StyleMap, corner: tuple[int, int]) -> None:
    counts = [item.label for item in made.codes.items]
    for k, (label, mark) in enumerate(by_label.items()):
        x, y = corner[0] + k % 2 * LEGEND + 14, corner[1] + k // 2 * LINE_HEIGHT
        mark.draw(picture, (x, y), RADIUS)
        line = f"{drawing.shorten(label, LEGEND - 130, TEXT)}  ({counts.count(label)})"
        drawing.write(picture, line, (x + 28, y), TEXT)


def _table(picture: Image, made: StyleMap, top: int) -> None:
    y = float(top + LINE_HEIGHT)
    columns = [MARGIN + 420 + 300 * k for k in range(len(FIGURES))]
    for x, title in zip(columns, FIGURES.values(), strict=True):
        drawing.write(picture, title, (x, y), 20, colour=drawing.FAINT)
    for name, title in TITLES.items():
        y += LINE_HEIGHT
        drawing.write(picture, title, (MARGIN, y), TEXT)
        for x, figure in zip(columns, FIGURES, strict=True):
            drawing.write(picture, cell(made.figures[name][figure]), (x, y), TEXT)
    y += LINE_HEIGHT
    about = (
        "In brackets: mean of shuffled labels; p: share of shuffles at least as good. The last two rows are baselines."
    )
    drawing.write(picture, about, (MARGIN, y), 18, colour=drawing.FAINT)
    for warning in made.codes.warnings:
        y += LINE_HEIGHT
        drawing.write(picture, warning, (MARGIN, y), 18, colour=(170, 60, 0))


def cell(figure: Separation) -> str:
    """A figure as text: value, chance, p."""
    if figure.value is None or figure.chance is None or figure.p is None:
        return f"– ({figure.reason})"
    return f"{figure.value:.2f} ({figure.chance:.2f})  p {figure.p:.3f}".replace("p 0.", "p .")

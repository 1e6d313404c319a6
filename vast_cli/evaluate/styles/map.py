"""Map of style codes by t-SNE, with the figures that say whether it shows anything (paper, Fig. 6).

The picture is no evidence: the figures beside it are taken in the embeddings themselves, against shuffled labels and
against two codes that nobody trained.
"""

import warnings as warnings_module
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import media
from vast_cli.core import files
from vast_cli.core.arrays import Float64
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.styles import codes as style_codes
from vast_cli.evaluate.styles import labels as style_labels
from vast_cli.evaluate.styles import separation
from vast_cli.evaluate.styles.separation import Points, Separation
from vast_cli.pipeline.models import Models

SCHEMA = "vast.style_map/1"
SEEDS = 3
MIN_CODES = 6  # fewer make no map
MAX_PERPLEXITY = 30.0
NO_TRACK = "no_track"  # a style file holds no expressions to take a baseline from


@dataclass(frozen=True)
class Projection:
    """One run of t-SNE."""

    seed: int
    kl: float  # divergence that is left
    xy: Float64  # [n, 2]


@dataclass(frozen=True)
class StyleMap:
    """Everything a map shows."""

    codes: style_codes.Codes
    perplexity: float
    runs: list[Projection]  # of the enhanced codes, the least divergence first
    others: dict[str, Projection]  # of the other embeddings, best of the seeds
    figures: dict[str, dict[str, Separation]]  # embedding -> figure
    seed: int
    window_s: float | None

    def document(self) -> dict[str, Any]:
        """The map as JSON."""
        items = self.codes.items
        shown = self.runs[0]
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "n_codes": len(items),
            "n_clips": len({item.path for item in items}),
            "n_sources": len({item.source for item in items}),
            "n_speakers": len({item.speaker for item in items} - {""}),
            "labels": dict(sorted(Counter(item.label for item in items).items())),
            "window_s": self.window_s,
            "speech": self.codes.speech,
            "tsne": {
                "perplexity": self.perplexity,
                "shown": shown.seed,
                "runs": [{"seed": run.seed, "kl": run.kl} for run in self.runs],
            },
            "embeddings": {
                name: {figure: asdict(value) for figure, value in row.items()} for name, row in self.figures.items()
            },
            "codes": [
                {
                    "path": str(item.path),
                    "label": item.label,
                    "speaker": item.speaker or None,
                    "source": item.source,
                    "start_s": item.start_s,
                    "x": round(float(x), 3),
                    "y": round(float(y), 3),
                }
                for item, (x, y) in zip(items, shown.xy, strict=True)
            ],
            "warnings": self.codes.warnings,
        }


def check_installed() -> None:
    """Fail early where scikit-learn is absent.

    Raises:
        VastError: `vast_extra_missing`.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise VastError(
            "vast_extra_missing",
            "a style map needs scikit-learn, which is not installed",
            hint="python -m pip install 'vast-avatar[evaluate]'",
        ) from None


def map_styles(
    clips: Sequence[Path],
    labels: Path,
    *,
    models: Models | None = None,
    window_s: float | None = None,
    which: str = "largest",
    permutations: int = separation.N_PERMUTATIONS,
    seed: int = 0,
    progress: Progress = silent,
) -> StyleMap:
    """Encode labelled clips and measure how far their labels lie apart.

    Args:
        clips: videos, tracks, style files, or folders of them.
        labels: table of `style_labels.Labels`.
        models: shared networks.
        window_s: cut clips into windows; those of one source never lie on both sides of a split.
        which: face of the videos.
        permutations: shuffled labellings behind every p.
        seed: of t-SNE, the untrained encoder and the shuffles.
        progress: told of clips and figures.

    Raises:
        VastError: `vast_extra_missing` without scikit-learn, `vast_option_invalid` with too few clips, and those of
            reading the clips and the table.
    """
    check_installed()
    codes = style_codes.encode_clips(
        style_labels.expand(clips),
        style_labels.Labels(labels),
        models or Models(),
        window_s=window_s,
        which=which,
        seed=seed,
        progress=progress,
    )
    n = len(codes.items)
    if n < MIN_CODES or len({item.label for item in codes.items}) < 2:
        raise VastError(
            "vast_option_invalid",
            f"{n} codes with {len({item.label for item in codes.items})} labels make no map",
            hint=f"give {MIN_CODES} clips or more with two labels or more",
        )
    _warn(codes)
    vectors = {
        name: np.stack([item.vectors[name] for item in codes.items])
        for name in style_codes.EMBEDDINGS
        if all(name in item.vectors for item in codes.items)
    }
    perplexity = min(MAX_PERPLEXITY, (n - 1) / 3)
    total, done = len(style_codes.EMBEDDINGS) * 5 + len(vectors), 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress("figures", min(done, total), total)

    runs = {}
    for name, values in vectors.items():
        runs[name] = project(values, perplexity=perplexity, seeds=range(seed, seed + SEEDS))
        tick()
    figures = {
        name: measure(codes.items, vectors.get(name), permutations=permutations, seed=seed, tick=tick)
        for name in style_codes.EMBEDDINGS
    }
    others = {name: found[0] for name, found in runs.items() if name != "enhanced"}
    return StyleMap(codes, perplexity, runs["enhanced"], others, figures, seed, window_s)


def _warn(codes: style_codes.Codes) -> None:
    speakers = {item.speaker for item in codes.items}
    if len(speakers) < 2:
        codes.warnings.append(
            "one person: this shows labels within a person, not across people"
            if speakers != {""}
            else "the persons are not known (column `speaker`): labels and persons cannot be told apart"
        )
    sources: dict[str, set[str]] = {}
    for item in codes.items:
        sources.setdefault(item.label, set()).add(item.source)
    lonely = sorted(label for label, found in sources.items() if len(found) < 2)
    if lonely:
        codes.warnings.append(
            f"one source only shows {', '.join(lonely)}: with it left out the label cannot be recognised"
        )


def project(values: Float64, *, perplexity: float, seeds: Sequence[int]) -> list[Projection]:
    """t-SNE by cosine distance from random starts, the run with the least divergence first."""
    from sklearn.manifold import TSNE

    found = []
    for seed in seeds:
        machine = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed)
        with warnings_module.catch_warnings():  # of libraries that count cores
            warnings_module.simplefilter("ignore")
            xy = np.asarray(machine.fit_transform(values), np.float64)
        found.append(Projection(seed, float(machine.kl_divergence_), xy))
    return sorted(found, key=lambda run: run.kl)


def measure(
    items: Sequence[style_codes.Code],
    values: Float64 | None,
    *,
    permutations: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Separation]:
    """Silhouette, 1-nearest neighbour and linear probe of one embedding [n, d]; the last two with every source left
    out, and with every person left out where all persons are known."""
    unit = separation.indices([f"{item.path}\0{item.label}" for item in items])[0]
    if values is None:
        nothing = Separation(None, None, None, int(unit.max()) + 1, NO_TRACK)
        names = ("silhouette", "nearest_neighbour", "linear_probe", "nearest_neighbour_person", "linear_probe_person")
        return dict.fromkeys(names, nothing)
    points = Points(values, separation.indices([item.label for item in items])[0], unit)
    result = {"silhouette": separation.silhouette(points, permutations=permutations, seed=seed)}
    tick()
    for ending, groups in (("", [item.source for item in items]), ("_person", _persons(items))):
        for name, figure in FIGURES.items():
            result[name + ending] = figure(points, separation.indices(groups)[0], permutations=permutations, seed=seed)
            tick()
    return result


FIGURES: dict[str, Callable[..., Separation]] = {
    "nearest_neighbour": separation.nearest_neighbour,
    "linear_probe": separation.linear_probe,
}


def _persons(items: Sequence[style_codes.Code]) -> list[str]:
    """Speakers; all one group, so that there is no figure, if one is not known."""
    names = [item.speaker for item in items]
    return names if all(names) else [""] * len(names)


def write(made: StyleMap, output: Path, *, overwrite: bool = False) -> None:
    """Draw the map as PNG.

    Raises:
        VastError: `vast_output_exists`, `vast_write_failed`, ...
    """
    from vast_cli.evaluate.styles.plot import draw

    files.check_output(output, overwrite=overwrite)
    media.write_png(output, draw(made), overwrite=overwrite)

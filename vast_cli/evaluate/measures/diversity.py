"""How much the face moves (Dvt), and how much of that is jitter and drift.

The distance of frames does not know order or smoothness: a frozen face with noise equals real speech. So jitter and
drift stand beside it, and the aim is the prompt's value, not the highest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.signal import butter, filtfilt
from scipy.spatial.distance import pdist

from vast_cli.core.arrays import Float64
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation.clip import Observation
from vast_cli.records import N_STRONG

WINDOW, STEP = 100, 50  # frames
CUT_HZ = 8.0
JITTER_SD = 0.5

_ORDER = (("half_amplitude", "real"),)
SPECS = (
    Spec("dvt_x", "Diversity", "Mean distance of two frames' expression, in standard deviations of the training "
         "corpus, over 4 s.", "sd", "nearer_prompt", order=_ORDER),
    Spec("dvt_x_st", "Diversity, lower face", "The same of the 85 components that follow speech.", "sd",
         "nearer_prompt", order=_ORDER),
    Spec("dvt_x_wk", "Diversity, upper face", "The same of the other 148.", "sd", "nearer_prompt", order=_ORDER),
    Spec("dvt_x_l2", "Diversity, plain", "Plain distance without units and filter, for other papers.", "units",
         "nearer_prompt", order=_ORDER),
    Spec("jitter_share", "Jitter", "Energy above 8 Hz over all.", "1", "lower", order=(("real", "jitter"),)),
    Spec("drift_share", "Drift", "Energy of straight lines over all, in 4 s.", "1", "lower"),
)  # fmt: skip
SET_SPECS = (
    Spec("dvt_set", "Diversity of the set", "Mean distance of two clips by mean and deviation of their expression, in "
         "standard deviations of the truth's.", "sd", "nearer_truth"),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Figures of the output; controls from the truth, or without one from the output, and the prompt's own."""
    made = clip.expression(clip.made)
    if made is None:
        return {spec.name: null("no_face") for spec in SPECS}
    if len(made) < WINDOW:
        return {spec.name: null("too_short", f"{len(made)} of {WINDOW} frames") for spec in SPECS}
    sd = clip.model.sd.astype(np.float64)
    real = None if clip.truth is None else clip.expression(clip.truth)
    base = made if real is None or len(real) < WINDOW else real
    scores = {} if base is made else {"real": _score(base, sd)}
    for name, make in _controls(clip.seed).items():
        scores[name] = _score(make(base), sd)
    for name, sight in (("prompt", clip.prompt), ("own", clip.footage)):
        values = None if sight is None else clip.expression(sight)
        if values is not None and len(values) >= WINDOW:
            scores[name] = _score(values, sd)
    mine = _score(made, sd)
    return {
        spec.name: reading(
            mine[spec.name], otherwise="no_face", controls={name: score[spec.name] for name, score in scores.items()}
        )
        for spec in SPECS
    }


def _controls(seed: int) -> dict[str, Callable[[Float64], Float64]]:
    random = np.random.default_rng(seed)
    return {
        "half_amplitude": lambda x: x.mean(0) + 0.5 * (x - x.mean(0)),
        "reversed": lambda x: x[::-1].copy(),
        "jitter": lambda x: x + random.normal(0, JITTER_SD, x.shape),
    }


def _score(x: Float64, sd: Float64) -> dict[str, float]:
    """All figures of an expression [n, 233] in units of `sd`, n >= 100."""
    smooth = low_pass(x)
    starts = range(0, len(x) - WINDOW + 1, STEP)

    def distance(values: Float64) -> float:
        whole = [pdist(values[start : start + WINDOW]).mean() for start in starts]
        return float(np.mean(whole))

    def rms(values: Float64) -> float:
        return distance(values) / float(np.sqrt(values.shape[1]))

    return {
        "dvt_x": rms(smooth),
        "dvt_x_st": rms(smooth[:, :N_STRONG]),
        "dvt_x_wk": rms(smooth[:, N_STRONG:]),
        "dvt_x_l2": distance(x * sd),
        "jitter_share": _share_above(x),
        "drift_share": float(np.mean([_drift(x[start : start + WINDOW]) for start in starts])),
    }


def low_pass(x: Float64) -> Float64:
    """Below 8 Hz: Butterworth of order 3, forwards and backwards."""
    b, a = butter(3, CUT_HZ / (FPS / 2))
    smooth: Float64 = filtfilt(b, a, x, axis=0)
    return smooth


def _share_above(x: Float64) -> float:
    """Energy above 8 Hz over all energy but that of the mean."""
    spectrum = np.square(np.abs(np.fft.rfft(x - x.mean(0), axis=0))).sum(1)
    above = np.fft.rfftfreq(len(x), 1 / FPS) > CUT_HZ
    total = float(spectrum.sum())
    return float(spectrum[above].sum() / total) if total > 0 else float("nan")


def _drift(x: Float64) -> float:
    """Energy of each component's straight line over all energy in a window."""
    time = np.arange(len(x)) - (len(x) - 1) / 2
    centred = x - x.mean(0)
    slope = time @ centred / (time @ time)
    total = float(np.square(centred).sum())
    return float((np.square(slope) * (time @ time)).sum() / total) if total > 0 else float("nan")


# --- sets -----------------------------------------------------------------------------------------------------------


def collect(clip: Observation) -> dict[str, Any]:
    """Mean and standard deviation of the expression: a clip as one point."""
    found = {}
    for name, sight in (("made", clip.made), ("truth", clip.truth)):
        values = None if sight is None else clip.expression(sight)
        if values is not None:
            found[name] = np.concatenate([values.mean(0), values.std(0)])
    return {"manner": found} if len(found) == 2 else {}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """As dance papers do: one feature vector a sequence, all pairs of sequences."""
    manners = [clip["manner"] for clip in collected if "manner" in clip]
    if len(manners) < 5:
        return {"dvt_set": null("too_few_clips", f"{len(manners)} of 5 clips with a truth")}
    truth, made = (np.stack([manner[name] for manner in manners]) for name in ("truth", "made"))
    mean, sd = truth.mean(0), np.maximum(truth.std(0), 1e-6)
    values = {name: float(pdist((x - mean) / sd).mean()) for name, x in (("made", made), ("truth", truth))}
    return {"dvt_set": Reading(values["made"], controls={"truth": values["truth"]}, n=len(manners))}

"""How much the face moves (Dvt), and how much of that is jitter and drift.

The distance of frames does not depend on order or smoothness: a frozen face with noise equals real speech. So jitter
and drift stand beside it, and the aim is the prompt's value, not the highest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.signal import butter, filtfilt
from scipy.spatial.distance import pdist

from vast_cli.core import timebase
from vast_cli.core.arrays import Float64
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.observation.clip import Observation
from vast_cli.records import N_STRONG, N_WEAK

WINDOW, STEP = 100, 50  # frames
WINDOW_S = timebase.seconds(WINDOW)
MIN_CLIPS = 5  # for `dvt_set`
CUT_HZ = 8.0
JITTER_SD = 0.5

_ORDER = (("half_amplitude", "real"),)
SPECS = (
    Spec("dvt_x", "Diversity", "Mean distance of two frames' expression, in standard deviations of the training "
         f"corpus, over {WINDOW_S:.0f} s.", "sd", "nearer_prompt", order=_ORDER),
    Spec("dvt_x_st", "Diversity, lower face", f"The same of the {N_STRONG} components that follow speech.", "sd",
         "nearer_prompt", order=_ORDER),
    Spec("dvt_x_wk", "Diversity, upper face", f"The same of the other {N_WEAK}.", "sd", "nearer_prompt", order=_ORDER),
    Spec("dvt_x_l2", "Diversity, plain", "Plain distance without units and filter, for other papers.", "units",
         "nearer_prompt", order=_ORDER),
    Spec("jitter_share", "Jitter", f"Energy above {CUT_HZ:g} Hz over all.", "1", "lower", order=(("real", "jitter"),)),
    Spec("drift_share", "Drift", f"Energy of straight lines over all, in {WINDOW_S:.0f} s.", "1", "lower"),
)  # fmt: skip
SET_SPECS = (
    Spec("dvt_set", "Diversity of the set", "Mean distance of two clips by mean and deviation of their expression, in "
         "standard deviations of the truth's.", "sd", "nearer_truth"),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Figures of the output; controls from the truth, or without one from the output, and the prompt's own."""
    output = clip.expression(clip.output.video)
    if output is None:
        return {spec.name: missing("no_face") for spec in SPECS}
    if len(output) < WINDOW:
        return {spec.name: missing("too_short", f"{len(output)} of {WINDOW} frames") for spec in SPECS}
    figures, controls = _figures(output, clip.model.sd.astype(np.float64)), _controls(clip, output)
    return {
        spec.name: reading(
            figures[spec.name],
            otherwise="no_face",
            controls={name: control[spec.name] for name, control in controls.items()},
        )
        for spec in SPECS
    }


def _controls(clip: Observation, output: Float64) -> dict[str, dict[str, float]]:
    """Figures of the truth, of its faulty copies, of the prompt and of the person's footage."""
    sd = clip.model.sd.astype(np.float64)
    truth = None if clip.truth is None else clip.expression(clip.truth.video)
    base = output if truth is None or len(truth) < WINDOW else truth
    controls = {} if base is output else {"real": _figures(base, sd)}
    for name, spoil in _faults(clip.seed).items():
        controls[name] = _figures(spoil(base), sd)
    for name, video in (("prompt", clip.prompt), ("own", None if clip.footage is None else clip.footage.video)):
        values = None if video is None else clip.expression(video)
        if values is not None and len(values) >= WINDOW:
            controls[name] = _figures(values, sd)
    return controls


def _faults(seed: int) -> dict[str, Callable[[Float64], Float64]]:
    random = np.random.default_rng(seed)
    return {
        "half_amplitude": lambda x: x.mean(0) + 0.5 * (x - x.mean(0)),
        "reversed": lambda x: x[::-1].copy(),
        "jitter": lambda x: x + random.normal(0, JITTER_SD, x.shape),
    }


def _figures(x: Float64, sd: Float64) -> dict[str, float]:
    """All figures of an expression [n, 233] in units of `sd`, n >= 100."""
    smooth = low_pass(x)
    starts = range(0, len(x) - WINDOW + 1, STEP)

    def distance(values: Float64) -> float:
        return float(np.mean([pdist(values[start : start + WINDOW]).mean() for start in starts]))

    def rms(values: Float64) -> float:
        return distance(values) / float(np.sqrt(values.shape[1]))

    return {
        "dvt_x": rms(smooth),
        "dvt_x_st": rms(smooth[:, :N_STRONG]),
        "dvt_x_wk": rms(smooth[:, N_STRONG:]),
        "dvt_x_l2": distance(x * sd),
        "jitter_share": _jitter_share(x),
        "drift_share": float(np.mean([_drift_share(x[start : start + WINDOW]) for start in starts])),
    }


def low_pass(x: Float64) -> Float64:
    """Below 8 Hz: Butterworth of order 3, forwards and backwards."""
    b, a = butter(3, CUT_HZ / (FPS / 2))
    smooth: Float64 = filtfilt(b, a, x, axis=0)
    return smooth


def _jitter_share(x: Float64) -> float:
    """Energy above 8 Hz over all energy but that of the mean."""
    spectrum = np.square(np.abs(np.fft.rfft(x - x.mean(0), axis=0))).sum(1)
    above = np.fft.rfftfreq(len(x), timebase.FRAME_S) > CUT_HZ
    total = float(spectrum.sum())
    return float(spectrum[above].sum() / total) if total > 0 else float("nan")


def _drift_share(x: Float64) -> float:
    """Energy of each component's straight line over all energy in a window."""
    time = np.arange(len(x)) - (len(x) - 1) / 2
    centred = x - x.mean(0)
    slope = time @ centred / (time @ time)
    total = float(np.square(centred).sum())
    return float((np.square(slope) * (time @ time)).sum() / total) if total > 0 else float("nan")


# --- sets -----------------------------------------------------------------------------------------------------------


def collect(clip: Observation) -> dict[str, Any]:
    """Mean and standard deviation of the expression: a clip as one point."""
    moments = {}
    for name, observed in (("made", clip.output), ("truth", clip.truth)):
        values = None if observed is None else clip.expression(observed.video)
        if values is not None:
            moments[name] = np.concatenate([values.mean(0), values.std(0)])
    return {"expression_moments": moments} if len(moments) == 2 else {}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """As dance papers do: one feature vector a sequence, all pairs of sequences."""
    moments = [clip["expression_moments"] for clip in collected if "expression_moments" in clip]
    if len(moments) < MIN_CLIPS:
        return {"dvt_set": missing("too_few_clips", f"{len(moments)} of {MIN_CLIPS} clips with a truth")}
    truth, output = (np.stack([clip[name] for clip in moments]) for name in ("truth", "made"))
    mean, sd = truth.mean(0), np.maximum(truth.std(0), 1e-6)
    values = {name: float(pdist((x - mean) / sd).mean()) for name, x in (("made", output), ("truth", truth))}
    return {"dvt_set": Reading(values["made"], controls={"truth": values["truth"]}, n=len(moments))}

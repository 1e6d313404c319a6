"""Similarity and sharpness of single frames: SSIM (Wang et al. 2004) and CPBD (Narvekar and Karam 2011)."""

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.measures.values import mean
from vast_cli.evaluate.observation.clip import Observation

_SSIM_ORDER = (("static_first", "static_mean", "delay_2", "reencoded"), ("mouth_swap", "reencoded"))
SPECS = (
    Spec(
        "ssim", "SSIM", "Similarity of the face crop to the truth; blind to the lips, so read it with the next two.",
        "1", "higher", "reencoded", "static_mean", (("static_first", "static_mean", "delay_2", "reencoded"),),
        needs="reference",
    ),
    Spec(
        "ssim_face", "SSIM, face", "The same inside the face.", "1", "higher", "reencoded", "static_mean", _SSIM_ORDER,
        needs="reference",
    ),
    Spec(
        "ssim_mouth", "SSIM, mouth", "The same around the lips.", "1", "higher", "reencoded", "static_mean",
        _SSIM_ORDER, needs="reference",
    ),
    Spec(
        "ssim_rgb7", "SSIM, colour, 7 x 7", "As some papers compute it; only to compare with them.", "1", "higher",
        needs="reference",
    ),
    Spec(
        "cpbd", "CPBD", "Share of edges too sharp to look blurred; noise raises it, so only nearness to the truth "
        "counts.", "1", "nearer_truth",
        order=(("blur_2", "blur_1", "reencoded"), ("truth", "blur_2_noise_5")),
    ),
    Spec(
        "cpbd_ratio", "CPBD over the truth's", "0.8 - 1.2 is good; above, suspect noise or oversharpening.", "1",
        "nearer_1", order=(("blur_2", "blur_1", "reencoded"), ("truth", "blur_2_noise_5")), needs="reference",
    ),
)  # fmt: skip


TRUTH_HINT = "give the true video with `--reference`"


def read(clip: Observation) -> dict[str, Reading]:
    """SSIM of each kind against the truth, CPBD alone and against the truth through our encoder."""
    readings: dict[str, Reading] = {}
    for name in ("ssim", "ssim_face", "ssim_mouth", "ssim_rgb7"):
        values = dict(clip.ssim.get(name, {}))
        value = values.pop("made", None)
        if clip.mismatch is not None:
            readings[name] = missing(clip.mismatch.reason, clip.mismatch.hint or TRUTH_HINT)
        elif value is None:
            readings[name] = missing("no_face", TRUTH_HINT)
        else:
            readings[name] = reading(value, otherwise="no_face", controls=values)
    return readings | _cpbd(clip)


def _cpbd(clip: Observation) -> dict[str, Reading]:
    frames = clip.output.frames
    if frames is None or "made" not in frames.cpbd:
        no_face = missing("no_face")
        return {"cpbd": no_face, "cpbd_ratio": no_face}
    value = _mean(frames.cpbd["made"])
    controls, reencoded = _cpbd_controls(clip)
    readings = {"cpbd": reading(value, otherwise="no_edges", controls=controls)}
    if clip.mismatch is not None:
        readings["cpbd_ratio"] = missing(clip.mismatch.reason, clip.mismatch.hint or TRUTH_HINT)
    elif "reencoded" not in controls:
        readings["cpbd_ratio"] = missing("not_asked", "its divisor is a control: leave `--no-controls` out")
    elif value is None or not reencoded:
        readings["cpbd_ratio"] = missing("no_edges")
    else:
        ratios = {name: None if other is None else other / reencoded for name, other in controls.items()}
        readings["cpbd_ratio"] = reading(value / reencoded, otherwise="no_edges", controls=ratios)
    return readings


def _cpbd_controls(clip: Observation) -> tuple[dict[str, float | None], float | None]:
    """CPBD of the truth and its faulty copies; that of the truth through our encoder, which the ratio divides by."""
    controls: dict[str, float | None] = {}
    if clip.truth is not None and clip.truth.frames is not None:
        controls = {name.replace("made", "truth"): _mean(values) for name, values in clip.truth.frames.cpbd.items()}
    if clip.reencoded is not None and clip.reencoded.frames is not None:
        controls["reencoded"] = _mean(clip.reencoded.frames.cpbd.get("made"))
    return controls, controls.get("reencoded")


def _mean(values: Float64 | None) -> float | None:
    return None if values is None else mean(values)

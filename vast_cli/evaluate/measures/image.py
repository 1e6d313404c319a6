"""Likeness and sharpness of single pictures: SSIM (Wang et al. 2004) and CPBD (Narvekar and Karam 2011)."""

import numpy as np

from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation.clip import Observation

_SSIM_ORDER = (("static_first", "static_mean", "delay_2", "reencoded"), ("mouth_swap", "reencoded"))
SPECS = (
    Spec(
        "ssim", "SSIM", "Likeness of the face crop to the truth; blind to the lips, so read it with the next two.",
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
    found: dict[str, Reading] = {}
    for name in ("ssim", "ssim_face", "ssim_mouth", "ssim_rgb7"):
        values = dict(clip.ssim.get(name, {}))
        value = values.pop("made", None)
        if clip.unpaired is not None or value is None:
            found[name] = null(clip.unpaired or "no_face", clip.unpaired_hint or TRUTH_HINT)
        else:
            found[name] = reading(value, otherwise="no_face", controls=values)
    return found | _cpbd(clip)


def _cpbd(clip: Observation) -> dict[str, Reading]:
    made = clip.portraits.get("made")
    if made is None or "made" not in made.cpbd:
        missing = null("no_face")
        return {"cpbd": missing, "cpbd_ratio": missing}
    controls: dict[str, float | None] = {}
    if "truth" in clip.portraits:
        controls = {
            name.replace("made", "truth"): mean(values) for name, values in clip.portraits["truth"].cpbd.items()
        }
    again = None
    if "reencoded" in clip.portraits:
        again = controls["reencoded"] = mean(clip.portraits["reencoded"].cpbd.get("made"))
    value = mean(made.cpbd["made"])
    found = {"cpbd": reading(value, otherwise="no_edges", controls=controls)}
    if clip.unpaired is not None:
        found["cpbd_ratio"] = null(clip.unpaired, clip.unpaired_hint or TRUTH_HINT)
    elif "reencoded" not in clip.portraits:
        found["cpbd_ratio"] = null("not_asked", "its yardstick is a control: leave `--no-controls` out")
    elif value is None or not again:
        found["cpbd_ratio"] = null("no_edges")
    else:
        ratios = {name: None if other is None else other / again for name, other in controls.items()}
        found["cpbd_ratio"] = reading(value / again, otherwise="no_edges", controls=ratios)
    return found


def mean(values: "np.ndarray | None") -> float | None:
    """Mean of those that are numbers; None if none is."""
    if values is None or not np.isfinite(values).any():
        return None
    return float(np.nanmean(values))

"""Whose face and whose manner: identity by a face descriptor, style by our own encoder, from the rendered video."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.core.arrays import Float32
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation.clip import Observation

SPECS = (
    Spec("identity_dist", "Identity distance", "Of the face descriptor to the mean of real footage; the aim is the "
         "truth's own value, not 0. One person: 0.14 - 0.19, others 0.39 and more.", "1", "nearer_truth",
         needs="footage or reference"),
)  # fmt: skip
SET_SPECS = (
    Spec("style_acc", "Manner recognised", "Share of clips whose manner, read from the rendered video, is nearest to "
         "their own prompt's of all prompts.", "1", "higher", floor="chance", order=(("chance", "made"),),
         needs="style reference"),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Distance of the output's descriptors to the mean of the footage's."""
    real = _real(clip)
    if real is None:
        return {"identity_dist": null("no_reference")}
    made = clip.portraits.get("made")
    centre, usual = real
    if made is None or not len(made.descriptors) or not len(centre):
        if not clip.has_descriptor or (clip.real is None and not len(centre)):
            hint = "`python -m pip install 'vast-avatar[evaluate]'` brings the face descriptor"
            return {"identity_dist": null("no_weights", hint)}
        return {"identity_dist": null("no_face")}
    controls: dict[str, float | None] = {"real": usual}
    if clip.footage is not None and "truth" in clip.portraits and len(clip.portraits["truth"].descriptors):
        controls["truth"] = away(clip.portraits["truth"].descriptors, centre)
    return {"identity_dist": reading(away(made.descriptors, centre), otherwise="no_face", controls=controls)}


def away(descriptors: Float32, centre: Float32) -> float:
    """Mean distance of descriptors [n, 128] to one of them [128]."""
    return float(np.linalg.norm(descriptors - centre, axis=1).mean())


def _real(clip: Observation) -> tuple[Float32, float | None] | None:
    """Mean descriptor of real footage, [128] or [0], and how far its own are from it."""
    if clip.real is not None:
        descriptors = clip.real[1].descriptors
        if not len(descriptors):
            return np.zeros(0, np.float32), None
        return descriptors.mean(0), away(descriptors, descriptors.mean(0))
    kept = clip.pair.footage_statistics
    return None if kept is None else (np.array(kept.descriptor, np.float32), kept.identity_dist)


def collect(clip: Observation) -> dict[str, Any]:
    """Style codes of output and prompt."""
    if set(clip.style) != {"made", "prompt"}:
        return {}
    return {"style": {**clip.style, "name": str(clip.pair.style_reference)}}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """How often the right prompt is the nearest; the control shuffles the prompts (its expectation, 1 / K)."""
    styles = [clip["style"] for clip in collected if "style" in clip]
    prompts = {style["name"]: style["prompt"] for style in styles}
    if not styles:
        return {"style_acc": null("no_reference", "give the prompts with `--style-reference`")}
    if len(prompts) < 2:
        return {"style_acc": null("too_few_clips", "two or more different prompts are needed")}
    names = list(prompts)
    codes = np.stack([prompts[name] for name in names])
    right = [names[int(np.linalg.norm(codes - style["made"], axis=1).argmin())] == style["name"] for style in styles]
    controls: dict[str, float | None] = {"chance": 1 / len(names), "prompts": float(len(names))}
    return {"style_acc": Reading(float(np.mean(right)), controls=controls, n=len(styles))}

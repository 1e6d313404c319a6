"""Identity by a face descriptor, and style by our own encoder, both from the rendered video."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.core.arrays import Float32
from vast_cli.core.limits import LIMITS
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.observation.clip import Observation

# 60 clips of 33 people: 95 % of a person's other clips are nearer than the first, no other person than the second
_SAME_PERSON, _OTHER_PERSON = LIMITS["identity_dist"].warn[1], LIMITS["identity_dist"].fail[1]
SPECS = (
    Spec("identity_dist", "Identity distance", "Of the face descriptor to the mean of real footage; the aim is the "
         "truth's own value, not 0: 0.14 - 0.19 within one clip. Other clips of the person reach "
         f"{_SAME_PERSON:.2f}, other people begin at {_OTHER_PERSON:.2f}.", "1", "nearer_truth",
         needs="footage or reference"),
)  # fmt: skip
SET_SPECS = (
    Spec("style_acc", "Style recognised", "Share of clips whose style, encoded from the rendered video, is nearest to "
         "their own prompt's of all prompts.", "1", "higher", floor="chance", order=(("chance", "made"),),
         needs="style reference"),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """Distance of the output's descriptors to the mean of the footage's."""
    real = _real_descriptor(clip)
    if real is None:
        return {"identity_dist": missing("no_reference")}
    mean_descriptor, usual = real
    frames, truth = clip.output.frames, None if clip.truth is None else clip.truth.frames
    if frames is None or not len(frames.descriptors) or not len(mean_descriptor):
        if not clip.has_descriptor or (clip.real is None and not len(mean_descriptor)):
            hint = "`python -m pip install 'vast-avatar[evaluate]'` brings the face descriptor"
            return {"identity_dist": missing("no_weights", hint)}
        return {"identity_dist": missing("no_face")}
    controls: dict[str, float | None] = {"real": usual}
    if clip.footage is not None and truth is not None and len(truth.descriptors):
        controls["truth"] = mean_distance(truth.descriptors, mean_descriptor)
    distance = mean_distance(frames.descriptors, mean_descriptor)
    return {"identity_dist": reading(distance, otherwise="no_face", controls=controls)}


def mean_distance(descriptors: Float32, centre: Float32) -> float:
    """Mean distance of descriptors [n, 128] to one of them [128]."""
    return float(np.linalg.norm(descriptors - centre, axis=1).mean())


def _real_descriptor(clip: Observation) -> tuple[Float32, float | None] | None:
    """Mean descriptor of real footage, [128] or [0], and the mean distance of its own descriptors to it."""
    real = clip.real
    if real is not None and real.frames is not None:
        descriptors = real.frames.descriptors
        if not len(descriptors):
            return np.zeros(0, np.float32), None
        return descriptors.mean(0), mean_distance(descriptors, descriptors.mean(0))
    statistics = clip.pair.footage_statistics
    return None if statistics is None else (np.array(statistics.descriptor, np.float32), statistics.identity_dist)


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
        return {"style_acc": missing("no_reference", "give the prompts with `--style-reference`")}
    if len(prompts) < 2:
        return {"style_acc": missing("too_few_clips", "two or more different prompts are needed")}
    names = list(prompts)
    codes = np.stack([prompts[name] for name in names])
    right = [names[int(np.linalg.norm(codes - style["made"], axis=1).argmin())] == style["name"] for style in styles]
    controls: dict[str, float | None] = {"chance": 1 / len(names), "prompts": float(len(names))}
    return {"style_acc": Reading(float(np.mean(right)), controls=controls, n=len(styles))}

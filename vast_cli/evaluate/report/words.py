"""Words of the report: families of measures, directions, units, and reasons of missing figures."""

from typing import Any, Final

from vast_cli.evaluate.measures import spec

# measures of a family say much the same, so the rank of a clip counts only the worst of each
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "Image": ("ssim", "cpbd", "sharpness", "fid", "fd_", "kid_", "seam"),
    "Lips": ("lmd", "lip_gain", "bilabial", "silence"),
    "Sync": ("lagsync", "lip_audio_lag", "sync", "av_length"),
    "Words": ("wer", "cer", "grid_wer"),
    "Motion": ("dvt", "jitter_share", "drift_share", "lip_accel", "blink", "flicker", "limited"),
    "Identity and style": ("identity", "fd_id", "style", "emotion"),
    "Frames": ("frames", "black", "frozen", "face_lost"),
    "People": ("mos_",),
}
OTHER: Final = "Other"

REASONS: Final[dict[str, str]] = {
    "no_reference": "there is no true video to compare with",
    "no_footage": "the avatar's own footage was never measured",
    "no_weights": "the network it needs was not given",
    "no_transcript": "there is no transcript",
    "no_face": "no face was found in too many frames",
    "no_speech": "there is less than a second of speech",
    "no_silence": "there is no silence long enough",
    "no_edges": "the image has no edge to measure",
    "no_judges": "nobody has rated these clips",
    "too_few_clips": "there are too few clips for this",
    "too_few_frames": "there are too few frames for this",
    "too_short": "the clip is too short for this",
    "length_mismatch": "output and truth differ in size or length",
    "not_25fps": "the video does not run at 25 frames a second",
    "style_differs": "the requested style is not that of the truth, so the distance to it means nothing",
    "control_failed": "its controls came out in the wrong order on this set, so it cannot tell good from bad here",
    "judge_was_trainer": "the network of this measure was part of the training",
    "not_asked": "it was not asked for",
}

BETTER: Final[dict[str, str]] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "nearer_truth": "nearer to the truth is better",
    "nearer_prompt": "nearer to the prompt is better",
    "nearer_1": "nearer to 1 is better",
    "nearer_0": "nearer to 0 is better",
    "in_range": "should stay in its range",
    "none": "neither high nor low is better",
}

# the first of these with values are shown beside each clip's name
KEY_MEASURES: Final = (
    "ssim_mouth",
    "lmd_mouth",
    "lagsync_margin",
    "lagsync_lag",
    "lip_gain",
    "cpbd_ratio",
    "identity_dist",
    "dvt_x_st",
    "ssim",
    "lmd",
    "cpbd",
)


def family_of(name: str) -> str:
    """The family of a measure, by the longest prefix that fits."""
    matches = [(len(prefix), family) for family, prefixes in FAMILIES.items() for prefix in prefixes
             if name.startswith(prefix)]  # fmt: skip
    return max(matches)[1] if matches else OTHER


def family_order(family: str) -> int:
    """Position of a family in the table."""
    order = list(FAMILIES)
    return order.index(family) if family in order else len(order)


def reason_text(reason: str | None) -> str | None:
    """The reason of a missing figure in words; an unknown one as it is."""
    return None if reason is None else REASONS.get(reason, reason.replace("_", " "))


def hint_text(code: str | None, hint: str | None) -> str | None:
    """A hint, if it adds something to the words of the reason: what to give or do."""
    if not hint or (hint == spec.REASONS.get(str(code)) and not hint.startswith("give ")) or code == "control_failed":
        return None
    return str(hint)


def unit_text(unit: object) -> str:
    """A unit as the page prints it after a figure."""
    return "" if unit in (None, "", "1", 1) else {"px256": "px", "1/min": "/min"}.get(str(unit), str(unit))


def title_of(name: str, measure: dict[str, Any]) -> str:
    """A measure's title; its name in words if it has none."""
    title = measure.get("title")
    return str(title) if title else name.replace("_", " ")

"""Landmark distance (LMD) of whole face and mouth, and how the opening of the lips follows the truth.

The output's points are aligned with the truth's by the similarity of the 13 points that do not move with speech; a face
that never moves its mouth scores well here, so the distance never stands without `static_mean` and `lip_gain`.
"""

from collections.abc import Callable

import numpy as np

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.clip import Observation

JITTER_PX = 0.5
_ORDER = (("reencoded", "delay_2", "static_mean", "static_first"),)


def _distance(name: str, title: str, about: str, unit: str = "px256") -> Spec:
    return Spec(name, title, about, unit, "lower", "reencoded", "static_mean", _ORDER, needs="reference")


SPECS = (
    _distance("lmd", "Landmark distance", "Mean over 68 points, pixels of a 256 px crop."),
    _distance(
        "lmd_mouth", "Landmark distance, mouth", "The same over 20 lip points; a face that never moves its mouth "
        "beats one that moves it wrongly, so look at the lip gain too.",
    ),
    _distance("lmd_eye", "Landmark distance over eye distance", "LMD in % of the outer eye distance.", "%"),
    _distance("lmd_mouth_eye", "Mouth distance over eye distance", "The mouth's in % of the outer eye distance.", "%"),
    _distance("lmd_all68", "LMD, aligned by all points", "To compare with papers that align by all 68 points."),
    _distance(
        "lmd_mouth_all68", "LMD mouth, aligned by all points", "To compare with papers that align by all 68 points."
    ),
    Spec(
        "lmd_mouth_corr", "Lip opening, correlation", "Of the lip gap of output and truth.", "1", "higher",
        "reencoded", "other_motion", (("other_motion", "delay_2", "reencoded"),), needs="reference",
    ),
    Spec(
        "lip_gain", "Lip opening, gain", "Standard deviation of the lip gap over the truth's.", "1", "nearer_1",
        order=(("static_mean", "half_amplitude", "reencoded"),), needs="reference",
    ),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """All distances, with controls made of the truth's own points."""
    reason = "style_differs" if clip.pair.style_differs else clip.face_mismatch
    if reason is not None:
        hint = clip.mismatch.hint if clip.mismatch is not None and reason == clip.mismatch.reason else None
        if reason == "no_reference":
            hint = "give the true video with `--reference`"
        return {spec.name: missing(reason, hint) for spec in SPECS}
    figures = _all_figures(clip)
    output = figures.pop("made")
    return {
        spec.name: reading(
            output[spec.name],
            otherwise="no_face",
            controls={name: control[spec.name] for name, control in figures.items()},
        )
        for spec in SPECS
    }


def _all_figures(clip: Observation) -> dict[str, dict[str, float]]:
    """Figures of `made` and of all controls, over the frames in which output and truth show a face."""
    assert clip.truth is not None
    box = clip.truth.video.crop_box()
    assert box is not None
    both = clip.faces_in_both()
    truth = box.points(clip.truth.video.points[: len(both)][both])
    figures = {"made": _figures(box.points(clip.output.video.points[: len(both)][both]), truth)}
    if clip.reencoded is not None:
        reencoded = clip.reencoded.video.points[: len(both)][both]
        finite = np.isfinite(reencoded).all((1, 2))
        if finite.any():
            figures["reencoded"] = _figures(box.points(reencoded[finite]), truth[finite])
    for name, spoil in _faults(clip.seed).items():
        figures[name] = _figures(spoil(_without_head_motion(truth)), truth)
    return figures


def _figures(output: Float64, truth: Float64) -> dict[str, float]:
    """All measures of [n, 68, 2] against [n, 68, 2], pixels of the crop."""
    by_still_points = landmarks.similarity(output[:, landmarks.STILL], truth[:, landmarks.STILL])
    distance = np.linalg.norm(landmarks.move(output, *by_still_points) - truth, axis=-1)
    by_all_points = landmarks.similarity(output, truth)
    distance68 = np.linalg.norm(landmarks.move(output, *by_all_points) - truth, axis=-1)
    eyes = landmarks.eye_distance(truth)[:, None]
    output_gap, truth_gap = landmarks.lip_gap(output), landmarks.lip_gap(truth)
    both_move = output_gap.std() > 1e-9 and truth_gap.std() > 1e-9
    return {
        "lmd": float(distance.mean()),
        "lmd_mouth": float(distance[:, landmarks.MOUTH].mean()),
        "lmd_eye": float(100 * (distance / eyes).mean()),
        "lmd_mouth_eye": float(100 * (distance / eyes)[:, landmarks.MOUTH].mean()),
        "lmd_all68": float(distance68.mean()),
        "lmd_mouth_all68": float(distance68[:, landmarks.MOUTH].mean()),
        "lmd_mouth_corr": float(np.corrcoef(output_gap, truth_gap)[0, 1]) if both_move else float("nan"),
        "lip_gain": float(output_gap.std() / truth_gap.std()) if truth_gap.std() > 1e-9 else float("nan"),
    }


def _without_head_motion(points: Float64) -> Float64:
    """Every frame aligned with the clip's mean face by the points that do not move."""
    mean_face = points.mean(0, keepdims=True)
    for _ in range(3):
        still = np.broadcast_to(mean_face[:, landmarks.STILL], (len(points), len(landmarks.STILL), 2))
        aligned = landmarks.move(points, *landmarks.similarity(points[:, landmarks.STILL], still))
        mean_face = aligned.mean(0, keepdims=True)
    return aligned


def _faults(seed: int) -> dict[str, Callable[[Float64], Float64]]:
    """Motion without pose [n, 68, 2] -> the same with a fault."""
    random = np.random.default_rng(seed)

    def late(frames: int) -> Callable[[Float64], Float64]:
        return lambda x: np.concatenate([np.repeat(x[:1], min(frames, len(x)), 0), x[:-frames]])[: len(x)]

    return {
        "delay_2": late(2),
        "delay_5": late(5),
        "half_amplitude": lambda x: x.mean(0) + 0.5 * (x - x.mean(0)),
        "static_mean": lambda x: np.repeat(x.mean(0)[None], len(x), 0),
        "static_first": lambda x: np.repeat(x[:1], len(x), 0),
        "reversed": lambda x: x[::-1].copy(),
        "other_motion": lambda x: np.roll(x, len(x) // 2, 0),
        "jitter": lambda x: x + random.normal(0, JITTER_PX, x.shape),
    }

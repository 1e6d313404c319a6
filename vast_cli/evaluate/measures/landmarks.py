"""Landmark distance (LMD) of whole face and mouth, and how the opening of the lips follows the truth.

Points of the output are laid upon the truth's by the similarity of the 13 points that do not move with speech; a face
that never moves its mouth scores well here, so the distance never stands without `static_mean` and `lip_gain`.
"""

from collections.abc import Callable

import numpy as np

from vast_cli.core.arrays import Float64
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
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
    _distance("lmd_all68", "LMD, laid by all points", "To compare with papers that lay by all 68 points."),
    _distance("lmd_mouth_all68", "LMD mouth, laid by all points", "To compare with papers that lay by all 68 points."),
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
    reason = "style_differs" if clip.pair.style_differs else clip.unpaired_faces
    if reason is not None:
        hint = clip.unpaired_hint if reason == clip.unpaired else None
        if reason == "no_reference":
            hint = "give the true video with `--reference`"
        return {spec.name: null(reason, hint) for spec in SPECS}
    assert clip.truth is not None
    box = clip.truth.box()
    assert box is not None
    use = clip.paired_faces()
    truth = box.points(clip.truth.points[: len(use)][use])
    scores = {"made": _score(box.points(clip.made.points[: len(use)][use]), truth)}
    if clip.reencoded is not None:
        again = clip.reencoded.points[: len(use)][use]
        whole = np.isfinite(again).all((1, 2))
        if whole.any():
            scores["reencoded"] = _score(box.points(again[whole]), truth[whole])
    for name, make in _controls(clip.seed).items():
        scores[name] = _score(make(_canonical(truth)), truth)
    made = scores.pop("made")
    return {
        spec.name: reading(
            made[spec.name], otherwise="no_face", controls={name: score[spec.name] for name, score in scores.items()}
        )
        for spec in SPECS
    }


def _score(made: Float64, truth: Float64) -> dict[str, float]:
    """All measures of [n, 68, 2] against [n, 68, 2], pixels of the crop."""
    still = landmarks.similarity(made[:, landmarks.STILL], truth[:, landmarks.STILL])
    laid = np.linalg.norm(landmarks.move(made, *still) - truth, axis=-1)
    by_all = np.linalg.norm(landmarks.move(made, *landmarks.similarity(made, truth)) - truth, axis=-1)
    eyes = landmarks.eye_distance(truth)[:, None]
    mine, goal = landmarks.lip_gap(made), landmarks.lip_gap(truth)
    moves = mine.std() > 1e-9 and goal.std() > 1e-9
    return {
        "lmd": float(laid.mean()),
        "lmd_mouth": float(laid[:, landmarks.MOUTH].mean()),
        "lmd_eye": float(100 * (laid / eyes).mean()),
        "lmd_mouth_eye": float(100 * (laid / eyes)[:, landmarks.MOUTH].mean()),
        "lmd_all68": float(by_all.mean()),
        "lmd_mouth_all68": float(by_all[:, landmarks.MOUTH].mean()),
        "lmd_mouth_corr": float(np.corrcoef(mine, goal)[0, 1]) if moves else float("nan"),
        "lip_gain": float(mine.std() / goal.std()) if goal.std() > 1e-9 else float("nan"),
    }


def _canonical(points: Float64) -> Float64:
    """The head's motion taken out: every frame laid upon the clip's mean by the points that do not move."""
    goal = points.mean(0, keepdims=True)
    for _ in range(3):
        matrix, offset = landmarks.similarity(
            points[:, landmarks.STILL], np.broadcast_to(goal[:, landmarks.STILL], (len(points), 13, 2))
        )
        laid = landmarks.move(points, matrix, offset)
        goal = laid.mean(0, keepdims=True)
    return laid


def _controls(seed: int) -> dict[str, Callable[[Float64], Float64]]:
    """Motion without pose [n, 68, 2] -> what a fault would make of it."""
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

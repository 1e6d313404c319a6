"""Measures of published networks and of programs that the user supplies; null, never a stand-in, without them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.evaluate.external.lip_reader import wilson
from vast_cli.evaluate.external.syncnet import SyncScore
from vast_cli.evaluate.measures.frechet import frechet
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation.clip import Observation

_SYNC, _EMOTION = "--syncnet-weights FILE", '--emotion-model "CMD {video}"'
MIN_FRAMES = 2048  # of FID: as many as features

SPECS = (
    Spec("sync_dist", "SyncNet distance (LSE-D)", "Published network, boxes around our mesh; takes the best lag, so "
         "look at the offset.", "1", "nearer_truth", needs=_SYNC),
    Spec("sync_conf", "SyncNet confidence (LSE-C)", "Published network; takes the best lag, so look at the offset.",
         "1", "nearer_truth", needs=_SYNC),
    Spec("sync_offset", "SyncNet offset", "Frames that the picture is late.", "frames", "nearer_0", needs=_SYNC),
    Spec("sync_dist_lag0", "SyncNet distance in step", "Distance at lag 0.", "1", "nearer_truth", needs=_SYNC),
    Spec("emotion_acc", "Emotion recognised", "1 where the program sees in the output the emotion that it sees in the "
         "prompt (else in the truth).", "1", "higher", needs=_EMOTION),
    Spec("emotion_posterior", "Emotion, probability", "Of that emotion in the output.", "1", "higher", needs=_EMOTION),
)  # fmt: skip
SET_SPECS = (
    Spec("fid", "FID", "Frechet distance of the published Inception network's features.", "1", "lower",
         needs="--inception-weights FILE"),
    Spec("wer", "Word errors of a lip reader", "Over all words of the set.", "1", "lower",
         needs='--lip-reader "CMD {video}"'),
    Spec("cer", "Letter errors of a lip reader", "Over all letters of the set.", "1", "lower",
         needs='--lip-reader "CMD {video}"'),
    Spec("mos_sync", "Rated sync", "By people.", "1-5", "higher", needs="vast study"),
    Spec("mos_expr", "Rated expressiveness", "By people.", "1-5", "higher", needs="vast study"),
    Spec("mos_nat", "Rated naturalness", "By people.", "1-5", "higher", needs="vast study"),
)  # fmt: skip
MOS_HINT = "`vast study make` asks people"


def read(clip: Observation) -> dict[str, Reading]:
    """What the supplied judges say of one clip."""
    return _sync(clip) | _emotion(clip)


def _absent(spec: Spec) -> Reading:
    return null("no_weights", f"give it with `{spec.needs}`")


def _sync(clip: Observation) -> dict[str, Reading]:
    specs = [spec for spec in SPECS if spec.needs == _SYNC]
    verdicts = clip.verdicts
    if "made" not in verdicts.sync:
        reason = verdicts.sync_reason
        return {spec.name: _absent(spec) if reason is None else null(reason) for spec in specs}
    told = {name: _figures(score) for name, score in verdicts.sync.items()}
    made = told.pop("made")
    return {
        spec.name: reading(made[spec.name], otherwise="no_face", controls={k: v[spec.name] for k, v in told.items()})
        for spec in specs
    }


def _figures(score: SyncScore) -> dict[str, float]:
    return {
        "sync_dist": score.dist,
        "sync_conf": score.conf,
        "sync_offset": float(score.offset),
        "sync_dist_lag0": score.dist_lag0,
    }


def _emotion(clip: Observation) -> dict[str, Reading]:
    specs = [spec for spec in SPECS if spec.needs == _EMOTION]
    told = clip.verdicts.emotion
    if "made" not in told:
        return {spec.name: _absent(spec) for spec in specs}
    asked = told.get("prompt") or told.get("truth")
    if asked is None:
        return {spec.name: null("no_reference", "give the prompt with `--style-reference`") for spec in specs}
    wanted = max(asked, key=lambda label: asked[label])
    seen = max(told["made"], key=lambda label: told["made"][label])
    posterior = told["made"].get(wanted, 0.0)
    return {
        "emotion_acc": Reading(float(seen == wanted)),
        "emotion_posterior": Reading(posterior, controls={"prompt": asked[wanted]}),
    }


def collect(clip: Observation) -> dict[str, Any]:
    """Features of pictures, counts of words."""
    return {"inception": clip.verdicts.inception, "words": clip.verdicts.words, "models": clip.models}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """What they say of the set."""
    absent = {spec.name: _absent(spec) for spec in SET_SPECS}
    people = {name: null("no_judges", MOS_HINT) for name in ("mos_sync", "mos_expr", "mos_nat")}
    return absent | people | _fid(collected) | _words(collected)


def _fid(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    asked = [clip["inception"] for clip in collected if clip["inception"]]
    pairs = [clip for clip in asked if "truth" in clip]
    if not asked:
        return {}
    if not pairs:
        return {"fid": null("no_reference")}
    made, truth = (np.concatenate([clip[name] for clip in pairs]) for name in ("made", "truth"))
    n = min(len(made), len(truth))
    if n <= MIN_FRAMES:
        return {"fid": null("too_few_frames", f"{n} frames; more than {MIN_FRAMES} are needed on both sides")}
    return {"fid": Reading(frechet(made, truth, ridge=0.0), n=len(pairs))}


def _words(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    read = [clip["words"] for clip in collected if "made" in clip["words"]]
    if not read:
        asked = any("lip_reader" in clip["models"] for clip in collected)
        return {name: null("no_transcript") for name in ("wer", "cer")} if asked else {}
    found = {}
    for which, name in enumerate(("wer", "cer")):
        totals = {}
        for who in ("made", "truth"):
            counts = [clip[who][which] for clip in read if who in clip]
            if counts:
                totals[who] = sum(count.errors for count in counts), sum(count.total for count in counts)
        errors, total = totals["made"]
        truth = totals.get("truth")
        controls: dict[str, float | None] = {"total": float(total)}
        if truth is not None and truth[1]:
            controls["truth"] = truth[0] / truth[1]
        share = errors / total if total else float("nan")
        told = reading(share, otherwise="no_transcript", controls=controls)
        found[name] = Reading(told.value, told.reason, told.hint, told.controls, wilson(errors, total), len(read))
    return found

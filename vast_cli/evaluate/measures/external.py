"""Measures of published networks and of programs that the user brings; without them null, never a substitute."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vast_cli.evaluate.external.lip_reader import wilson
from vast_cli.evaluate.external.syncnet import SyncScore
from vast_cli.evaluate.measures.frechet import frechet
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.observation.clip import Observation

_SYNC, _EMOTION = "--syncnet-weights FILE", '--emotion-model "CMD {video}"'
MIN_FRAMES = 2048  # of FID: as many as features

SPECS = (
    Spec("sync_dist", "SyncNet distance (LSE-D)", "Published network, boxes around our mesh; takes the best lag, so "
         "look at the offset.", "1", "nearer_truth", needs=_SYNC),
    Spec("sync_conf", "SyncNet confidence (LSE-C)", "Published network; takes the best lag, so look at the offset.",
         "1", "nearer_truth", needs=_SYNC),
    Spec("sync_offset", "SyncNet offset", "Frames that the video is late.", "frames", "nearer_0", needs=_SYNC),
    Spec("sync_dist_lag0", "SyncNet distance in step", "Distance at lag 0.", "1", "nearer_truth", needs=_SYNC),
    Spec("emotion_acc", "Emotion recognised", "1 where the program gives the output the same emotion as the prompt "
         "(else the truth).", "1", "higher", needs=_EMOTION),
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
MOS_HINT = "`vast study make` makes a page for raters"


def read(clip: Observation) -> dict[str, Reading]:
    """The external models' figures of one clip."""
    return _sync(clip) | _emotion(clip)


def _not_given(spec: Spec) -> Reading:
    return missing("no_weights", f"give it with `{spec.needs}`")


def _sync(clip: Observation) -> dict[str, Reading]:
    specs = [spec for spec in SPECS if spec.needs == _SYNC]
    scores = clip.external.sync
    if "made" not in scores:
        reason = clip.external.sync_reason
        return {spec.name: _not_given(spec) if reason is None else missing(reason) for spec in specs}
    figures = {name: _figures(score) for name, score in scores.items()}
    output = figures.pop("made")
    return {
        spec.name: reading(
            output[spec.name],
            otherwise="no_face",
            controls={name: control[spec.name] for name, control in figures.items()},
        )
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
    emotions = clip.external.emotion
    if "made" not in emotions:
        return {spec.name: _not_given(spec) for spec in specs}
    reference = emotions.get("prompt") or emotions.get("truth")
    if reference is None:
        return {spec.name: missing("no_reference", "give the prompt with `--style-reference`") for spec in specs}
    output = emotions["made"]
    expected = max(reference, key=lambda label: reference[label])
    recognised = max(output, key=lambda label: output[label])
    return {
        "emotion_acc": Reading(float(recognised == expected)),
        "emotion_posterior": Reading(output.get(expected, 0.0), controls={"prompt": reference[expected]}),
    }


def collect(clip: Observation) -> dict[str, Any]:
    """Features of frames, counts of word errors, names of models."""
    return {"inception": clip.external.inception, "words": clip.external.words, "models": clip.models}


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """The external models' figures of the set."""
    not_given = {spec.name: _not_given(spec) for spec in SET_SPECS}
    ratings = {name: missing("no_judges", MOS_HINT) for name in ("mos_sync", "mos_expr", "mos_nat")}
    return not_given | ratings | _fid(collected) | _word_errors(collected)


def _fid(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    features = [clip["inception"] for clip in collected if clip["inception"]]
    pairs = [clip for clip in features if "truth" in clip]
    if not features:
        return {}
    if not pairs:
        return {"fid": missing("no_reference")}
    output, truth = (np.concatenate([clip[name] for clip in pairs]) for name in ("made", "truth"))
    n = min(len(output), len(truth))
    if n <= MIN_FRAMES:
        return {"fid": missing("too_few_frames", f"{n} frames; more than {MIN_FRAMES} are needed on both sides")}
    return {"fid": Reading(frechet(output, truth, ridge=0.0), n=len(pairs))}


def _word_errors(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    clips = [clip["words"] for clip in collected if "made" in clip["words"]]
    if not clips:
        requested = any("lip_reader" in clip["models"] for clip in collected)
        return {name: missing("no_transcript") for name in ("wer", "cer")} if requested else {}
    readings = {}
    for index, name in enumerate(("wer", "cer")):
        totals = {}
        for video in ("made", "truth"):
            counts = [clip[video][index] for clip in clips if video in clip]
            if counts:
                totals[video] = sum(count.errors for count in counts), sum(count.total for count in counts)
        errors, total = totals["made"]
        truth = totals.get("truth")
        controls: dict[str, float | None] = {"total": float(total)}
        if truth is not None and truth[1]:
            controls["truth"] = truth[0] / truth[1]
        rate = errors / total if total else float("nan")
        result = reading(rate, otherwise="no_transcript", controls=controls)
        interval = wilson(errors, total)
        readings[name] = Reading(result.value, result.reason, result.hint, result.controls, interval, len(clips))
    return readings

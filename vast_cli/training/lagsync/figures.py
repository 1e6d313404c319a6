"""Figures of LagSync on clips: those that choose its weights, and those of its card."""

from collections.abc import Sequence

import numpy as np
import torch

from vast_cli.core.arrays import Bools, Float32
from vast_cli.sync.audio import normalise, windows
from vast_cli.sync.lagsync import LagSync
from vast_cli.sync.network import FRAMES
from vast_cli.sync.score import LagScore, score
from vast_cli.training.lagsync.batches import centre_mouths
from vast_cli.training.lagsync.corpus import LagSyncClip

PIECE = 100  # frames, 4 s

Embedded = tuple[LagSyncClip, Float32, Float32, Bools]  # clip, mouths, audio [n - 4, d] each, valid windows [n - 4]
Scores = tuple[LagScore, LagScore | None]  # with the clip's own audio, with another clip's


def embed(model: LagSync, clip: LagSyncClip) -> tuple[Float32, Float32]:
    """Mouths and audio of a clip, [n - 4, d] each."""
    features = torch.from_numpy(np.ascontiguousarray(windows(normalise(clip.audio), clip.n_frames)))
    with torch.inference_mode():
        audio = torch.cat([model.network.sound(part) for part in torch.split(features, 512)]).numpy()
    return model.embed_mouth(centre_mouths(clip.crops)), audio


def dev_figures(model: LagSync, clips: Sequence[LagSyncClip]) -> dict[str, float]:
    """Figures over pieces of 4 s (whole clips where they are shorter), and `figure`, the `acc` of talk, to choose by.

    `lag1`: share within a frame of lag 0; `acc`: that of stretches of 25 frames; `margin`, `other`: mean margins with
    the clip's own audio and another's; `other_lower`: share of pieces where the own one is larger.
    """
    embedded: list[Embedded] = [(clip, *embed(model, clip), clip.windows) for clip in clips]
    scores: dict[str, list[Scores]] = {}
    for k, clip in enumerate(embedded):
        others = embedded[k + 1 :] + embedded[:k]
        other = next((e[2] for e in others if e[0].speaker != clip[0].speaker), None)
        pieces = _score_pieces(clip, other)
        if pieces:
            scores.setdefault(clip[0].set, []).extend(pieces)
    report: dict[str, float] = {}
    for name, pairs in scores.items():
        report |= _summary(name, pairs)
    main = "talk" if "talk" in scores else next(iter(scores), "")
    report["figure"] = report.get(f"{main}_acc", report.get(f"{main}_lag1", 0.0))
    return {name: round(value, 4) for name, value in report.items()}


def _score_pieces(embedded: Embedded, other: Float32 | None) -> list[Scores]:
    """Scores of a clip's pieces; `other` is the audio of another speaker's clip."""
    clip, mouth, audio, valid = embedded
    step = PIECE if clip.n_frames >= PIECE else clip.n_frames
    scores: list[Scores] = []
    for first in range(0, clip.n_frames - step + 1, step):
        part = slice(first, first + step - FRAMES + 1)
        own = score(mouth[part], audio[part], valid=valid[part])
        if own is None:
            continue
        length = part.stop - first
        if other is None or len(other) < length:
            scores.append((own, None))
        else:
            scores.append((own, score(mouth[part], other[:length], valid=valid[part])))
    return scores


def _summary(name: str, pairs: list[Scores]) -> dict[str, float]:
    owns = [own for own, _ in pairs]
    both = [(own.margin, other.margin) for own, other in pairs if other is not None]
    accuracies = [own.acc for own in owns if own.acc is not None]
    report: dict[str, float] = {
        f"{name}_n": len(owns),
        f"{name}_lag1": float(np.mean([abs(own.lag) <= 1 for own in owns])),
        f"{name}_margin": float(np.mean([own.margin for own in owns])),
    }
    if accuracies:
        report[f"{name}_acc"] = float(np.mean(accuracies))
    if both:
        report[f"{name}_other"] = float(np.mean([other for _, other in both]))
        report[f"{name}_other_lower"] = float(np.mean([own > other for own, other in both]))
    return report

"""How well LagSync does on clips: the figures that choose its weights, and those of its card."""

from collections.abc import Sequence

import numpy as np
import torch

from vast_cli.core.arrays import Float32
from vast_cli.sync.audio import normalise, windows
from vast_cli.sync.lagsync import LagSync
from vast_cli.sync.network import FRAMES
from vast_cli.sync.score import LagScore, score
from vast_cli.training.lagsync.batches import altered_pictures
from vast_cli.training.lagsync.corpus import Talker

PIECE = 100  # frames, 4 s


def embed(model: LagSync, talker: Talker) -> tuple[Float32, Float32]:
    """Mouths and sounds of a clip, [n - 4, d] each."""
    pictures, _ = altered_pictures(talker.crops, talker.shape, None)
    pieces = torch.from_numpy(np.ascontiguousarray(windows(normalise(talker.sound), talker.n_frames)))
    with torch.inference_mode():
        sound = torch.cat([model.network.sound(part) for part in pieces.split(512)]).numpy()
    return model.embed_mouth(pictures), sound


def dev_figures(model: LagSync, talkers: Sequence[Talker]) -> dict[str, float]:
    """Figures over pieces of 4 s (whole clips where they are shorter), and `figure`, the `acc` of talk, to choose by.

    `lag1`: share within a frame of lag 0; `acc`: that of stretches of 25 frames; `margin`, `other`: mean margins with
    the clip's own sound and another's; `other_lower`: share of pieces where the own one is larger.
    """
    embedded = [(t, *embed(model, t), t.windows) for t in talkers]
    found: dict[str, list[tuple[LagScore, LagScore | None]]] = {}
    for k, (talker, mouth, sound, valid) in enumerate(embedded):
        other = next((e[2] for e in embedded[k + 1 :] + embedded[:k] if e[0].speaker != talker.speaker), None)
        step = PIECE if talker.n_frames >= PIECE else talker.n_frames
        for first in range(0, talker.n_frames - step + 1, step):
            part = slice(first, first + step - FRAMES + 1)
            own = score(mouth[part], sound[part], valid=valid[part])
            if own is None:
                continue
            strange = None if other is None or len(other) < part.stop - first else other[: part.stop - first]
            against = None if strange is None else score(mouth[part], strange, valid=valid[part])
            found.setdefault(talker.set, []).append((own, against))
    report: dict[str, float] = {}
    for name, pairs in found.items():
        owns = [own for own, _ in pairs]
        both = [(own.margin, other.margin) for own, other in pairs if other is not None]
        accs = [own.acc for own in owns if own.acc is not None]
        report |= {
            f"{name}_n": len(owns),
            f"{name}_lag1": float(np.mean([abs(s.lag) <= 1 for s in owns])),
            f"{name}_margin": float(np.mean([s.margin for s in owns])),
        }
        if accs:
            report[f"{name}_acc"] = float(np.mean(accs))
        if both:
            report[f"{name}_other"] = float(np.mean([m for _, m in both]))
            report[f"{name}_other_lower"] = float(np.mean([a > m for a, m in both]))
    main = "talk" if "talk" in found else next(iter(found), "")
    report["figure"] = report.get(f"{main}_acc", report.get(f"{main}_lag1", 0.0))
    return {name: round(value, 4) for name, value in report.items()}

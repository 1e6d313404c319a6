"""Better borders between the phones of the corpora: the network aligns its own training labels once more."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from vast_cli.core.arrays import Float32
from vast_cli.core.files import atomic_write
from vast_cli.speech.acoustic import SIL, AcousticModel
from vast_cli.speech.filterbank import log_mel
from vast_cli.training.acoustic.corpus import IGNORE, labels_path, load_segments, utterance_audio

log = logging.getLogger(__name__)

STEP_MS = 10.0  # two passes of the network, half a frame apart
SHORTEST = 2  # steps of a phone, 20 ms
TRUST = 1.0  # nats a step that the old borders weigh; found on hand labels (card of the network)
PRIOR = 0.5  # power of the class prior that the posteriors are divided by


def realign(model: AcousticModel, root: Path, name: str, output: Path, *, split: str = "train") -> float:
    """Align the known phones of a corpus with the network and write its table with the new borders.

    Pauses that the first aligner found may vanish; phones stay, in their order. Utterances that were not aligned
    before are left as they are.

    Args:
        root: folder of the corpus.
        output: the new table, with the arrays of the old one.

    Returns:
        Mean distance of old and new borders in ms.
    """
    table = labels_path(root, name)
    old = load_segments(table)
    phones = [old.of(i)[0] for i in range(len(old.pointer) - 1)]
    starts = [old.of(i)[1] for i in range(len(old.pointer) - 1)]
    prior = np.bincount(old.phone[old.phone != IGNORE], minlength=model.config.n_classes) + 1.0
    prior = PRIOR * np.log(prior / prior.sum())
    moved: list[np.ndarray] = []
    for i, audio in utterance_audio(root, name, split):
        if (phones[i] == IGNORE).any():
            continue
        heard = log_posteriors(model, audio) - prior
        steps = viterbi(heard[:, phones[i]] + TRUST * was_there(starts[i], len(heard)), phones[i])
        if steps is None:
            continue
        kept = steps >= 0
        new = np.maximum(0, np.round(STEP_MS * (steps[kept] - 0.5) + 20.0)).astype(np.int64)  # centres at 10 k + 20 ms
        new[0] = 0
        moved.append(np.abs(new - starts[i][kept])[1:])
        phones[i], starts[i] = phones[i][kept], new
    arrays = dict(np.load(table, allow_pickle=False))
    arrays["seg_ptr"] = np.cumsum([0] + [len(p) for p in phones])
    arrays["seg_phone"], arrays["seg_ms"] = np.concatenate(phones), np.concatenate(starts).astype(np.uint32)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    mean = float(np.concatenate(moved).mean()) if moved else 0.0
    log.info("realigned %s: %d utterances, borders moved by %.1f ms in the mean", name, len(moved), mean)
    return mean


@torch.no_grad()
def log_posteriors(model: AcousticModel, audio: np.ndarray) -> Float32:
    """[n, 40], step k has its centre at 10 k + 20 ms: the network on the sound, and on the sound 10 ms later."""
    both = []
    for shift in (0, 160):
        x = model.normalise(f := log_mel(audio[shift:]), range(len(f)))
        both.append(model.eval()(torch.from_numpy(x)[None])[0].log_softmax(dim=1).numpy())
    out = np.empty((len(both[0]) + len(both[1]), both[0].shape[1]), np.float32)
    out[0 : 2 * len(both[0]) : 2] = both[0]
    out[1 : 2 * len(both[1]) : 2] = both[1]
    return out


def was_there(starts: np.ndarray, n_steps: int) -> np.ndarray:
    """[n_steps, n] bool: which phone the old borders have at each step."""
    centre = STEP_MS * np.arange(n_steps) + 20.0
    which = np.maximum(np.searchsorted(starts, centre, side="right") - 1, 0)
    return which[:, None] == np.arange(len(starts))


def viterbi(scores: Float32, phones: np.ndarray) -> np.ndarray | None:
    """First step of each phone on the best path through all of them; -1 for a pause that is left out.

    Args:
        scores: [T, n], log, of each phone of the utterance in each step.
        phones: [n], in order; every one lasts `SHORTEST` steps or more, `SIL` may be skipped.

    Returns:
        [n], or None if the sound is too short.
    """
    n = SHORTEST * len(phones)
    first = np.arange(n) % SHORTEST == 0
    skip = np.zeros(n, bool)  # a state that may follow the one before the pause
    for k in range(1, len(phones)):
        if phones[k - 1] == SIL:
            skip[SHORTEST * k] = True
    emit = np.repeat(scores, SHORTEST, axis=1)
    minus = np.float32(-1e30)
    best = np.full(n, minus, np.float32)
    best[0] = emit[0, 0]
    if phones[0] == SIL and n > SHORTEST:
        best[SHORTEST] = emit[0, SHORTEST]
    back = np.zeros((len(scores), n), np.uint8)  # 0 stay, 1 from the state before, 2 over a pause
    may_stay = np.arange(n) % SHORTEST == SHORTEST - 1
    over = SHORTEST + 1
    for t in range(1, len(scores)):
        stay = np.where(may_stay, best, minus)
        step = np.concatenate([[minus], best[:-1]])
        jump = np.concatenate([np.full(over, minus), best[:-over]]) if n > over else np.full(n, minus)
        jump = np.where(skip, jump, minus)
        options = np.stack([stay, step, jump])
        back[t] = options.argmax(axis=0)
        best = options.max(axis=0) + emit[t]
    ends = [n - 1] + ([n - 1 - SHORTEST] if phones[-1] == SIL and n > SHORTEST else [])
    state = max(ends, key=lambda e: best[e])
    if best[state] < minus / 2:
        return None
    starts = np.full(len(phones), -1)
    for t in range(len(scores) - 1, -1, -1):
        if first[state]:
            starts[state // SHORTEST] = t
        if t:
            state -= (0, 1, over)[back[t, state]]
    return starts

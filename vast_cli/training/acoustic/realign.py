"""Better borders between the phones of the corpora: the network aligns its own training labels once more."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vast_cli.core.arrays import Bools, Float32, Float64, Int64
from vast_cli.core.files import atomic_write
from vast_cli.speech.acoustic import SIL, AcousticModel
from vast_cli.speech.filterbank import log_mel
from vast_cli.training.acoustic.corpus import IGNORE, Labels, labels_path, load_segments, segment_at, utterance_audio

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
        model: the network.
        root: folder of the corpus.
        name: of the corpus.
        output: the new table, with the arrays of the old one.
        split: of the utterances to align.

    Returns:
        Mean distance of old and new borders in ms.
    """
    table = labels_path(root, name)
    old = load_segments(table)
    phones = [old.of(i)[0] for i in range(len(old.pointer) - 1)]
    starts: list[NDArray[np.uint32] | Int64] = [old.of(i)[1] for i in range(len(old.pointer) - 1)]
    prior = np.bincount(old.phone[old.phone != IGNORE], minlength=model.config.n_classes) + 1.0
    prior = PRIOR * np.log(prior / prior.sum())
    moved: list[Int64] = []
    for i, audio in utterance_audio(root, name, split):
        if (phones[i] == IGNORE).any():
            continue
        likelihoods = log_posteriors(model, audio) - prior
        steps = viterbi(likelihoods[:, phones[i]] + TRUST * old_phones(starts[i], len(likelihoods)), phones[i])
        if steps is None:
            continue
        present = steps >= 0
        centred = np.round(STEP_MS * (steps[present] - 0.5) + 20.0)  # centres at 10 k + 20 ms
        new: Int64 = np.maximum(0, centred).astype(np.int64)
        new[0] = 0
        moved.append(np.abs(new - starts[i][present])[1:])
        phones[i], starts[i] = phones[i][present], new
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
def log_posteriors(model: AcousticModel, audio: Float32) -> Float32:
    """[n, 40], step k has its centre at 10 k + 20 ms: the network on the audio, and on the audio 10 ms later."""
    both = []
    for shift in (0, 160):
        x = model.normalise(f := log_mel(audio[shift:]), range(len(f)))
        both.append(model.eval()(torch.from_numpy(x)[None])[0].log_softmax(dim=1).numpy())
    out = np.empty((len(both[0]) + len(both[1]), both[0].shape[1]), np.float32)
    out[0 : 2 * len(both[0]) : 2] = both[0]
    out[1 : 2 * len(both[1]) : 2] = both[1]
    return out


def old_phones(starts: NDArray[np.uint32] | Int64, n_steps: int) -> Bools:
    """[n_steps, n], which phone the old borders have at each step."""
    centres = STEP_MS * np.arange(n_steps) + 20.0
    matches: Bools = segment_at(starts, centres)[:, None] == np.arange(len(starts))
    return matches


def viterbi(scores: Float32 | Float64, phones: Labels) -> Int64 | None:
    """First step of each phone on the best path through all of them; -1 for a pause that is left out.

    Args:
        scores: [T, n], log, of each phone of the utterance in each step.
        phones: [n], in order; every one lasts `SHORTEST` steps or more, `SIL` may be skipped.

    Returns:
        [n], or None if the audio is too short.
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

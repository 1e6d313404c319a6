"""Phonetic posteriorgrams: audio of any length to the speaker-independent content of its speech, A (paper 3, 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch

from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import ppg_samples, ppg_seconds
from vast_cli.records import Posteriorgram
from vast_cli.speech.acoustic import SIL, AcousticModel
from vast_cli.speech.filterbank import N_MELS, FilterBankStream
from vast_cli.speech.weights import load_acoustic_model

__all__ = ["extract_ppg", "is_speech_present", "load_acoustic_model", "speech_share", "stream_ppg"]

READ = 64_000  # samples read at once, 4 s
HOP = 500  # frames returned at once, 10 s; even, because the network works on pairs
MIN_SPEECH_S = 0.1  # less speech than that in whole audio is a click or a breath


def extract_ppg(blocks: Iterable[Float32], model: AcousticModel, *, where: str | None = None) -> Posteriorgram:
    """Posteriorgram of audio that arrives in blocks of any size.

    The blocks are recut to a fixed size, so the result does not depend on them, bit for bit
    (`test_any_blocks_give_the_whole`). Memory is the result (8 kB a second) and half a minute of features.

    Args:
        blocks: float32 [n], 16 kHz mono in [-1, 1].
        model: from `load_acoustic_model`; runs on its own device.
        where: name of the source, for messages.

    Raises:
        VastError: `vast_audio_too_short` without any sample; `vast_bad_media` for samples that are not numbers;
            `vast_non_finite` if the network fails.
    """
    n_samples = 0

    def counted() -> Iterator[Float32]:
        nonlocal n_samples
        for block in blocks:
            if block.ndim != 1:
                raise ValueError(f"blocks are [n], mono; got shape {block.shape}")
            if not np.isfinite(block).all():
                raise VastError("vast_bad_media", "the audio holds values that are not numbers", where=where)
            n_samples += len(block)
            yield np.asarray(block, np.float32)

    parts = list(stream_ppg(counted(), model))
    if not parts:
        raise VastError("vast_audio_too_short", "the audio is empty", where=where)
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise VastError("vast_non_finite", "the acoustic network gave values that are not numbers", where=where)
    return Posteriorgram(values=values, n_samples=n_samples, model_hash=model.hash)


def stream_ppg(
    blocks: Iterable[Float32], model: AcousticModel, *, ahead: int | None = None, hop: int = HOP
) -> Iterator[Float32]:
    """Posteriors as audio comes in, [hop or fewer, 40] at a time.

    Args:
        blocks: as for `extract_ppg`.
        ahead: future frames in the mean of the features; all 6 s of the window if not given. 0 is the running mean,
            which costs up to half a point of accuracy (card of the network) and lags 0.5 s behind (context of the
            network) instead of 6.5 s.
        hop: frames returned at once, even.
    """
    if hop < 2 or hop % 2:
        raise ValueError(f"hop is even, got {hop}")
    bank = FilterBankStream()
    frames: Float32 = np.zeros((0, N_MELS), np.float32)  # frames `first` ... of the audio
    first = done = 0
    reach = hop + model.context + (model.config.half_window if ahead is None else ahead)
    for new in chain((bank.push(block) for block in _recut(blocks, min(READ, ppg_samples(hop)))), [None]):
        frames = np.concatenate([frames, bank.finish() if new is None else new])
        total = first + len(frames)
        while total - done >= reach or (new is None and done < total):
            stop = min(done + hop, total)
            yield _posteriors(model, frames, done - first, stop - first, at_start=first == 0, ahead=ahead)
            done = stop
            forget = max(first, done - model.context - model.config.half_window)
            frames, first = frames[forget - first :], forget


@torch.inference_mode()
def _posteriors(
    model: AcousticModel, frames: Float32, start: int, stop: int, *, at_start: bool, ahead: int | None
) -> Float32:
    """Softmax of rows start ... stop - 1 of `frames`, with the available context on both sides."""
    assert at_start or start >= model.context
    low, high = max(0, start - model.context), min(len(frames), stop + model.context)
    x = model.normalise(frames, range(low, high), ahead=ahead)
    logits: torch.Tensor = model(torch.from_numpy(x)[None].to(model.mean.device))[0, start - low : stop - low]
    values: Float32 = logits.float().softmax(dim=1).cpu().numpy()
    return values


def _recut(blocks: Iterable[Float32], size: int) -> Iterator[Float32]:
    """The same samples in blocks of `size`, the last one shorter; no block if there is no sample."""
    waiting: list[Float32] = []
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting >= size:
            joined = np.concatenate(waiting)
            cut = n_waiting - n_waiting % size
            yield from np.split(joined[:cut], cut // size)
            waiting, n_waiting = [joined[cut:]], n_waiting - cut
    if n_waiting:
        yield np.concatenate(waiting)


def speech_share(ppg: Posteriorgram) -> float:
    """Share of frames, 0 ... 1, whose likeliest class is not silence."""
    return float((ppg.values.argmax(axis=1) != SIL).mean())


def is_speech_present(ppg: Posteriorgram) -> bool:
    """Whether the audio holds speech at all; if not, callers raise `vast_no_speech`."""
    return ppg_seconds(speech_share(ppg) * len(ppg.values)) >= MIN_SPEECH_S

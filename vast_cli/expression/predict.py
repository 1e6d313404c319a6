"""Predicts expressions of any length from speech and style, in bounded memory (paper 3.3).

D^nar runs on overlapping windows on a fixed grid that starts at frame 0, with a cross-fade in the overlap. D^ar runs
frame by frame and carries its state. So the result does not depend on the size of the chunks
(`test_chunks_joined_equal_the_whole`).
"""

from collections.abc import Iterator

import numpy as np
import torch

from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.expression.autoregressive import FrameSampler, FrameState
from vast_cli.expression.blinks import Blinks
from vast_cli.expression.hybrid import ExpressionModel, StyleUnits
from vast_cli.expression.nonautoregressive import speech_input
from vast_cli.records import N_EXPRESSION, N_STRONG, N_WEAK, Posteriorgram

WINDOW = 128  # frames of a window of D^nar, 5.1 s
FADE = 32  # frames of overlap of two windows
HOP = WINDOW - FADE
LIVELINESS = 0.9  # factor on everything that is sampled: at 1 brows of unseen people moved 1.3 times as far as theirs
# D^ar samples each frame, noise of the tracker included: unsmoothed, the median step of the lids was 4 times that of
# people, and such flutter was counted as blinks, twice as many as theirs. Smoothed, both are theirs
SMOOTH = np.array([1, 4, 6, 4, 1], np.float32) / 16
REACH = len(SMOOTH) // 2  # frames


def predict(
    ppg: Posteriorgram,
    style: Float32,
    model: ExpressionModel,
    *,
    seed: int = 0,
    chunk: int = HOP,
    liveliness: float = LIVELINESS,
) -> Iterator[Float32]:
    """Expressions for speech in a style.

    Args:
        ppg: speech, of any length (1 frame to hours).
        style: [d_s], the style s = (z, q).
        model: from `load_expression_model`.
        seed: of what is sampled (blinks, gaze, brows, smiles that come and go); equal seeds give equal frames.
        chunk: frames yielded at once; the frames do not depend on it.
        liveliness: factor on the spread of what is sampled; 0 takes the centres of the sampled Gaussians.

    Yields:
        [n, 233] in canonical units, n = `chunk` (fewer at the end), `ppg.n_frames` in total.

    Raises:
        VastError: `vast_model_mismatch` for speech or style of other models, `vast_non_finite` if a network fails.
    """
    if ppg.model_hash != model.acoustic_model_hash:
        raise VastError(
            "vast_model_mismatch",
            "the posteriorgram was made with another acoustic model than the expression model was trained with",
        )
    if style.shape != (model.d_style,):
        raise VastError(
            "vast_model_mismatch", f"the style has {style.shape[0]} components, the model expects {model.d_style}"
        )
    pending = np.zeros((0, N_EXPRESSION), np.float32)
    for block in _blocks(ppg, style, model, seed=seed, liveliness=liveliness):
        pending = np.concatenate([pending, block])
        while len(pending) >= chunk:
            yield pending[:chunk]
            pending = pending[chunk:]
    if len(pending):
        yield pending


def _blocks(
    ppg: Posteriorgram, style: Float32, model: ExpressionModel, *, seed: int, liveliness: float
) -> Iterator[Float32]:
    """Predictions from the start of each window to that of the next: [HOP or fewer, 233] at a time."""
    total = ppg.n_frames
    vector = torch.from_numpy(np.ascontiguousarray(style, np.float32))
    with torch.inference_mode():
        units = model.decoder.units(vector[None])
    blinks = _blinks(units, model, rate=model.blink_rate(vector), seed=seed)
    free_random, free_state = np.random.default_rng([seed, 1]), model.decoder.free.start()
    weak_runs = _weak_runs(ppg, units, model, seed=seed, liveliness=liveliness)
    tail: Float32 = np.zeros((0, N_STRONG), np.float32)  # end of the last window, to fade out
    ramp = ((np.arange(FADE, dtype=np.float32) + 0.5) / FADE)[:, None]
    for start in range(0, total, HOP):
        speech = speech_input(ppg.values, start, min(start + WINDOW, total))
        strong, regressed = _predict_strong(speech, units, model)
        overlap = len(tail)  # shorter at the end of the audio, where both windows end
        strong[:overlap] = ramp[:overlap] * strong[:overlap] + (1 - ramp[:overlap]) * tail
        stop = min(start + HOP, total) - start
        tail = strong[stop:]
        noise = free_random.standard_normal((stop, model.decoder.config.free)).astype(np.float32)
        free, free_state = model.decoder.free.sample(np.float32(liveliness) * noise, free_state)
        free = model.decoder.free.without_articulation(free * units.gain[0, :N_STRONG].numpy())
        weak = blinks.add(next(weak_runs)) if regressed is None else regressed[:stop]
        block = np.concatenate([strong[:stop] + free, weak], 1)
        if not np.isfinite(block).all():
            raise VastError("vast_non_finite", "the expression decoder returned NaN or infinity")
        yield block


def _blinks(units: StyleUnits, model: ExpressionModel, *, rate: float, seed: int) -> Blinks:
    lids = model.decoder.lids.numpy()
    rest = float(units.level[0, N_STRONG:].numpy() @ lids)
    random = np.random.default_rng([seed, 2])
    return Blinks(lids, model.decoder.closing_lids.numpy(), rest=rest, rate=rate, random=random)


@torch.inference_mode()
def _predict_strong(speech: Float32, units: StyleUnits, model: ExpressionModel) -> tuple[Float32, Float32 | None]:
    """D^nar over one window, canonical units: [N, 85], and [N, 148] in the variant without D^ar."""
    mask = torch.ones(1, len(speech))
    strong, weak = model.decoder.without_past(torch.from_numpy(speech)[None], units, mask)
    return strong[0].numpy(), None if weak is None else weak[0].numpy()


def _weak_runs(
    ppg: Posteriorgram, units: StyleUnits, model: ExpressionModel, *, seed: int, liveliness: float
) -> Iterator[Float32]:
    """X^wk of D^ar, smoothed, from the start of each window to that of the next: [HOP or fewer, 148], canonical units.

    It runs `REACH` frames ahead, which the filter needs.
    """
    total, random = ppg.n_frames, np.random.default_rng(seed)
    sampler = _sampler(units, model)
    state, sampled = sampler.start(), 0
    raw: Float32 = np.zeros((0, N_WEAK), np.float32)  # frames from `REACH` before the run on
    for start in range(0, total, HOP):
        stop = min(start + HOP, total)
        ahead = min(stop + REACH, total)
        if ahead > sampled:
            speech_before = speech_input(ppg.values, sampled - 1, ahead - 1)
            new, state = _sample_weak(speech_before, model, sampler, state, random=random, liveliness=liveliness)
            raw = np.concatenate([raw if start else np.repeat(new[:1], REACH, 0), new])
            sampled = ahead
        padded = np.concatenate([raw, np.repeat(raw[-1:], stop + REACH - ahead, 0)])
        smooth = sum(weight * padded[k : k + stop - start] for k, weight in enumerate(SMOOTH))
        raw = raw[stop - start :]
        yield _denormalise(smooth, units, model)


@torch.inference_mode()
def _sampler(units: StyleUnits, model: ExpressionModel) -> FrameSampler:
    return FrameSampler(model.decoder.ar, units.code[0])


@torch.inference_mode()
def _sample_weak(
    speech: Float32,
    model: ExpressionModel,
    sampler: FrameSampler,
    state: FrameState,
    *,
    random: np.random.Generator,
    liveliness: float,
) -> tuple[Float32, FrameState]:
    """D^ar over the next frames, given the speech before each: [N, 148] in normalised units, and its next state."""
    ppg = model.decoder.ar.middle_ppg(torch.from_numpy(speech))
    choices = random.random(len(ppg)).tolist()
    noise = random.standard_normal((len(ppg), model.decoder.config.drawn), dtype=np.float32)
    values, state = sampler.run(ppg, state, choices=choices, noise=torch.from_numpy(np.float32(liveliness) * noise))
    return values.numpy(), state


@torch.inference_mode()
def _denormalise(weak: Float32, units: StyleUnits, model: ExpressionModel) -> Float32:
    result: Float32 = model.decoder.denormalise_weak(torch.from_numpy(weak)[None], units)[0].numpy()
    return result

"""Predicts expressions of any length from speech and style, in bounded memory (paper 3.3).

D^nar runs on overlapping windows on a fixed grid that starts at frame 0, with a cross-fade in the overlap. D^ar runs
frame by frame and carries its state. So the result does not depend on the size of the chunks
(`test_chunks_joined_equal_the_whole`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.expression.hybrid import ExpressionModel
from vast_cli.expression.nonautoregressive import speech_input
from vast_cli.records import N_EXPRESSION, N_STRONG, Posteriorgram

WINDOW = 128  # frames of a window of D^nar, 5.1 s
FADE = 32  # frames of overlap of two windows
HOP = WINDOW - FADE
# factor on the spread of the mixture. On dev speakers 0.8 / 1.0 gave 0.67 / 0.82 of their motion of brows, lids and
# gaze, and 1.02 / 1.25 times their second differences
LIVELINESS = 0.9


class AutoregressiveState(NamedTuple):
    """State of D^ar between two frames."""

    past: torch.Tensor  # [1, 148]
    state: tuple[torch.Tensor, torch.Tensor] | None


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
        style: [d_s], the style vector s.
        model: from `load_expression_model`.
        seed: of the samples of D^ar (blinks, gaze, brows); equal seeds give equal frames.
        chunk: frames yielded at once; the frames do not depend on it.
        liveliness: factor on the spread of the samples of D^ar; 0 takes the centres of the sampled Gaussians.

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
    vector = torch.from_numpy(np.ascontiguousarray(style, np.float32))[None]
    random = np.random.default_rng(seed)
    state = None
    tail: Float32 = np.zeros((0, N_STRONG), np.float32)  # end of the last window, to fade out
    ramp = ((np.arange(FADE, dtype=np.float32) + 0.5) / FADE)[:, None]
    for start in range(0, total, HOP):
        speech = speech_input(ppg.values, start, min(start + WINDOW, total))
        strong = _predict_strong(speech, vector, model)
        overlap = len(tail)  # shorter at the end of the audio, where both windows end
        strong[:overlap] = ramp[:overlap] * strong[:overlap] + (1 - ramp[:overlap]) * tail
        stop = min(start + HOP, total) - start
        tail = strong[stop:]
        speech_before = speech_input(ppg.values, start - 1, start + stop - 1)
        weak, state = _predict_weak(speech_before, vector, model, state, random=random, liveliness=liveliness)
        block = np.concatenate([strong[:stop], weak], 1)
        if not np.isfinite(block).all():
            raise VastError("vast_non_finite", "the expression decoder returned NaN or infinity")
        yield block


@torch.inference_mode()
def _predict_strong(speech: Float32, style: torch.Tensor, model: ExpressionModel) -> Float32:
    """D^nar over one window: [N, 85], canonical units."""
    result: Float32 = model.decoder.strong(torch.from_numpy(speech)[None], style, torch.ones(1, len(speech)))[0].numpy()
    return result


@torch.inference_mode()
def _predict_weak(
    speech: Float32,
    style: torch.Tensor,
    model: ExpressionModel,
    state: AutoregressiveState | None,
    *,
    random: np.random.Generator,
    liveliness: float,
) -> tuple[Float32, AutoregressiveState]:
    """D^ar over the next frames, given the speech before each: [N, 148] in canonical units, and its next state."""
    decoder = model.decoder.ar
    past, lstm_state = state if state is not None else (decoder.begin(style), None)
    values = []
    for ppg in decoder.middle_ppg(torch.from_numpy(speech)):
        distributions, lstm_state = decoder(past[:, None], ppg[None, None], style, lstm_state)
        distribution = type(distributions)(*(part[:, 0] for part in distributions))
        choice = torch.tensor([random.random()], dtype=torch.float32)
        noise = torch.from_numpy(random.standard_normal((1, decoder.config.drawn)).astype(np.float32))
        past = distribution.sample(choice, liveliness * noise)
        values.append(past)
    result: Float32 = model.decoder.denormalise_weak(torch.cat(values)).numpy()
    return result, AutoregressiveState(past, lstm_state)

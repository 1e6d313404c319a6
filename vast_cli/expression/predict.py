"""Prediction of any length: speech and style to 233 components a frame, in bounded memory (paper 3.3).

D^nar runs on windows that lie on a grid from frame 0 on and overlap; in the overlap one fades into the next. D^ar runs
frame by frame and carries its state. So the result does not depend on how it is cut into chunks
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

WINDOW = 128  # frames D^nar sees at once, 5.1 s
FADE = 32  # frames two windows share
HOP = WINDOW - FADE
# of the mixture's spread. On dev speakers 0.8 / 1.0 gave 0.67 / 0.82 of their motion of brows, lids and gaze, and
# second differences 1.02 / 1.25 times theirs
LIVELINESS = 0.9


class Weak(NamedTuple):
    """Where D^ar stands between two frames."""

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
    """Expressions for a sound in a style.

    Args:
        ppg: speech, of any length (1 frame to hours).
        style: [d_s], the style vector s.
        model: from `load_expression_model`.
        seed: of what D^ar draws (blinks, gaze, brows); the same seed gives the same frames.
        chunk: frames given at once; the frames do not depend on it.
        liveliness: factor on the spread of what D^ar draws; 0 draws its most likely course.

    Yields:
        [n, 233] in canonical units, n = `chunk` (fewer at the end), in all `ppg.n_frames`.

    Raises:
        VastError: `vast_model_mismatch` for speech or style of other models, `vast_non_finite` should a network fail.
    """
    if ppg.model_hash != model.acoustic_model_hash:
        raise VastError(
            "vast_model_mismatch",
            "the posteriorgram was made with another acoustic model than the expression model was trained on",
        )
    if style.shape != (model.d_style,):
        raise VastError(
            "vast_model_mismatch", f"the style has {style.shape[0]} numbers, this model takes {model.d_style}"
        )
    held = np.zeros((0, N_EXPRESSION), np.float32)
    for part in _blocks(ppg, style, model, seed=seed, liveliness=liveliness):
        held = np.concatenate([held, part])
        while len(held) >= chunk:
            yield held[:chunk]
            held = held[chunk:]
    if len(held):
        yield held


def _blocks(
    ppg: Posteriorgram, style: Float32, model: ExpressionModel, *, seed: int, liveliness: float
) -> Iterator[Float32]:
    """Predictions from one window's start to the next one's, [HOP or fewer, 233] at a time."""
    total = ppg.n_frames
    vector = torch.from_numpy(np.ascontiguousarray(style, np.float32))[None]
    random = np.random.default_rng(seed)
    weak = None
    tail: Float32 = np.zeros((0, N_STRONG), np.float32)  # end of the window before, still to be faded out
    ramp = ((np.arange(FADE, dtype=np.float32) + 0.5) / FADE)[:, None]
    for start in range(0, total, HOP):
        speech = speech_input(ppg.values, start, min(start + WINDOW, total))
        strong = _strong(speech, vector, model)
        shared = len(tail)  # at the end of the sound both windows end together
        strong[:shared] = ramp[:shared] * strong[:shared] + (1 - ramp[:shared]) * tail
        stop = min(start + HOP, total) - start
        tail = strong[stop:]
        before = speech_input(ppg.values, start - 1, start + stop - 1)
        drawn, weak = _weak(before, vector, model, weak, random=random, liveliness=liveliness)
        block = np.concatenate([strong[:stop], drawn], 1)
        if not np.isfinite(block).all():
            raise VastError("vast_non_finite", "the expression decoder gave values that are not numbers")
        yield block


@torch.inference_mode()
def _strong(speech: Float32, style: torch.Tensor, model: ExpressionModel) -> Float32:
    """D^nar over one window: [N, 85], canonical units."""
    result: Float32 = model.decoder.strong(torch.from_numpy(speech)[None], style, torch.ones(1, len(speech)))[0].numpy()
    return result


@torch.inference_mode()
def _weak(
    speech: Float32,
    style: torch.Tensor,
    model: ExpressionModel,
    at: Weak | None,
    *,
    random: np.random.Generator,
    liveliness: float,
) -> tuple[Float32, Weak]:
    """D^ar over the next frames, given the speech before each: [N, 148], canonical units, and where it stands then."""
    decoder = model.decoder.ar
    past, state = at if at is not None else (decoder.begin(style), None)
    heard = decoder.heard(torch.from_numpy(speech))
    values = []
    for frame in heard:
        ahead, state = decoder(past[:, None], frame[None, None], style, state)
        now = type(ahead)(*(part[:, 0] for part in ahead))
        choice = torch.tensor([random.random()], dtype=torch.float32)
        noise = torch.from_numpy(random.standard_normal((1, decoder.config.drawn)).astype(np.float32))
        past = now.draw(choice, liveliness * noise)
        values.append(past)
    result: Float32 = model.decoder.canonical_weak(torch.cat(values)).numpy()
    return result, Weak(past, state)

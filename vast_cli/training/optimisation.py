"""Learning rates, parameter groups and precision that several trainers use."""

import math
from typing import Any

from torch import nn

from vast_cli.core.devices import cpu_flags


def capped_cosine(peak: float, step: int, done: float, *, warm_up: int, floor: float) -> float:
    """Learning rate: the smaller of a linear warm-up and a half cosine lifted by `floor` times the peak.

    Args:
        peak: of the learning rate.
        step: from 0.
        done: share of the training that is done, 0 ... 1.
        warm_up: steps.
        floor: where the rate ends, of the peak.
    """
    return peak * min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * done)) + floor)


def scaled_cosine(peak: float, ramp: float, done: float, *, floor: float) -> float:
    """Learning rate: the product of the warm-up `ramp`, 1 at most, and a half cosine from 1 to `floor`."""
    return peak * min(1.0, ramp) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def weight_decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser: matrices decay, vectors (biases, scales) do not."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def has_bf16_instructions() -> bool:
    """Whether the CPU multiplies bf16 matrices: autocast makes a step up to 3 times faster then, else much slower."""
    return "avx512_bf16" in cpu_flags()

"""Losses between predicted and tracked expression: asymmetric reconstruction (paper 3.2, its [40]), lips, moments.

Rows of the face model's basis are orthonormal within the strong and the weak group, so a squared error of components in
canonical units is a squared error of the mesh: no weights are needed to measure in mesh space.
"""

import torch
from torch import Tensor

OVER, UNDER = 1.0, 3.0  # alpha, beta: cost of overshooting and of undershooting, those of [40]


def asymmetric(predicted: Tensor, truth: Tensor, centre: Tensor, *, over: float = OVER, under: float = UNDER) -> Tensor:
    """Asymmetric squared error of Tran et al. 2017 (the paper's [40]), each element by itself.

    With y = |truth - centre| and p = sign(truth - centre) (predicted - centre), m = max(y, p):
    over (p - y)^2 where p > y (`over` |y - m|^2) and under (y - p)^2 where p < y (`under` |p - m|^2).
    A mean movement falls short of every excursion, so it costs more than one that goes a little too far.

    Args:
        predicted: [...].
        truth: the same shape.
        centre: where movement is counted from, broadcast; we take the mean of the clip, so that closing the lips of an
            open-mouthed speaker is an excursion as well as opening them.
        over: alpha.
        under: beta.
    """
    side = torch.where(truth >= centre, 1.0, -1.0)
    y, p = side * (truth - centre), side * (predicted - centre)
    largest = torch.maximum(y, p)
    return over * (y - largest) ** 2 + under * (p - largest) ** 2


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of `value` [B, N] over the frames of `mask` [B, N]; 0 where there is none."""
    return (value * mask).sum() / mask.sum().clamp_min(1.0)


def one_minus_correlation(predicted: Tensor, truth: Tensor, mask: Tensor, *, least: float) -> Tensor:
    """1 - Pearson's r over the frames of each clip, averaged over clips whose truth moves by an sd of `least` or more.

    Args:
        predicted: [B, N].
        truth: [B, N].
        mask: [B, N].
        least: sd of `truth` below which r says nothing.
    """
    count = mask.sum(1, keepdim=True).clamp_min(1.0)
    p = (predicted - (predicted * mask).sum(1, keepdim=True) / count) * mask
    t = (truth - (truth * mask).sum(1, keepdim=True) / count) * mask
    p_sd, t_sd = ((p**2).sum(1) / count[:, 0] + 1e-8).sqrt(), ((t**2).sum(1) / count[:, 0] + 1e-8).sqrt()
    r = (p * t).sum(1) / count[:, 0] / (p_sd.clamp_min(0.1 * least) * t_sd)
    use = ((t_sd >= least) & (mask.sum(1) >= 12)).float()
    return ((1 - r) * use).sum() / use.sum().clamp_min(1.0)


def moments(predicted: Tensor, truth: Tensor, p_mask: Tensor, t_mask: Tensor, *, scale: Tensor) -> Tensor:
    """Difference of mean and spread over time: for clips whose speech is unknown, driven by other speech.

    Args:
        predicted: [B, N, C], of any speech.
        truth: [B, M, C], of the clip whose style was used.
        p_mask: [B, N].
        t_mask: [B, M].
        scale: total sd of the components, a number: the result is about 1 for the face of another person.

    Returns:
        [B].
    """

    def mean_and_spread(value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        count = mask.sum(1).clamp_min(1.0)[:, None]
        mean = (value * mask[..., None]).sum(1) / count
        spread = (((value - mean[:, None]) ** 2 * mask[..., None]).sum(1) / count + 1e-6).sqrt()
        return mean, spread

    p_mean, p_spread = mean_and_spread(predicted, p_mask)
    t_mean, t_spread = mean_and_spread(truth, t_mask)
    return (((p_mean - t_mean) ** 2).sum(-1) + ((p_spread - t_spread) ** 2).sum(-1)) / scale**2

"""Autoregressive decoder D^ar: the 148 weak components (brows, lids, gaze) from their own past (paper 3.3, Eq. 3)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.expression.nonautoregressive import TAPS, ExpressionConfig

PULL = 0.03  # share of the way back to the rest position in each frame, on top of the LSTM's step
LIMIT = 8.0  # normalised units; 99.9 % of the real motion of unseen people is within
LOG_STD_RANGE = (-4.0, 1.0)

LstmState = tuple[Tensor, Tensor]


class Distribution(NamedTuple):
    """Distribution of the weak components of one or more frames, in normalised units."""

    mean: Tensor  # [..., 148]; to its first `drawn` components the mixture is added
    logits: Tensor  # [..., K]
    offset: Tensor  # [..., K, drawn], means of the mixture, relative to `mean`
    log_std: Tensor  # [..., K, drawn]

    def log_likelihood(self, value: Tensor) -> Tensor:
        """ln p of the sampled components of `value` [..., 148], summed over components: [...]."""
        n = self.offset.shape[-1]
        error = value[..., None, :n] - self.mean[..., None, :n] - self.offset
        densities = -0.5 * (error * (-self.log_std).exp()) ** 2 - self.log_std - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(torch.log_softmax(self.logits, -1) + densities.sum(-1), -1)

    def sample(self, choice: Tensor, noise: Tensor) -> Tensor:
        """A sample [B, 148] from `choice` [B], uniform in [0, 1), and `noise` [B, drawn], standard normal."""
        cumulative = torch.softmax(self.logits, -1).cumsum(-1)
        index = (choice[:, None] >= cumulative[:, :-1]).sum(-1)
        row = torch.arange(len(index), device=index.device)
        part = self.offset[row, index] + self.log_std[row, index].exp() * noise
        value = torch.cat([self.mean[:, : part.shape[-1]] + part, self.mean[:, part.shape[-1] :]], -1)
        return value.clamp(-LIMIT, LIMIT)


class AutoregressiveDecoder(nn.Module):
    """x_t^wk ~ D^ar(x_{1..t-1}^wk, DP(a_{1..t-1}), s) (paper 3.3, Eq. 3): an LSTM.

    Departure from the paper: the next frame is sampled from a mixture of Gaussians instead of being regressed. A
    regression LSTM that runs on its own output converges to a fixed point and never blinks (the paper's "mean
    movement"). Blinks are jumps at random times, which only a distribution can represent. ln p of Eq. 2 is taken
    literally.

    Args:
        config: sizes.
    """

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        n = records.N_WEAK
        self.past = nn.Linear(n, config.width)
        self.hear = nn.Linear(config.n_ppg, config.width // 2)
        self.begin = nn.Linear(config.d_style, n)  # rest position of the style; used as the frame before the first
        self.lstm = nn.LSTM(config.width + config.width // 2 + config.d_style, config.hidden, batch_first=True)
        self.change = nn.Linear(config.hidden + config.d_style, n)
        self.mixture = nn.Linear(config.hidden, config.mixtures * (2 * config.drawn + 1))
        nn.init.normal_(self.begin.weight, std=0.02)
        nn.init.normal_(self.change.weight, std=0.02)
        nn.init.normal_(self.mixture.weight, std=0.02)
        with torch.no_grad():  # the Gaussians start with different widths: rest, drift, blink
            log_std = torch.linspace(-2.5, 0.0, config.mixtures)[:, None].expand(-1, config.drawn)
            k = config.mixtures * (1 + config.drawn)
            self.mixture.bias[:k].zero_()
            self.mixture.bias[k:].copy_(log_std.reshape(-1))

    def middle_ppg(self, speech: Tensor) -> Tensor:
        """The middle PPG frame of `speech` [..., 5 * 40], which is the input of D^ar: [..., 40]."""
        n = self.config.n_ppg
        middle = len(TAPS) // 2
        return speech[..., middle * n : (middle + 1) * n]

    def forward(
        self, past: Tensor, ppg: Tensor, style: Tensor, state: LstmState | None = None
    ) -> tuple[Distribution, LstmState]:
        """Distribution of each frame given the frames before.

        Args:
            past: [B, N, 148], the frame before each frame, in normalised units.
            ppg: [B, N, 40], speech of the frame before each frame; in training the caller applies the dropout.
            style: [B, d_s].
            state: LSTM state after the frames before; None at the start.
        """
        n = past.shape[1]
        repeated = style[:, None].expand(-1, n, -1)
        x = torch.cat([torch.tanh(self.past(past)), torch.tanh(self.hear(ppg)), repeated], -1)
        hidden, next_state = self.lstm(x, state)
        n_sampled, k = self.config.drawn, self.config.mixtures
        # the network predicts the step, not the value: faces change little in 40 ms. The constant pull to the style's
        # rest position bounds the sum of steps over hours (`test_eyes_do_not_drift_over_minutes`)
        rest = self.begin(style)[:, None]
        mean = past + PULL * (rest - past) + self.change(torch.cat([hidden, repeated], -1))
        logits, offset, log_std = self.mixture(hidden).split([k, k * n_sampled, k * n_sampled], -1)
        shape = (*hidden.shape[:2], k, n_sampled)
        return Distribution(mean, logits, offset.view(shape), log_std.view(shape).clamp(*LOG_STD_RANGE)), next_state

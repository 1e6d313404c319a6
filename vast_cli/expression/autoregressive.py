"""Autoregressive decoder D^ar: its own past to the 148 weak components, brows, lids and gaze (paper 3.3, Eq. 3)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.expression.nonautoregressive import TAPS, ExpressionConfig

SPEECH_DROPOUT = 0.5  # DP of Eq. 3, of whole frames: weak motion must not lean on single sounds
PULL = 0.03  # of the way back to rest each frame, whatever the LSTM says
LIMIT = 8.0  # normalised units; real motion of unseen people stays inside (99.9 %)
LOG_STD_RANGE = (-4.0, 1.0)

State = tuple[Tensor, Tensor]


class Distribution(NamedTuple):
    """Distribution of the weak components of one or more frames, normalised units."""

    mean: Tensor  # [..., 148], of the smallest components; of the first `drawn`, what the mixture adds to
    logits: Tensor  # [..., K]
    offset: Tensor  # [..., K, drawn], means of the mixture, relative to `mean`
    log_std: Tensor  # [..., K, drawn]

    def log_likelihood(self, value: Tensor) -> Tensor:
        """ln p of the drawn components of `value` [..., 148], summed over components: [...]."""
        drawn = self.offset.shape[-1]
        error = value[..., None, :drawn] - self.mean[..., None, :drawn] - self.offset
        each = -0.5 * (error * (-self.log_std).exp()) ** 2 - self.log_std - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(torch.log_softmax(self.logits, -1) + each.sum(-1), -1)

    def draw(self, choice: Tensor, noise: Tensor) -> Tensor:
        """A value [B, 148] from `choice` [B], uniform in [0, 1), and `noise` [B, drawn], standard normal."""
        share = torch.softmax(self.logits, -1).cumsum(-1)
        index = (choice[:, None] >= share[:, :-1]).sum(-1)
        row = torch.arange(len(index), device=index.device)
        part = self.offset[row, index] + self.log_std[row, index].exp() * noise
        value = torch.cat([self.mean[:, : part.shape[-1]] + part, self.mean[:, part.shape[-1] :]], -1)
        return value.clamp(-LIMIT, LIMIT)


class AutoregressiveDecoder(nn.Module):
    """x_t^wk ~ D^ar(x_{1..t-1}^wk, DP(a_{1..t-1}), s) (paper 3.3, Eq. 3): an LSTM.

    Departure from the paper: the next frame is drawn from a mixture of Gaussians instead of being regressed. A
    regressed LSTM that runs on its own output ends in a fixed point and never blinks (the paper's own "mean movement");
    a blink is a jump that comes when it likes; only a distribution can say that. ln p of Eq. 2 is then taken literally.

    Args:
        config: sizes.
    """

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        n = records.N_WEAK
        self.past = nn.Linear(n, config.width)
        self.hear = nn.Linear(config.n_ppg, config.width // 2)
        self.begin = nn.Linear(config.d_style, n)  # where the style rests; stands for the frame before the first
        self.lstm = nn.LSTM(config.width + config.width // 2 + config.d_style, config.hidden, batch_first=True)
        self.change = nn.Linear(config.hidden + config.d_style, n)
        self.mixture = nn.Linear(config.hidden, config.mixtures * (2 * config.drawn + 1))
        nn.init.normal_(self.begin.weight, std=0.02)
        nn.init.normal_(self.change.weight, std=0.02)
        nn.init.normal_(self.mixture.weight, std=0.02)
        with torch.no_grad():  # the Gaussians start apart in width: rest, drift, blink
            log_std = torch.linspace(-2.5, 0.0, config.mixtures)[:, None].expand(-1, config.drawn)
            k = config.mixtures * (1 + config.drawn)
            self.mixture.bias[:k].zero_()
            self.mixture.bias[k:].copy_(log_std.reshape(-1))

    def heard(self, speech: Tensor) -> Tensor:
        """The middle PPG frame of `speech` [..., 5 * 40], what D^ar is told: [..., 40]."""
        n = self.config.n_ppg
        middle = len(TAPS) // 2
        return speech[..., middle * n : (middle + 1) * n]

    def forward(
        self, past: Tensor, ppg: Tensor, style: Tensor, state: State | None = None
    ) -> tuple[Distribution, State]:
        """Distribution of each frame given what came before.

        Args:
            past: [B, N, 148], the frame before each frame, normalised units.
            ppg: [B, N, 40], speech of the frame before each frame, dropped out by the caller in training.
            style: [B, d_s].
            state: LSTM state to go on from.
        """
        n = past.shape[1]
        repeated = style[:, None].expand(-1, n, -1)
        x = torch.cat([torch.tanh(self.past(past)), torch.tanh(self.hear(ppg)), repeated], -1)
        hidden, after = self.lstm(x, state)
        drawn, k = self.config.drawn, self.config.mixtures
        # the step is learned, not the value: faces change little in 40 ms. The constant pull to the style's rest bounds
        # what an hour of steps can add up to (`test_hours_of_eyes_stay_where_they_belong`)
        rest = self.begin(style)[:, None]
        mean = past + PULL * (rest - past) + self.change(torch.cat([hidden, repeated], -1))
        logits, offset, log_std = self.mixture(hidden).split([k, k * drawn, k * drawn], -1)
        shape = (*hidden.shape[:2], k, drawn)
        return Distribution(mean, logits, offset.view(shape), log_std.view(shape).clamp(*LOG_STD_RANGE)), after

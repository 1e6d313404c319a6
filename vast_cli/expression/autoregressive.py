"""Autoregressive decoder D^ar: the 148 weak components (brows, lids, gaze) from their own past (paper 3.3, Eq. 3)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.expression.nonautoregressive import TAPS, ExpressionConfig

PULL = 0.03  # share of the way back to the rest position in each frame, on top of the LSTM's step
LIMIT = 14.0  # units of the style; a blink of somebody whose lids hardly move is 10
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


class FrameState(NamedTuple):
    """State of D^ar between two frames of one run."""

    past: Tensor  # [148], normalised units
    hidden: Tensor  # [hidden]
    cell: Tensor  # [hidden]


class FrameSampler:
    """D^ar on its own samples, frame by frame, for one style.

    The same numbers as `AutoregressiveDecoder.forward` and `Distribution.sample`, several times as fast: whatever does
    not depend on the frame before is computed for all frames at once, only the chosen Gaussian is computed, and
    products with the same vector are one product.

    Args:
        decoder: in evaluation mode.
        style: [d_style], the code of the style.
    """

    def __init__(self, decoder: AutoregressiveDecoder, style: Tensor) -> None:
        config, lstm = decoder.config, decoder.lstm
        heard = config.width + config.width // 2
        self.decoder, self.n_hidden, self.n_seen = decoder, config.hidden, config.width
        # gates in the order enter, keep, out, new: the first three share a sigmoid
        enter, keep, new, out = torch.arange(4 * config.hidden).chunk(4)
        order = torch.cat([enter, keep, out, new])
        weight_ih, weight_hh, bias_ih, bias_hh = (parameter.detach()[order] for parameter in lstm.parameters())
        inputs, biases = weight_ih, bias_ih + bias_hh
        self.hear = inputs[:, config.width : heard]
        self.bias = inputs[:, heard:] @ style + biases
        self.recurrent = torch.cat([inputs[:, : config.width], weight_hh], 1).contiguous()
        self.rest = decoder.begin(style)
        change, mixture, k = decoder.change, decoder.mixture, config.mixtures
        drift = change.bias + change.weight[:, config.hidden :] @ style + PULL * self.rest
        self.step = torch.cat([change.weight[:, : config.hidden], mixture.weight[:k]]).contiguous()
        self.step_bias = torch.cat([drift, mixture.bias[:k]])
        # rows of each Gaussian: offset, then ln sd
        shape = (2, k, config.drawn)
        self.gaussians = mixture.weight[k:].view(*shape, config.hidden).transpose(0, 1).flatten(1, 2).contiguous()
        self.gaussian_bias = mixture.bias[k:].view(shape).transpose(0, 1).flatten(1, 2).contiguous()

    def start(self) -> FrameState:
        """State before the first frame: the rest position of the style."""
        return FrameState(self.rest, torch.zeros(self.n_hidden), torch.zeros(self.n_hidden))

    def run(self, ppg: Tensor, state: FrameState, *, choices: list[float], noise: Tensor) -> tuple[Tensor, FrameState]:
        """The next frames.

        Args:
            ppg: [n, 40], speech of the frame before each.
            state: after the frames before.
            choices: [n], uniform in [0, 1), choose among the Gaussians.
            noise: [n, drawn], standard normal.

        Returns:
            [n, 148] in normalised units, and the state after them.
        """
        heard = torch.tanh(self.decoder.hear(ppg)) @ self.hear.T + self.bias
        values = torch.empty(len(ppg), records.N_WEAK)
        past, _, cell = state
        linear, drawn, h = self.decoder.past, noise.shape[1], self.n_hidden
        inputs = torch.cat([past.new_zeros(self.n_seen), state.hidden])  # what the frame before gives to the gates
        seen, hidden = inputs[: self.n_seen], inputs[self.n_seen :]
        for t, choice in enumerate(choices):
            torch.tanh(torch.addmv(linear.bias, linear.weight, past), out=seen)
            gates = torch.addmv(heard[t], self.recurrent, inputs)
            opened, new = gates[: 3 * h].sigmoid_(), gates[3 * h :].tanh_()
            cell = torch.addcmul(opened[h : 2 * h] * cell, opened[:h], new)
            torch.mul(opened[2 * h :], torch.tanh(cell), out=hidden)
            step = torch.addmv(self.step_bias, self.step, hidden)
            index = _chosen(step[records.N_WEAK :].tolist(), choice)
            gaussian = torch.addmv(self.gaussian_bias[index], self.gaussians[index], hidden)
            past = torch.add(step[: records.N_WEAK], past, alpha=1 - PULL)
            past[:drawn].add_(gaussian[:drawn]).addcmul_(gaussian[drawn:].clamp_(*LOG_STD_RANGE).exp_(), noise[t])
            past.clamp_(-LIMIT, LIMIT)
            values[t] = past
        return values, FrameState(past, hidden.clone(), cell)


def _chosen(logits: list[float], choice: float) -> int:
    """Index of the Gaussian that `choice`, uniform in [0, 1), falls on."""
    top = max(logits)
    shares = [math.exp(value - top) for value in logits]
    left = choice * sum(shares)
    for index, share in enumerate(shares[:-1]):
        left -= share
        if left < 0:
            return index
    return len(shares) - 1

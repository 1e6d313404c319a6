"""Style encoder E^p: expression and speech of a clip to a Gaussian over styles (paper 3.1)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE_FLOOR = 0.05  # canonical units: tracker noise of a component; rows of the basis have length 1
LOG_STD_RANGE = (-6.0, 2.0)


@dataclass(frozen=True)
class StyleConfig:
    """Shape of E^p and E^v; saved in the weights' header.

    Args:
        n_expression: components of the face model, 233 in the paper.
        n_ppg: phonetic classes.
        width: channels of the convolutions and of a frame's input layer.
        hidden: size of the recurrent state and of h, the last hidden layer.
        d_style: size of the latent z (not in the paper).
        n_reflections: K, Householder reflections; 0 for the identity.
    """

    n_expression: int = 233
    n_ppg: int = 40
    width: int = 96
    hidden: int = 128
    d_style: int = 64
    n_reflections: int = 8


class StylePosterior(NamedTuple):
    """q(z0 | X, A) = N(mean, exp(log_std)^2), and h, which the first vector of the flow is computed from."""

    mean: Tensor  # [B, d_s]
    log_std: Tensor  # [B, d_s]
    h: Tensor  # [B, hidden]


class StyleEncoder(nn.Module):
    """Encodes the speaking style of a clip as q(z0 | X, A) (paper 3.1, Eq. 1).

    Two convolutions with a field of 9 frames (0.36 s) and a GRU over the clip are followed by attention pooling, which
    makes the result independent of the length. It pools mean and spread with the same weights, so that the extent of
    motion counts as well as the rest position. Padding and frames without a face never enter the sums
    (`test_padding_does_not_change_style`).

    Components are divided by sqrt(sd^2 + `NOISE_FLOOR`^2): sd falls from 2.4 to 0.005, and components below the floor
    are tracker noise, which plain division by sd would scale to the size of a smile.

    Args:
        config: sizes.
    """

    scale: Tensor  # [n_expression]

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("scale", torch.ones(config.n_expression))
        self.register_buffer("centre", torch.zeros(config.n_expression))  # mean over the training clips
        self.reduce = nn.Linear(config.n_expression, config.width)
        self.speech = nn.Linear(config.n_ppg + 1, config.width, bias=False)  # the last input means 'speech unknown'
        self.conv1 = nn.Conv1d(config.width, config.width, 5, padding=2)
        self.conv2 = nn.Conv1d(config.width, config.width, 5, padding=2)
        self.gru = nn.GRU(config.width, config.hidden, batch_first=True)
        self.attend = nn.Linear(config.hidden, 1)
        self.pooled = nn.Linear(2 * (config.hidden + config.width), config.hidden)
        self.posterior = nn.Linear(config.hidden, 2 * config.d_style)

    def set_statistics(self, centre: Tensor, sd: Tensor) -> None:
        """Set the corpus mean and the face model's sd, both [n_expression] in canonical units."""
        self.get_buffer("centre").copy_(centre)
        self.scale.copy_((sd**2 + NOISE_FLOOR**2).rsqrt())

    def forward(self, expression: Tensor, ppg: Tensor, known: Tensor, mask: Tensor) -> StylePosterior:
        """Encode a batch of clips of different lengths.

        Args:
            expression: [B, N, n_expression], canonical units as tracked.
            ppg: [B, N, n_ppg], at the video frames; ignored where the speech is unknown.
            known: [B], 1 if the speech of a clip is known, else 0.
            mask: [B, N], 1 for frames that count, 0 for padding and frames without a face; at least one 1 per clip.
        """
        valid = mask[..., None]
        has_speech = known[:, None, None].expand(-1, ppg.shape[1], 1)
        normalised = (expression - self.get_buffer("centre")) * self.scale
        x = self.reduce(normalised) + self.speech(torch.cat([ppg * has_speech, 1 - has_speech], -1))
        x = F.gelu(x) * valid
        y = F.gelu(self.conv1(x.transpose(1, 2))).transpose(1, 2) * valid
        x = x + F.gelu(self.conv2(y.transpose(1, 2))).transpose(1, 2) * valid
        hidden, _ = self.gru(x)  # forward in time only: padding at the end cannot reach earlier frames
        weight = torch.softmax(self.attend(hidden).masked_fill(valid == 0, -torch.inf), 1)  # [B, N, 1]
        features = torch.cat([hidden, x], -1)
        mean = (weight * features).sum(1)
        spread = ((weight * (features - mean[:, None]) ** 2).sum(1) + 1e-4).sqrt()
        h = torch.tanh(self.pooled(torch.cat([mean, spread], -1)))
        centre, log_std = self.posterior(h).chunk(2, -1)
        return StylePosterior(centre, log_std.clamp(*LOG_STD_RANGE), h)

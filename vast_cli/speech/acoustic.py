"""Acoustic network: normalised filter banks to the logits of 40 phonetic classes (paper 4.1)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vast_cli.core.arrays import Float32
from vast_cli.speech.normalise import SCALE, windowed_mean

CLASSES = tuple(
    "SIL AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)  # ARPAbet without stress, id = position
SIL = 0  # silence, breath, noise between words


@dataclass(frozen=True)
class AcousticConfig:
    """Shape of the network and of the normalisation it was trained for; saved in the weights' header.

    Args:
        n_mels: bands of the filter bank.
        n_classes: phonetic classes, `CLASSES`.
        hidden: width h of the residual stream.
        dilations: one residual block each, in steps of 40 ms.
        half_window: frames on each side in the mean (300 = 6 s).
        prior_frames: weight of the training mean in frames.
        gate: frames this many nats below the loudest do not count in the mean.
    """

    n_mels: int = 80
    n_classes: int = 40
    hidden: int = 256
    dilations: tuple[int, ...] = (1, 1, 2, 2, 3, 2)
    half_window: int = 300
    prior_frames: float = 50.0
    gate: float = 7.0

    def __post_init__(self) -> None:
        # headers come from outside: check bounds before memory is allocated
        sizes = (self.n_mels, self.n_classes, self.hidden, self.half_window, *self.dilations)
        if not all(isinstance(n, int) and 1 <= n <= 4_096 for n in sizes) or len(self.dilations) > 32:
            raise ValueError(f"impossible acoustic network: {self}")
        if not (0 < self.prior_frames < 1e6 and 0 < self.gate < 1e3):
            raise ValueError(f"impossible normalisation: {self}")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AcousticConfig:
        """Read a header; raises `KeyError`, `TypeError` or `ValueError` on what `to_json` cannot have written."""
        fields = json.loads(text)
        return cls(**{**fields, "dilations": tuple(int(d) for d in fields["dilations"])})


class DilatedBlock(nn.Module):
    """x + W2 gelu(W1 [n(t - d), n(t), n(t + d)]) with n = LayerNorm(x): a 3-tap dilated convolution, channels last.

    Written as a matrix product over three shifted copies: 1.5x a Conv1d on one CPU core, and bf16 pays there.
    """

    def __init__(self, hidden: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.dropout = 0.0  # share of inner channels dropped per sequence while training
        self.norm = nn.LayerNorm(hidden)
        self.taps = nn.Linear(3 * hidden, hidden)
        self.mix = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:  # [B, S, hidden] -> the same
        inner = F.gelu(self.taps(_three_taps(self.norm(x), self.dilation)))
        if self.training and self.dropout:
            # one sample for all instants: cheap, and neighbours cannot reveal what was dropped
            inner = inner * F.dropout(inner.new_ones(x.shape[0], 1, x.shape[2]), self.dropout)
        change: Tensor = self.mix(inner)
        return x + change


def _three_taps(x: Tensor, dilation: int) -> Tensor:
    """Stack x(t - d), x(t), x(t + d) along the channels, zeros outside: [B, S, C] -> [B, S, 3 C]."""
    padded = F.pad(x, (0, 0, dilation, dilation))
    n_steps = x.shape[1]
    return torch.cat([padded[:, :n_steps], x, padded[:, 2 * dilation :]], dim=2)


class AcousticModel(nn.Module):
    """Residual dilated network that works on steps of two frames (40 ms) and classifies both (20 ms each).

    Half the rate is half the arithmetic at the same width; the pair of frames enters whole, so no resolution is lost.
    Context is bounded (`context` frames each side), so audio cut in blocks with that much overlap gives the same
    result as the whole (`test_any_blocks_give_the_whole`).

    Args:
        config: sizes; `mean` (buffer, [80]) is the training mean of the filter banks.
    """

    mean: Tensor

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        self.config = config
        self.hash = ""  # of the weight file, as records carry it; set by `load_acoustic_model`
        self.register_buffer("mean", torch.zeros(config.n_mels))
        self.enter = nn.Linear(3 * 2 * config.n_mels, config.hidden)
        self.blocks = nn.ModuleList(DilatedBlock(config.hidden, d) for d in config.dilations)
        self.norm = nn.LayerNorm(config.hidden)
        self.leave = nn.Linear(config.hidden, 2 * config.n_classes)

    @property
    def context(self) -> int:
        """Frames on each side that an output depends on; even, so that blocks start on whole steps."""
        return 2 * (1 + sum(self.config.dilations))

    def normalise(self, features: Float32, rows: range, *, ahead: int | None = None) -> Float32:
        """What the network reads: rows of log-mel features [T, 80] less their windowed mean, over `SCALE`."""
        c, mean = self.config, self.mean.cpu().numpy()
        m = windowed_mean(
            features, mean, rows, half_window=c.half_window, prior_frames=c.prior_frames, gate=c.gate, ahead=ahead
        )
        return ((features[rows.start : rows.stop] - m) / SCALE).astype(np.float32)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of normalised features.

        Args:
            features: [B, T, 80], from `normalise`; the first frame has an even index in its audio.

        Returns:
            [B, T, 40], softmax over the last axis is the PPG.
        """
        n_batch, n_frames, n_mels = features.shape
        features = F.pad(features, (0, 0, 0, n_frames % 2))
        pairs = features.reshape(n_batch, -1, 2 * n_mels)
        x = self.enter(_three_taps(pairs, 1))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.leave(self.norm(x))
        return logits.reshape(n_batch, -1, self.config.n_classes)[:, :n_frames]

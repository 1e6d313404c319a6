"""Non-autoregressive decoder D^nar: predicts the 85 strong components of all frames at once (paper 3.3)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vast_cli import records
from vast_cli.core.arrays import Float32

SILENCE = 0  # class of the posteriorgram: silence, breath, noise between words
TAPS = (-2, -1, 0, 1, 2)  # PPG frames (20 ms) around a video frame that are its input


@dataclass(frozen=True)
class ExpressionConfig:
    """Shape of the hybrid decoder; saved in the weights' header.

    Args:
        n_ppg: phonetic classes.
        d_style: size of the latent part z of the style.
        n_moments: size of its other part, the moments q of the prompt; s = (z, q).
        width: channels of the Transformer.
        blocks: Transformer blocks.
        heads: attention heads per block.
        reach: distance in frames beyond which the attention bias is constant.
        dropout: in training.
        hidden: state of the LSTM of D^ar.
        free: directions of motion that the audio does not explain.
        drawn: weak components sampled from a mixture, the largest ones; the others take their mean.
        mixtures: Gaussians in the mixture.
        uses_latent: z reaches the decoders; False for a variant of the paper's tables.
        uses_moments: q reaches the decoders; False for a variant.
        autoregressive: D^ar predicts the weak components; False: D^nar does, a variant.
    """

    n_ppg: int = records.N_PHONES
    d_style: int = 64
    n_moments: int = 95
    width: int = 128
    blocks: int = 4
    heads: int = 4
    reach: int = 24
    dropout: float = 0.2
    hidden: int = 192
    free: int = 12
    drawn: int = 48
    mixtures: int = 4
    uses_latent: bool = True
    uses_moments: bool = True
    autoregressive: bool = True


def speech_input(values: Float32, start: int, stop: int) -> Float32:
    """Speech input of the decoders at video frames start .. stop - 1: [n, 5 * 40].

    Video frame k is at the centre of PPG frame 2 k - 1 (frame j is centred at 0.02 j + 0.02 s); the five PPG frames
    around it are stacked, so the decoder's first layer is a convolution of stride 2. Beyond the ends there is silence.
    Square roots (Hellinger's map) emphasise small posteriors.

    Args:
        values: [T, 40] at 50 Hz.
        start: first video frame.
        stop: one after the last video frame.
    """
    index = 2 * np.arange(start, stop)[:, None] - 1 + np.array(TAPS)
    inside = (index >= 0) & (index < len(values))
    silence = np.zeros(records.N_PHONES, np.float32)
    silence[SILENCE] = 1
    if len(values):
        frames = np.where(inside[..., None], values[np.clip(index, 0, len(values) - 1)], silence)
    else:
        frames = np.broadcast_to(silence, (*index.shape, records.N_PHONES))
    result: Float32 = np.sqrt(np.maximum(frames, 0)).reshape(len(index), -1).astype(np.float32)
    return result


class Block(nn.Module):
    """Attention with a learned bias per distance, then two dense layers; both modulated by the style (FiLM)."""

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        width, self.heads, self.reach = config.width, config.heads, config.reach
        self.dropout = config.dropout
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(config.d_style, 4 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense1 = nn.Linear(width, 3 * width)
        self.dense2 = nn.Linear(3 * width, width)
        self.shake = nn.Dropout(config.dropout)
        # initialised as ALiBi, near frames first: half an hour of speech is not enough for the heads to learn that
        distance = torch.arange(-self.reach, self.reach + 1).abs()
        slope = 2.0 ** -torch.arange(self.heads)
        self.bias = nn.Parameter(-slope[:, None] * distance[None] * 0.5)
        nn.init.normal_(self.film.weight, std=0.02)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, style: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, width], style [B, d_s], mask [B, N] (1 for frames) -> [B, N, width]."""
        batch, n, width = x.shape
        gain1, shift1, gain2, shift2 = self.film(style)[:, None].chunk(4, -1)
        y = self.norm1(x) * (1 + gain1) + shift1
        q, k, v = self.qkv(y).view(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        position = torch.arange(n, device=x.device)
        distance = (position[None] - position[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.bias[:, distance][None] + torch.where(mask > 0, 0.0, -1e4)[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.shake(self.out(y.transpose(1, 2).reshape(batch, n, width)))
        y = self.norm2(x) * (1 + gain2) + shift2
        result: Tensor = x + self.shake(self.dense2(F.gelu(self.dense1(y))))
        return result


class NonAutoregressiveDecoder(nn.Module):
    """X^st = D^nar(A, s) (paper 3.3, Eq. 4): a Transformer over the frames of a window.

    Positions enter only as distances, so windows may have any length, and the result does not depend on their start.

    Args:
        config: sizes.
    """

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.hear = nn.Linear(len(TAPS) * config.n_ppg, config.width)
        self.style = nn.Linear(config.d_style, config.width)  # added to all frames
        self.conv = nn.Conv1d(config.width, config.width, 5, padding=2)
        self.shake = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.strong = nn.Linear(config.width, records.N_STRONG)
        self.weak = None if config.autoregressive else nn.Linear(config.width, records.N_WEAK)
        self.rest = nn.Linear(config.d_style, records.N_STRONG)  # rest position of the style
        self.close = nn.Linear(config.width, 1)  # logit of closed lips
        nn.init.normal_(self.strong.weight, std=0.02)
        nn.init.normal_(self.close.weight, std=0.02)
        nn.init.constant_(self.close.bias, -3.0)
        nn.init.normal_(self.rest.weight, std=0.02)

    def forward(self, speech: Tensor, style: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Predict a batch of windows.

        Args:
            speech: [B, N, 200], from `speech_input`.
            style: [B, d_s].
            mask: [B, N], 1 for frames, 0 for padding.

        Returns:
            [B, N, 85] in the units of the style; [B, N], how far the lips are held closed, 0..1; and weak components
            [B, N, 148], where D^nar predicts them.
        """
        valid = mask[..., None]
        x = (F.gelu(self.hear(speech)) + self.style(style)[:, None]) * valid
        x = self.shake(x + F.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)) * valid
        for block in self.blocks:
            x = block(x, style, mask)
        x = self.norm(x)
        weak = None if self.weak is None else self.weak(x)
        return self.strong(x) + self.rest(style)[:, None], torch.sigmoid(self.close(x))[..., 0], weak

"""Hybrid decoder D: 85 strong components from D^nar, 148 weak ones from D^ar (paper 3.3), in the units of the style."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vast_cli.expression.autoregressive import AutoregressiveDecoder
from vast_cli.expression.free_motion import FreeMotion
from vast_cli.expression.nonautoregressive import ExpressionConfig, NonAutoregressiveDecoder
from vast_cli.records import N_EXPRESSION, N_STRONG, N_WEAK
from vast_cli.store import assets
from vast_cli.store.weights import DECODER, MOMENTS, STYLE_MODEL, Weights

WEAK_FLOOR = 0.02  # canonical units; below it a weak component is tracker noise
SHUT = -1.05  # opening of shut eyes over that of the mean face; tracked blinks reach -0.7 to -1.2
MAX_LOG_GAIN = 1.2  # a style moves a component 3.3 times as far as the mean style, or as little, at most
MAX_MOMENT = 4.0  # sd; moments beyond are as far out as this for the networks (levels and spreads go on)


class StyleUnits(NamedTuple):
    """What a style s = (z, q) means to the decoders."""

    code: Tensor  # [B, d_style], z and what q adds to it; modulates the networks
    level: Tensor  # [B, 233], where the components of the style rest, canonical units
    gain: Tensor  # [B, 233], canonical units a normalised unit: how far its components move


class HybridDecoder(nn.Module):
    """Both decoders and the units of their components.

    The networks predict motion in the units of the style, as adaptive instance normalisation does for images:
    x = level(q) + gain(q) y, with q the moments of the prompt. For a style of mean moments, level is the corpus mean
    and gain the face model's sd, for weak components sqrt(sd^2 + `WEAK_FLOOR`^2). Lips that D^nar holds closed are
    closed whatever the style scales: the gap is taken back afterwards.

    Args:
        config: sizes.
    """

    centre: Tensor  # [233], canonical units
    scale: Tensor  # [233]
    levels: Tensor  # [n_moments, 233], canonical units a unit of q
    spreads: Tensor  # [n_moments, 233], ln gain a unit of q
    gap: Tensor  # [85], lip gap as a linear function of the strong components
    closing: Tensor  # [85], the most natural motion that closes the lips by one unit of `gap`
    closed_gap: Tensor  # value of `gap` at closed lips
    lids: Tensor  # [148], opening of the eyes as a linear function of the weak components, 1 for the mean face's
    closing_lids: Tensor  # [148], the most natural motion that opens them by 1

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        self.nar = NonAutoregressiveDecoder(config)
        self.ar = AutoregressiveDecoder(config)
        self.free = FreeMotion(config)
        self.inject = nn.Linear(config.n_moments, config.d_style)
        nn.init.zeros_(self.inject.weight)
        nn.init.zeros_(self.inject.bias)
        self.register_buffer("centre", torch.zeros(N_EXPRESSION))
        self.register_buffer("scale", torch.ones(N_EXPRESSION))
        self.register_buffer("levels", torch.zeros(config.n_moments, N_EXPRESSION))
        self.register_buffer("spreads", torch.zeros(config.n_moments, N_EXPRESSION))
        self.register_buffer("gap", torch.zeros(N_STRONG))
        self.register_buffer("closing", torch.zeros(N_STRONG))
        self.register_buffer("closed_gap", torch.zeros(1))
        self.register_buffer("lids", torch.zeros(N_WEAK))
        self.register_buffer("closing_lids", torch.zeros(N_WEAK))

    def set_statistics(self, centre: Tensor, sd: Tensor) -> None:
        """Set the corpus mean and the face model's sd, both [233] in canonical units."""
        self.centre.copy_(centre)
        self.scale.copy_(sd)
        self.scale[N_STRONG:] = (sd[N_STRONG:] ** 2 + WEAK_FLOOR**2).sqrt()

    def set_lips(self, gap: Tensor, sd: Tensor, closed: float) -> None:
        """Set how strong components [85] open the lips, their sd [85], and the gap of closed lips."""
        self.gap.copy_(gap)
        self.closing.copy_(-(sd**2) * gap / (sd**2 * gap**2).sum())
        self.closed_gap.fill_(closed)

    def set_lids(self, lids: Tensor, sd: Tensor) -> None:
        """Set how weak components [148] open the eyes, and their sd [148]."""
        self.lids.copy_(lids)
        self.closing_lids.copy_(sd**2 * lids / (sd**2 * lids**2).sum())

    def units(self, style: Tensor) -> StyleUnits:
        """Level and gain of styles s [B, d_style + n_moments], and their code for the networks."""
        latent = style[:, : self.config.d_style] * float(self.config.uses_latent)
        moments = style[:, self.config.d_style :] * float(self.config.uses_moments)
        code = latent + self.inject(moments.clamp(-MAX_MOMENT, MAX_MOMENT))
        log_gain = (moments @ self.spreads).clamp(-MAX_LOG_GAIN, MAX_LOG_GAIN)
        return StyleUnits(code, self.centre + moments @ self.levels, self.scale * log_gain.exp())

    def strong(self, speech: Tensor, units: StyleUnits, mask: Tensor) -> Tensor:
        """X^st in canonical units, [B, N, 85]; arguments as in `NonAutoregressiveDecoder.forward`."""
        return self.without_past(speech, units, mask)[0]

    def without_past(self, speech: Tensor, units: StyleUnits, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """All that D^nar predicts, in canonical units: X^st, and X^wk in the variant without D^ar."""
        normalised, closed, weak = self.nar(speech, units.code, mask)
        moved = units.level[:, None, :N_STRONG] + units.gain[:, None, :N_STRONG] * normalised
        strong = moved + (closed * (moved @ self.gap - self.closed_gap))[..., None] * self.closing
        return strong, None if weak is None else self.denormalise_weak(weak, units)

    def normalise_weak(self, expression: Tensor, units: StyleUnits) -> Tensor:
        """X^wk of `expression` [B, N, 233] in the units of the styles, [B, N, 148]."""
        return (expression[..., N_STRONG:] - units.level[:, None, N_STRONG:]) / units.gain[:, None, N_STRONG:]

    def denormalise_weak(self, normalised: Tensor, units: StyleUnits) -> Tensor:
        """Inverse of `normalise_weak`: [B, N, 148] in canonical units; lids that would cross just close."""
        weak = normalised * units.gain[:, None, N_STRONG:] + units.level[:, None, N_STRONG:]
        crossed = (SHUT - weak @ self.lids).clamp_min(0)
        return weak + crossed[..., None] * self.closing_lids


@dataclass(frozen=True)
class ExpressionModel:
    """The hybrid decoder, loaded."""

    decoder: HybridDecoder
    blink_moment: tuple[float, float]  # mean and sd of the last moment, ln of 4 + blinks a minute
    hash: str
    face_model_hash: str
    acoustic_model_hash: str

    @property
    def d_style(self) -> int:
        """Size of the styles s = (z, q) that it takes."""
        return self.decoder.config.d_style + self.decoder.config.n_moments

    def blink_rate(self, style: Tensor) -> float:
        """Blinks a minute of a style s [d_style]; of the mean style where moments do not reach the decoder."""
        mean, sd = self.blink_moment
        q = float(style[-1]) if self.decoder.config.uses_moments else 0.0
        return math.exp(mean + sd * q) - 4


def load_expression_model(path: Path | None = None) -> ExpressionModel:
    """Read D from the shipped weights, or from a file of the same format.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
    """
    return STYLE_MODEL.load(assets.find("style") if path is None else path, _build_expression_model)


def _build_expression_model(weights: Weights) -> ExpressionModel:
    decoder = HybridDecoder(ExpressionConfig(**weights.header["expression"]))
    decoder.load_state_dict({k: torch.from_numpy(v) for k, v in weights.network_state(DECODER).items()})
    moments = weights.network_state(MOMENTS)
    return ExpressionModel(
        decoder.eval(),
        blink_moment=(float(moments["mean"][-1]), float(moments["scale"][-1])),
        hash=weights.sha256[:16],
        face_model_hash=str(weights.header["face_model_hash"]),
        acoustic_model_hash=str(weights.header["acoustic_model_hash"]),
    )

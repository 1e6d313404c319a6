"""Hybrid decoder D: 85 strong components from D^nar, 148 weak ones from D^ar (paper 3.3)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vast_cli.expression.autoregressive import AutoregressiveDecoder
from vast_cli.expression.nonautoregressive import ExpressionConfig, NonAutoregressiveDecoder
from vast_cli.records import N_EXPRESSION, N_STRONG
from vast_cli.store import assets
from vast_cli.store.weights import DECODER, STYLE_MODEL, Weights

WEAK_FLOOR = 0.02  # canonical units; below it a weak component is tracker noise


class HybridDecoder(nn.Module):
    """Both decoders and the units of their components.

    Normalised components are (value - corpus mean) / scale; the scale is the face model's sd, for weak components
    sqrt(sd^2 + `WEAK_FLOOR`^2).

    Args:
        config: sizes.
    """

    centre: Tensor  # [233], canonical units
    scale: Tensor  # [233]

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        self.nar = NonAutoregressiveDecoder(config)
        self.ar = AutoregressiveDecoder(config)
        self.register_buffer("centre", torch.zeros(N_EXPRESSION))
        self.register_buffer("scale", torch.ones(N_EXPRESSION))

    def set_statistics(self, centre: Tensor, sd: Tensor) -> None:
        """Set the corpus mean and the face model's sd, both [233] in canonical units."""
        self.centre.copy_(centre)
        self.scale.copy_(sd)
        self.scale[N_STRONG:] = (sd[N_STRONG:] ** 2 + WEAK_FLOOR**2).sqrt()

    def strong(self, speech: Tensor, style: Tensor, mask: Tensor) -> Tensor:
        """X^st in canonical units, [B, N, 85]; arguments as in `NonAutoregressiveDecoder.forward`."""
        normalised: Tensor = self.nar(speech, style, mask)
        return normalised * self.scale[:N_STRONG] + self.centre[:N_STRONG]

    def normalise_weak(self, expression: Tensor) -> Tensor:
        """X^wk of `expression` [..., 233] in normalised units, [..., 148]."""
        return (expression[..., N_STRONG:] - self.centre[N_STRONG:]) / self.scale[N_STRONG:]

    def denormalise_weak(self, normalised: Tensor) -> Tensor:
        """Inverse of `normalise_weak`: [..., 148] in canonical units."""
        return normalised * self.scale[N_STRONG:] + self.centre[N_STRONG:]


@dataclass(frozen=True)
class ExpressionModel:
    """The hybrid decoder, loaded."""

    decoder: HybridDecoder
    hash: str
    face_model_hash: str
    acoustic_model_hash: str

    @property
    def d_style(self) -> int:
        """Size of the style vectors that it takes."""
        return self.decoder.config.d_style


def load_expression_model(path: Path | None = None) -> ExpressionModel:
    """Read D from the shipped weights, or from a file of the same format.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
    """
    return STYLE_MODEL.load(assets.find("style") if path is None else path, _build_expression_model)


def _build_expression_model(weights: Weights) -> ExpressionModel:
    decoder = HybridDecoder(ExpressionConfig(**weights.header["expression"]))
    decoder.load_state_dict({k: torch.from_numpy(v) for k, v in weights.network_state(DECODER).items()})
    return ExpressionModel(
        decoder.eval(),
        hash=weights.sha256[:16],
        face_model_hash=str(weights.header["face_model_hash"]),
        acoustic_model_hash=str(weights.header["acoustic_model_hash"]),
    )

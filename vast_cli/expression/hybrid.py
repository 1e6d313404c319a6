"""Hybrid decoder D: 85 strong components by D^nar, 148 weak ones by D^ar (paper 3.3), and its weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.expression.autoregressive import AutoregressiveDecoder
from vast_cli.expression.nonautoregressive import ExpressionConfig, NonAutoregressiveDecoder
from vast_cli.records import N_EXPRESSION, N_STRONG
from vast_cli.store import assets

FORMAT, VERSION = "vast.style_model", 1  # one file with E^p and E^v, because they are trained together (Eq. 2)
PART = "expression."
WEAK_FLOOR = 0.02  # canonical units; below it a weak component is tracker noise


class HybridDecoder(nn.Module):
    """Both decoders and the units they work in.

    Inside, a component is (value - corpus mean) / scale; the scale is the face model's sd, for weak components
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
        """Take over the corpus mean and the face model's sd, both [233] in canonical units."""
        self.centre.copy_(centre)
        self.scale.copy_(sd)
        self.scale[N_STRONG:] = (sd[N_STRONG:] ** 2 + WEAK_FLOOR**2).sqrt()

    def strong(self, speech: Tensor, style: Tensor, mask: Tensor) -> Tensor:
        """X^st in canonical units, [B, N, 85]; arguments as in `NonAutoregressiveDecoder.forward`."""
        normal: Tensor = self.nar(speech, style, mask)
        return normal * self.scale[:N_STRONG] + self.centre[:N_STRONG]

    def normal_weak(self, expression: Tensor) -> Tensor:
        """X^wk of `expression` [..., 233] in the units of D^ar, [..., 148]."""
        return (expression[..., N_STRONG:] - self.centre[N_STRONG:]) / self.scale[N_STRONG:]

    def canonical_weak(self, normal: Tensor) -> Tensor:
        """Inverse of `normal_weak`: [..., 148] in canonical units."""
        return normal * self.scale[N_STRONG:] + self.centre[N_STRONG:]


@dataclass(frozen=True)
class ExpressionModel:
    """The hybrid decoder ready for use."""

    decoder: HybridDecoder
    hash: str
    face_model_hash: str
    acoustic_model_hash: str

    @property
    def d_style(self) -> int:
        """Size of the style vectors it takes."""
        return self.decoder.config.d_style


def load_expression_model(path: Path | None = None) -> ExpressionModel:
    """Read D from the weights that ship, or from others.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
    """
    path = assets.find("style") if path is None else path
    tensors, header = records.load_tensors(path, kind=FORMAT, version=VERSION)
    try:
        decoder = HybridDecoder(ExpressionConfig(**header["expression"]))
        state = {
            k.removeprefix(PART): torch.from_numpy(v.astype(np.float32))
            for k, v in tensors.items()
            if k.startswith(PART)
        }
        decoder.load_state_dict(state)
        hashes = str(header["face_model_hash"]), str(header["acoustic_model_hash"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` holds no valid expression model: {error}") from error
    return ExpressionModel(decoder.eval(), files.sha256(path)[:16], *hashes)

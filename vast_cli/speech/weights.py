"""The acoustic network's file: safetensors in half precision, its configuration in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vast_cli.speech.acoustic import AcousticConfig, AcousticModel
from vast_cli.store.weights import Weights, WeightsFormat

FORMAT = WeightsFormat("vast.acoustic", 1, "acoustic network", max_bytes=64 << 20)  # the shipped file has 5 MB


def save_acoustic_model(model: AcousticModel, path: Path, *, notes: Mapping[str, Any] | None = None) -> None:
    """Write float16 weights with configuration and `notes` (steps, seed ...) in the header, atomically."""
    tensors = {name: value.detach().to("cpu", torch.float16).numpy() for name, value in model.state_dict().items()}
    header = {**(notes or {}), "config": model.config.to_json()}
    FORMAT.save(path, tensors, header)


def load_acoustic_model(path: Path) -> AcousticModel:
    """Read an acoustic network; float32, evaluation mode, without gradients.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`; `vast_record_version`; `vast_record_invalid` when
            the file is no acoustic network, too large for one, or holds weights that are not finite.
    """
    return FORMAT.load(path, _build)


def _build(weights: Weights) -> AcousticModel:
    model = AcousticModel(AcousticConfig.from_json(weights.header["config"]))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.network_state().items()})
    model.hash = weights.sha256[:16]  # as `assets.model_hash` gives it
    return model.eval().requires_grad_(False)

"""The acoustic network's file: safetensors in half precision, its configuration in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vast_cli.core.errors import VastError
from vast_cli.core.files import sha256
from vast_cli.records import load_tensors, save_tensors
from vast_cli.speech.acoustic import AcousticConfig, AcousticModel

FORMAT = "vast.acoustic"
VERSION = 1
MAX_BYTES = 64 << 20  # ours has 5 MB; more is no acoustic network


def save_acoustic_model(model: AcousticModel, path: Path, *, notes: Mapping[str, Any] | None = None) -> None:
    """Write float16 weights with configuration and `notes` (steps, seed ...) in the header, atomically."""
    tensors = {name: value.detach().to("cpu", torch.float16).numpy() for name, value in model.state_dict().items()}
    header = {**(notes or {}), "config": model.config.to_json()}
    save_tensors(path, tensors, kind=FORMAT, version=VERSION, header=header)


def load_acoustic_model(path: Path) -> AcousticModel:
    """Read an acoustic network; float32, evaluation mode, without gradients.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`; `vast_record_version`; `vast_record_invalid` when
            the file is no acoustic network, too large for one, or holds weights that are not finite.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is too large for an acoustic network")
    tensors, header = load_tensors(path, kind=FORMAT, version=VERSION)
    try:
        model = AcousticModel(AcousticConfig.from_json(header["config"]))
        weights = {name: torch.from_numpy(value).float() for name, value in tensors.items()}
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is no acoustic network: {error}") from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise VastError("vast_record_invalid", f"`{path}` holds weights that are not finite")
    model.hash = sha256(path)[:16]  # as `assets.model_hash` gives it
    return model.eval().requires_grad_(False)

"""Weights that users bring: published files, read without unpickling code and refused unless every shape fits."""

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vast_cli.core import files
from vast_cli.core.errors import VastError

MAX_BYTES = 1 << 30
COUNTERS = "num_batches_tracked"  # older files lack them; they mean nothing in use


def load_published(network: nn.Module, path: Path, *, what: str, drop: Collection[str] = ()) -> dict[str, Tensor]:
    """Fill a network from a file of published weights: a PyTorch state dict or safetensors.

    Args:
        network: gets the weights and is set to evaluation.
        path: the file.
        what: name of the published file, for messages.
        drop: names in the file that the network does not have and does not need.

    Returns:
        Everything that the file holds.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    files.check_input(path)
    hint = f"give {what} as its authors publish it"
    if path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is larger than any {what}", hint=hint)
    state = _read(path, what=what, hint=hint)
    needed = {name: tuple(value.shape) for name, value in network.state_dict().items() if not name.endswith(COUNTERS)}
    given = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTERS)}
    for name, shape in needed.items():
        if given.get(name) != shape:
            found = f"is {given[name]}, not {shape}" if name in given else "is missing"
            raise VastError("vast_record_invalid", f"`{path}` is no {what}: `{name}` {found}", hint=hint)
    if unknown := sorted(given.keys() - needed.keys() - set(drop)):
        raise VastError("vast_record_invalid", f"`{path}` is no {what}: it also holds `{unknown[0]}`", hint=hint)
    for name in needed:
        if not torch.isfinite(state[name]).all():
            raise VastError("vast_record_invalid", f"`{path}`: `{name}` holds values that are no numbers", hint=hint)
    network.load_state_dict({name: state[name].float() for name in needed}, strict=False)
    network.eval().requires_grad_(False)
    return state


def _read(path: Path, *, what: str, hint: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise VastError("vast_record_invalid", f"`{path}` cannot be read: {_first_line(error)}", hint=hint) from error
    except Exception as error:  # a damaged file makes torch fail in a dozen ways, none of them documented
        raise VastError(
            "vast_record_invalid", f"`{path}` is no plain PyTorch state dict: {_first_line(error)}", hint=hint
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise VastError("vast_record_invalid", f"`{path}` is no {what}: it holds no state dict", hint=hint)
    return {str(name): value for name, value in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""Published weights that users bring: PyTorch files or safetensors, refused unless every shape fits.

PyTorch files are pickles. They are read with `torch.load(weights_only=True)`, whose unpickler builds tensors and plain
containers only and refuses every other class or function, so a file cannot run code.
"""

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vast_cli.core import files
from vast_cli.core.errors import VastError

MAX_BYTES = 1 << 30
COUNTERS = "num_batches_tracked"  # of batch normalisation in training; older files lack them


def load_published(network: nn.Module, path: Path, *, name: str, ignored: Collection[str] = ()) -> dict[str, Tensor]:
    """Fill a network with published weights from a PyTorch state dict or safetensors.

    Args:
        network: gets the weights and is set to evaluation.
        path: the file.
        name: of the published file, for messages.
        ignored: names in the file that the network does not have.

    Returns:
        All tensors of the file.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    files.check_input(path)
    hint = f"give {name} as its authors publish it"
    if path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is larger than any {name}", hint=hint)
    state = _read(path, name=name, hint=hint)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items() if not key.endswith(COUNTERS)}
    actual = {key: tuple(value.shape) for key, value in state.items() if not key.endswith(COUNTERS)}
    for key, shape in expected.items():
        if actual.get(key) != shape:
            fault = f"is {actual[key]}, not {shape}" if key in actual else "is missing"
            raise VastError("vast_record_invalid", f"`{path}` is no {name}: `{key}` {fault}", hint=hint)
    if unknown := sorted(actual.keys() - expected.keys() - set(ignored)):
        raise VastError("vast_record_invalid", f"`{path}` is no {name}: it also holds `{unknown[0]}`", hint=hint)
    for key in expected:
        if not torch.isfinite(state[key]).all():
            raise VastError("vast_record_invalid", f"`{path}`: `{key}` holds values that are no numbers", hint=hint)
    network.load_state_dict({key: state[key].float() for key in expected}, strict=False)
    network.eval().requires_grad_(False)
    return state


def _read(path: Path, *, name: str, hint: str) -> dict[str, Tensor]:
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
        raise VastError("vast_record_invalid", f"`{path}` is no {name}: it holds no state dict", hint=hint)
    return {str(key): value for key, value in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

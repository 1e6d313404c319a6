"""Checkpoints: states of modules and optimisers as safetensors, everything else in the JSON header."""

import dataclasses
import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from vast_cli import records
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

KIND, VERSION = "vast.checkpoint", 2

Parts = Mapping[str, nn.Module | Optimizer]


def fingerprint(settings: Any, *, ignore: Collection[str] = (), **facts: object) -> str:
    """Names a training by its settings and data; a checkpoint with another fingerprint is not resumed.

    Args:
        settings: of the trainer, a dataclass.
        ignore: fields that may change between a run and its resumption.
        facts: about the data, JSON.
    """
    fields = {name: value for name, value in dataclasses.asdict(settings).items() if name not in ignore}
    return json.dumps(fields | facts, sort_keys=True, default=str)


def save_checkpoint(path: Path, parts: Parts, *, fingerprint: str, state: Mapping[str, Any]) -> None:
    """Write the parts' tensors and the `state`, JSON, atomically."""
    tensors = {f"{name}/{key}": tensor for name, part in parts.items() for key, tensor in _tensors(part).items()}
    header = {"fingerprint": fingerprint, "state": dict(state)}
    records.save_tensors(path, tensors, kind=KIND, version=VERSION, header=header)


def load_checkpoint(path: Path, parts: Parts, *, fingerprint: str) -> dict[str, Any] | None:
    """Load the parts and give the `state`, or None where there is no checkpoint with this fingerprint."""
    ignore_pickled(path.with_suffix(".pt"))
    if not path.exists():
        return None
    try:
        tensors, header = records.load_tensors(path, kind=KIND, version=VERSION)
    except VastError as error:
        log.warning("ignoring the checkpoint: %s", error.message)
        return None
    if header["fingerprint"] != fingerprint:
        log.warning("ignoring the checkpoint `%s`: it has other settings or data", path)
        return None
    for name, part in parts.items():
        prefix = name + "/"
        _load(part, {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)})
    state: dict[str, Any] = header["state"]
    return state


def ignore_pickled(path: Path) -> None:
    """Warn about a pickled file of an earlier version, which is not read."""
    if path.exists():
        log.warning("ignoring `%s`, a file of an earlier version of vast; it can be deleted", path)


def _tensors(part: nn.Module | Optimizer) -> dict[str, NDArray[Any]]:
    if isinstance(part, nn.Module):
        return {key: value.cpu().numpy() for key, value in part.state_dict().items()}
    return {
        f"{index}/{key}": value.cpu().numpy()
        for index, values in part.state_dict()["state"].items()
        for key, value in values.items()
    }


@torch.no_grad()
def _load(part: nn.Module | Optimizer, tensors: Mapping[str, NDArray[Any]]) -> None:
    if isinstance(part, nn.Module):
        part.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
        return
    parameters = [p for group in part.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/")
        tensor = torch.from_numpy(value)
        if key == "step":
            tensor = tensor.reshape(())  # saved as [1]
        else:  # in the parameter's memory format: a resumed run computes in the same order as an uninterrupted one
            tensor = torch.empty_like(parameters[int(index)]).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    # the groups are the same; the schedule sets their learning rate
    part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})

"""Selects the device and the precision; `auto` selects the fastest safe ones on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vast_cli.core.errors import VastError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Compute:
    """Device, precision and threads that networks run with."""

    device: "torch.device"
    dtype: "torch.dtype"
    threads: int
    reason: str  # why these were selected, shown by `doctor` and `--verbose`


def cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU by their Linux names; empty if they cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def choose(device: str = "auto", *, dtype: str = "auto", threads: int = 0) -> Compute:
    """Resolve the options `--device`, `--dtype` and `--threads`, and set the number of torch's threads.

    Raises:
        VastError: `vast_device_unavailable`, `vast_option_invalid`.
    """
    import torch

    if dtype not in DTYPES:
        raise VastError("vast_option_invalid", f"no dtype `{dtype}`", hint=f"one of {', '.join(DTYPES)}")
    threads = threads or cores()
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        selected = torch.device(device)
    except RuntimeError as error:
        raise VastError("vast_option_invalid", f"no device `{device}`", hint="auto, cpu, cuda or cuda:N") from error
    if selected.type == "cuda":
        if not torch.cuda.is_available() or (selected.index or 0) >= torch.cuda.device_count():
            raise VastError("vast_device_unavailable", f"device `{device}` is not available")
        default, reason = torch.bfloat16, "CUDA device found"
    elif selected.type == "cpu":
        default, reason = torch.float32, "no CUDA device; fp32 gives the same bytes on every run"
    else:
        raise VastError("vast_option_invalid", f"device `{device}` is not supported", hint="auto, cpu, cuda or cuda:N")
    if selected.type == "cpu" and dtype == "fp16":
        raise VastError("vast_option_invalid", "fp16 needs a CUDA device", hint="use `--dtype fp32` or `--dtype auto`")
    names = {"auto": default, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return Compute(selected, names[dtype], threads, reason)

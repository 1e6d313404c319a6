"""Decides how many workers a machine can run: one per core as memory allows, or one per GPU."""

from pathlib import Path

from vast_cli.core import devices
from vast_cli.core.memory import free_memory

WORKER_BYTES = 1_000_000_000  # of a worker; measured: 0.63 GB of its own at full detail, ffmpeg and gates included
NVIDIA_DRIVER = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")


def worker_count(requested: int, device: str) -> int:
    """The number of workers to start.

    Args:
        requested: by the user; 0: what the machine can run.
        device: the option `--device`.
    """
    if requested > 0:
        return requested
    if device != "cpu" and (gpus := _gpu_count()) and not device.startswith("cuda:"):
        return gpus
    if device.startswith("cuda"):
        return 1
    memory = free_memory()
    fitting = devices.cores() if memory is None else max(1, memory // WORKER_BYTES)
    return int(max(1, min(devices.cores(), fitting)))


def has_nvidia_driver() -> bool:
    """Whether this machine has a driver for NVIDIA GPUs, found without loading torch."""
    return any(Path(name).exists() for name in NVIDIA_DRIVER)


def _gpu_count() -> int:
    """Number of CUDA devices; torch takes seconds to load, so it is imported only where there is a driver."""
    if not has_nvidia_driver():
        return 0
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0

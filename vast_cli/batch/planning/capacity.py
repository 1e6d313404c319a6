"""How many workers a machine takes: one a core and as memory allows, or one a GPU."""

from pathlib import Path

from vast_cli.core import devices
from vast_cli.core.memory import free_memory

WORKER_BYTES = 1_000_000_000  # of a worker; measured: 0.63 GB of its own at full detail, ffmpeg and gates included


def count(asked: int, device: str) -> int:
    """Workers to start when the user asks for `asked`; 0: what the machine takes."""
    if asked > 0:
        return asked
    if device != "cpu" and (gpus := _gpus()) and not device.startswith("cuda:"):
        return gpus
    if device.startswith("cuda"):
        return 1
    memory = free_memory()
    fitting = devices.cores() if memory is None else max(1, memory // WORKER_BYTES)
    return int(max(1, min(devices.cores(), fitting)))


def _gpus() -> int:
    """Number of CUDA devices; torch is only asked where there is a driver, it takes seconds to load."""
    if not any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")):
        return 0
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0

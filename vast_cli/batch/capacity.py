"""How many workers a machine takes: one a core and as memory allows, or one a GPU."""

import re
from pathlib import Path

from vast_cli import devices

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


def free_memory() -> int | None:
    """Bytes that new processes may use, if the system tells (Linux)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    free = [] if found is None else [1024 * int(found[1])]
    free += [left for left in (_left_in_group(Path("/sys/fs/cgroup")),) if left is not None]
    return min(free, default=None)


def _left_in_group(group: Path) -> int | None:
    """What a container's limit leaves."""
    try:
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    return max(0, int(limit) - used + (int(cached[1]) if cached else 0))


def _gpus() -> int:
    """Number of CUDA devices; torch is only asked where there is a driver, it takes seconds to load."""
    if not any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")):
        return 0
    import torch

    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0

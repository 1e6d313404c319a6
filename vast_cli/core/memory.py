"""Memory and disk: how much is free, and whether an exception says that memory ran out."""

import re
import shutil
from pathlib import Path


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: of the machine, or of a GPU (torch raises a `RuntimeError`)."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def free_memory() -> int | None:
    """Bytes that new processes may use, if the system says (Linux)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    free = [] if found is None else [1024 * int(found[1])]
    free += [left for left in (_left_in_cgroup(Path("/sys/fs/cgroup")),) if left is not None]
    return min(free, default=None)


def _left_in_cgroup(group: Path) -> int | None:
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


def free_disk(folder: Path) -> int:
    """Free bytes on the disk where `folder` is or will be."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return 0

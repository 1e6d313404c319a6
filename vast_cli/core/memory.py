"""Free memory and disk space, and exceptions that mean out of memory."""

import re
import shutil
from pathlib import Path


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means out of memory, of the machine or of a GPU (torch raises a `RuntimeError`)."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def free_memory() -> int | None:
    """Bytes available to new processes; None if the system does not report them (only Linux does)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    of_machine = None if match is None else 1024 * int(match[1])
    of_cgroup = _free_in_cgroup(Path("/sys/fs/cgroup"))
    return min((free for free in (of_machine, of_cgroup) if free is not None), default=None)


def _free_in_cgroup(group: Path) -> int | None:
    """Bytes that the memory limit of a container leaves; None without a limit."""
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
    """Free bytes on the disk of `folder`, which need not exist yet."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except OSError:
            continue
    return 0

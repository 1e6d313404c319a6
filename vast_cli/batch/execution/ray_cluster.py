"""The Ray cluster of a batch: connects to it or starts one, counts the workers it holds, kills processes on it."""

import contextlib
import logging
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vast_cli
from vast_cli.batch.job import WorkerSettings
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 << 20  # Ray's minimum: only paths are sent, never frames
HAS_PROC = Path("/proc/self/stat").exists()
KILL_S = 10.0  # for a killed process to be gone
KILL_REMOTE_S = 30.0  # the same on another machine, with the start of a task there
PASSED_VARIABLES = ("VAST_WEIGHTS", "VAST_AVATARS", "FFMPEG_PATH", "OMP_NUM_THREADS")  # environment of workers


@dataclass(frozen=True)
class WorkerProcess:
    """The process of a worker on its machine."""

    pid: int
    start_time: str  # tells it from a later process with the same id
    node: str


@dataclass(frozen=True)
class WorkerResources:
    """What one worker takes of the cluster."""

    cpus: int
    gpus: int


# --- the cluster ----------------------------------------------------------------------------------------------------


def import_ray() -> Any:
    """Import Ray with the settings that a batch needs.

    Raises:
        VastError: `vast_extra_missing`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # it would upload the working directory
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning, with the same effect
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster we start: as fast as local workers
    try:
        import ray
    except ImportError as error:
        raise VastError(
            "vast_extra_missing",
            "`--executor ray` needs Ray, which is not installed",
            hint="`python -m pip install 'vast-avatar[ray]'`",
        ) from error
    return ray


def connect(ray: Any, settings: WorkerSettings, n_workers: int) -> bool:
    """Connect to the cluster of `RAY_ADDRESS` or of `ray start`, else start one that ends with this process.

    Returns:
        Whether the caller has to disconnect: False if the program was connected already.

    Raises:
        VastError: `vast_device_unavailable` if the cluster does not answer.
    """
    if ray.is_initialized():
        return False
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    new_cluster = {"num_cpus": n_workers * max(1, settings.threads), "object_store_memory": OBJECT_STORE_BYTES}
    with _signal_handlers_kept():
        try:
            try:
                ray.init(**quiet, **new_cluster)
            except ValueError:  # there is a cluster already, which does not accept these options
                ray.init(**quiet)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            address = os.environ.get("RAY_ADDRESS") or "/tmp/ray/ray_current_cluster"
            hint = "start one with `ray start --head`; RAY_ADDRESS names it, or is `local` for one of our own"
            if "AuthToken" in f"{error} {error.__cause__}":
                hint = "set RAY_AUTH_MODE=token if the cluster asks for a token"
            raise VastError(
                "vast_device_unavailable", f"no Ray cluster answers at `{address}`: {_last_line(error)}", hint=hint
            ) from error
    _log_ray_messages(ray)
    return True


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces: its own would end the batch without a message."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError, TypeError):  # another thread than the main one; not set by Python
                signal.signal(number, handler)


def _log_ray_messages(ray: Any) -> None:
    """Send Ray's messages of dead workers to our log: it prints to standard output, where only results belong."""

    def log_lines(data: dict[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()):
            log.info("ray: %s", line)

    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = log_lines


def worker_resources(ray: Any, settings: WorkerSettings) -> WorkerResources:
    """What a worker with `settings` takes: a GPU each, where there are any."""
    gpus = settings.device.startswith("cuda") or (
        settings.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0
    )
    return WorkerResources(cpus=max(1, settings.threads), gpus=int(gpus))


def capacity(ray: Any, needs: WorkerResources) -> int:
    """How many workers the machines of the cluster hold together.

    Raises:
        VastError: `vast_device_unavailable` if no machine holds a worker.
    """
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            fits = int(resources.get("CPU", 0) // needs.cpus)
            total += min(fits, int(resources.get("GPU", 0) // needs.gpus)) if needs.gpus else fits
    if total == 0:
        raise VastError(
            "vast_device_unavailable",
            f"no machine of the Ray cluster has {needs.cpus} CPUs" + (" and a GPU" if needs.gpus else ""),
            hint="lower `--threads`, or use `--device cpu`",
        )
    return total


def runtime_environment() -> dict[str, Any]:
    """The runtime environment of workers: the same `vast_cli`, nothing uploaded."""
    variables = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    root = str(Path(vast_cli.__file__).resolve().parents[1])
    if root not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:  # a checkout
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {"env_vars": variables}


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


# --- processes ------------------------------------------------------------------------------------------------------


def start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where that cannot be read."""
    return _stat(pid)[1]


def _stat(pid: int) -> tuple[str, str]:
    """State and start time of a process; empty ones if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], fields[19]


def is_running(pid: int, started: str) -> bool:
    """Whether a process runs or is stopped; a zombie counts as ended."""
    if HAS_PROC:
        state, start = _stat(pid)
        return state not in ("", "Z", "X") and start == started
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def kill_process(pid: int, started: str) -> bool:
    """Kill a process of this machine, a stopped one too, and wait until it is gone.

    Returns:
        Whether it is gone.
    """
    deadline = time.monotonic() + KILL_S
    while is_running(pid, started):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

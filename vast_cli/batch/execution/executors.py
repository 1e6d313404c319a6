"""The protocol of executors and their registry. An executor starts, feeds and kills workers; the coordinator owns the
queue and gives outputs their names.
"""

import importlib
from collections.abc import Callable
from typing import Protocol

from vast_cli.batch.job import Message, Task, WorkerSettings

# name -> dotted path of a callable (settings: WorkerSettings, n_workers: int) -> Executor
EXECUTORS: dict[str, str] = {
    "local": "vast_cli.batch.execution.local_executor:LocalExecutor",
    "ray": "vast_cli.batch.execution.ray_executor:RayExecutor",
}


class Executor(Protocol):
    """Runs up to `n_workers` numbered workers, each with at most one task."""

    n_workers: int

    def start(self, worker: int) -> None:
        """Start a worker that does not run; it sends `Ready` when it can take a task."""
        ...

    def submit(self, worker: int, task: Task) -> None:
        """Send a worker a task. Never raises because the worker is dead: `poll` returns `Died` for it."""
        ...

    def poll(self, timeout_s: float) -> list[Message]:
        """Return the messages that arrived, waiting up to `timeout_s` for the first; one `Died` for a worker that is
        gone.
        """
        ...

    def kill(self, worker: int) -> None:
        """End a worker at once, a frozen one too, and wait until it is gone; its number is free again then."""
        ...

    def close(self) -> None:
        """End all workers; idle ones get time to end by themselves."""
        ...


def make_executor(name: str, settings: WorkerSettings, n_workers: int) -> Executor:
    """Make the executor `name` of `EXECUTORS`."""
    module, attribute = EXECUTORS[name].split(":")
    build: Callable[[WorkerSettings, int], Executor] = getattr(importlib.import_module(module), attribute)
    return build(settings, n_workers)

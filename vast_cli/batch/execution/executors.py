"""Where workers live. An executor starts, feeds, hears and kills them; queue and names are the coordinator's."""

import importlib
from collections.abc import Callable
from typing import Protocol

from vast_cli.batch.job import Message, Task, WorkerSettings

# name -> dotted path of a callable (settings: WorkerSettings, slots: int) -> Executor
EXECUTORS: dict[str, str] = {
    "local": "vast_cli.batch.execution.local:LocalExecutor",
    "ray": "vast_cli.batch.execution.ray:RayExecutor",
}


class Executor(Protocol):
    """Workers in numbered slots, one job in flight in each."""

    slots: int

    def start(self, slot: int) -> None:
        """Begin a fresh worker in an empty slot; it says `Ready` when it can work."""
        ...

    def submit(self, slot: int, task: Task) -> None:
        """Give the worker of a slot a job. Never raises because the worker is dead: `Died` tells."""
        ...

    def poll(self, timeout_s: float) -> list[Message]:
        """Messages that came, waiting up to `timeout_s` for the first; `Died` once for a worker that is gone."""
        ...

    def kill(self, slot: int) -> None:
        """End the worker of a slot at once, frozen ones too, and wait until it is gone; the slot is empty then."""
        ...

    def close(self) -> None:
        """End all workers; idle ones in peace."""
        ...


def make_executor(name: str, settings: WorkerSettings, slots: int) -> Executor:
    """The executor `name` of `EXECUTORS`."""
    module, attribute = EXECUTORS[name].split(":")
    build: Callable[[WorkerSettings, int], Executor] = getattr(importlib.import_module(module), attribute)
    return build(settings, slots)

"""What runs in a worker of a Ray cluster: one job at a time in one thread, and somebody to ask in another."""

import logging
import os
import threading
from typing import Any

from vast_cli.batch.execution.local import redirect
from vast_cli.batch.execution.ray_cluster import Home, birth
from vast_cli.batch.job import Done, Failed, Progress, Task, WorkerSettings
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)


class RayWorker:
    """An actor. `warm_up` and `run` queue up in its main thread; `hello` and `peek` have a thread of their own.

    Args:
        slot: whose answers these are.
        settings: what all its jobs share.
    """

    def __init__(self, slot: int, settings: WorkerSettings) -> None:
        redirect(settings.logs / f"worker-{slot}.log")
        self._slot, self._settings = slot, settings
        self._progress = _Latest(slot)
        self._runner: Any = None

    def hello(self) -> Home:
        """Where this process is, so that it can be ended even when it answers no more."""
        import ray

        return Home(os.getpid(), birth(os.getpid()), ray.get_runtime_context().get_node_id())

    def warm_up(self) -> None:
        """Import what every job needs."""
        from vast_cli.batch.execution.worker import Runner

        self._runner = Runner(self._settings)
        self._runner.warm_up()

    def run(self, task: Task) -> Done | Failed:
        """One attempt at a job."""
        self._progress.begin(task.key)
        try:
            return Done(self._slot, task.key, self._runner.run(task, self._progress))
        except VastError as error:
            return Failed(self._slot, task.key, error)

    def peek(self) -> list[Progress]:
        """What was done since the last time, the latest of each stage. That there is an answer is a sign of life."""
        return self._progress.take()


class _Latest:
    """Progress until it is asked for."""

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._key = ("", 0)
        self._stages: dict[str, Progress] = {}
        self._lock = threading.Lock()

    def begin(self, key: tuple[str, int]) -> None:
        with self._lock:
            self._key = key
            self._stages.clear()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        with self._lock:
            self._stages.pop(stage, None)  # the order is that of the work
            self._stages[stage] = Progress(self._slot, self._key, stage, done, total)

    def take(self) -> list[Progress]:
        with self._lock:
            told = list(self._stages.values())
            self._stages.clear()
        return told

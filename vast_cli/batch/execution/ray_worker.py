"""The actor of a worker in a Ray cluster: runs one task at a time and reports progress from a second thread."""

import logging
import os
import threading
from typing import Any

from vast_cli.batch.execution.ray_cluster import WorkerProcess, start_time
from vast_cli.batch.execution.worker_output import redirect_output
from vast_cli.batch.job import Done, Failed, Progress, Task, WorkerSettings
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)


class RayWorker:
    """An actor. `warm_up` and `run` run in its main thread; `describe` and `take_progress` have a thread of their own.

    Args:
        worker: number of this worker.
        settings: what all its jobs share.
    """

    def __init__(self, worker: int, settings: WorkerSettings) -> None:
        redirect_output(settings.logs / f"worker-{worker}.log")
        self._worker, self._settings = worker, settings
        self._progress = _LatestProgress(worker)
        self._runner: Any = None

    def describe(self) -> WorkerProcess:
        """This process and its machine, so that it can be killed when it no longer answers."""
        import ray

        return WorkerProcess(os.getpid(), start_time(os.getpid()), ray.get_runtime_context().get_node_id())

    def warm_up(self) -> None:
        """Import what every job needs."""
        from vast_cli.batch.execution.worker import JobRunner

        self._runner = JobRunner(self._settings)
        self._runner.warm_up()

    def run(self, task: Task) -> Done | Failed:
        """One attempt at a job."""
        self._progress.begin(task.key)
        try:
            return Done(self._worker, task.key, self._runner.run(task, self._progress))
        except VastError as error:
            return Failed(self._worker, task.key, error)

    def take_progress(self) -> list[Progress]:
        """The latest progress of each stage since the last call. The answer itself is a sign of life."""
        return self._progress.take()


class _LatestProgress:
    """Keeps the latest progress of each stage until it is taken."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
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
            self._stages[stage] = Progress(self._worker, self._key, stage, done, total)

    def take(self) -> list[Progress]:
        with self._lock:
            latest = list(self._stages.values())
            self._stages.clear()
        return latest

"""The workers of a batch: started while there is work, watched for silence and for missing progress."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from vast_cli.batch.execution.executors import Executor
from vast_cli.batch.execution.job_queue import QueuedJob
from vast_cli.batch.execution.settings import RunContext
from vast_cli.batch.job import Message, Progress, Ready, Task
from vast_cli.batch.monitor.events import PROGRESS_EVERY_S
from vast_cli.core.errors import VastError

POLL_S = 0.5
START_S = 300.0  # for a worker to load its libraries from a slow disk
MAX_FAILED_STARTS = 3  # in a row while no worker is ready
START_WAIT_S = 2.0  # before the next start while other workers are ready; doubles with each failed one, up to
MAX_START_WAIT_S = 60.0
SUSPENDED_S = 5.0  # between two checks, beyond `POLL_S`: this process or a disk was stopped, so no worker is to blame


@dataclass
class Worker:
    """What the coordinator knows of a worker; times are monotonic seconds."""

    ready: bool = False
    pid: int = 0
    queued: QueuedJob | None = None
    task: Task | None = None
    loaded_avatar: str | None = None  # avatar whose renderer it has loaded
    n_answers: int = 0
    last_message: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)  # the worker, then its current attempt
    last_progress: float = 0.0
    stage: str = ""
    stage_started: float = 0.0
    last_progress_event: float = 0.0

    def begin(self, queued: QueuedJob, task: Task) -> None:
        """Note that it gets a job."""
        now = time.monotonic()
        self.queued, self.task = queued, task
        self.started = self.last_progress = now
        self.stage, self.last_progress_event = "", 0.0
        self.loaded_avatar = queued.job.avatar

    def finish(self) -> None:
        """Note that it answered."""
        self.queued = self.task = None
        self.n_answers += 1


class WorkerPool:
    """The workers of an executor, by number.

    Args:
        executor: starts and ends the processes; closed by `close`.
        context: of the run.
    """

    def __init__(self, executor: Executor, context: RunContext) -> None:
        self.workers: dict[int, Worker] = {}
        self._executor, self._context = executor, context
        self._failed_starts = 0  # in a row
        self._failed_starts_alone = 0  # of these, while no worker was ready
        self._next_start = 0.0  # monotonic seconds
        self._last_check = time.monotonic()

    def busy(self) -> list[Worker]:
        """The workers that have a job."""
        return [worker for worker in self.workers.values() if worker.queued is not None]

    def start_workers(self, n_waiting: int) -> None:
        """Start as many workers as `n_waiting` queued jobs and those that run can use."""
        if time.monotonic() < self._next_start:
            return
        n_workers = self._context.settings.n_workers
        wanted = min(n_workers, self._executor.n_workers, n_waiting + len(self.busy()))
        for number in range(n_workers):
            if len(self.workers) >= wanted:
                return
            if number not in self.workers:
                self._executor.start(number)
                self.workers[number] = Worker()

    def submit(self, number: int, queued: QueuedJob, task: Task) -> None:
        """Send a worker a task."""
        self.workers[number].begin(queued, task)
        self._executor.submit(number, task)

    def stop(self, number: int) -> None:
        """End a worker at once; another one may take its number."""
        self._executor.kill(number)
        self.workers.pop(number, None)

    def close(self) -> None:
        """End all workers; idle ones get time to end by themselves."""
        self._executor.close()

    # --- messages ---------------------------------------------------------------------------------------------------

    def poll(self) -> list[Message]:
        """Return the messages that arrived; waits a moment for the first."""
        return self._executor.poll(POLL_S)

    def mark_ready(self, message: Ready) -> None:
        """Note that a worker can take jobs."""
        worker = self.workers[message.worker]
        worker.ready, worker.pid = True, message.pid
        self._failed_starts = self._failed_starts_alone = 0

    def record_progress(self, message: Progress) -> None:
        """Note that a worker made progress; emits an event for each new stage, and now and then within one."""
        number, worker = message.worker, self.workers[message.worker]
        now = time.monotonic()
        worker.last_progress = now
        assert worker.queued is not None
        job_id = worker.queued.job.id
        if message.stage != worker.stage:
            worker.stage, worker.stage_started = message.stage, now
            self._context.emit("stage", id=job_id, worker=number, stage=message.stage)
        elif now - worker.last_progress_event >= PROGRESS_EVERY_S:
            worker.last_progress_event = now
            fps = message.done / max(now - worker.stage_started, 1e-3)
            eta_s = None if message.total is None or not fps else round((message.total - message.done) / fps, 1)
            self._context.emit(
                "progress", id=job_id, worker=number, stage=message.stage, frames_done=message.done,
                frames_total=message.total, fps=round(fps, 2), eta_s=eta_s,
            )  # fmt: skip

    # --- missing messages -------------------------------------------------------------------------------------------

    def check(self) -> list[tuple[int, VastError]]:
        """Find workers that froze, take too long or do not start; each with the error that this is for its job."""
        now = time.monotonic()
        elapsed_s, self._last_check = now - self._last_check, now
        if elapsed_s > POLL_S + SUSPENDED_S:
            for worker in self.workers.values():
                worker.last_message = now
                worker.started += elapsed_s
                worker.last_progress += elapsed_s
        errors = [(number, self._error(worker, now)) for number, worker in self.workers.items()]
        return [(number, error) for number, error in errors if error is not None]

    def _error(self, worker: Worker, now: float) -> VastError | None:
        settings = self._context.settings
        if not worker.ready:
            late = now - worker.started > START_S
            return VastError("vast_worker_died", f"its worker did not start within {START_S:.0f} s") if late else None
        if now - worker.last_message > settings.silence_s:
            return VastError("vast_worker_died", f"its worker froze: no sign of life for {settings.silence_s:.0f} s")
        if worker.queued is None:
            return None
        if settings.timeout_s is not None and now - worker.started > settings.timeout_s:
            return VastError("vast_timeout", f"not done after {settings.timeout_s:.0f} s", hint="raise `--timeout`")
        if now - worker.last_progress > settings.stall_s:
            return VastError("vast_timeout", f"no progress for {settings.stall_s:.0f} s", hint="raise `--stall`")
        return None

    def record_failed_start(self, number: int, reason: str) -> None:
        """Count a worker that died before it was ready; while others are ready, the next start waits longer.

        Raises:
            VastError: `vast_worker_died` if no worker is ready and the last `MAX_FAILED_STARTS` starts failed.
        """
        self._failed_starts += 1
        if any(worker.ready for worker in self.workers.values()):
            wait_s = min(MAX_START_WAIT_S, START_WAIT_S * 2 ** (self._failed_starts - 1))
            self._next_start, self._failed_starts_alone = time.monotonic() + wait_s, 0
            return
        self._failed_starts_alone += 1
        if self._failed_starts_alone >= MAX_FAILED_STARTS:
            hint = f"see `{self.log_path(number)}`"
            raise VastError("vast_worker_died", f"workers do not start: the last one {reason}", hint=hint)

    def log_path(self, number: int) -> Path:
        """The log of what a worker prints."""
        return self._context.logs / f"worker-{number}.log"

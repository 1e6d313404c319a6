"""The jobs that are left to run, in an order that keeps each worker on the avatar it has loaded."""

import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vast_cli.batch.job import Job
from vast_cli.batch.planning.decisions import PlannedJob

BATCH_SIZE = 8  # frames through the network at once, until memory runs out


@dataclass
class QueuedJob:
    """A planned job with what happened to it in this run."""

    planned: PlannedJob
    attempt: int = 0
    retries: int = 0  # that its errors were granted by `--retries`
    killed_workers: int = 0
    internal_errors: int = 0
    redraws: int = 0  # other seeds tried after a missed gate
    batch_size: int = BATCH_SIZE
    not_before: float = 0.0  # monotonic seconds

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.planned.job


class JobQueue:
    """Jobs grouped by avatar, ordered by prompt within an avatar; retries are due when their wait is over."""

    def __init__(self, jobs: Iterable[QueuedJob]) -> None:
        self._ready: OrderedDict[str, deque[QueuedJob]] = OrderedDict()
        self._waiting: list[QueuedJob] = []
        for queued in sorted(jobs, key=lambda q: (q.job.avatar, str(q.job.prompt or q.job.style or ""), q.job.index)):
            self._ready.setdefault(queued.job.avatar, deque()).append(queued)

    def __len__(self) -> int:
        return sum(map(len, self._ready.values())) + len(self._waiting)

    def requeue(self, queued: QueuedJob, *, wait_s: float) -> None:
        """Put a job back for a retry in `wait_s` seconds, ahead of jobs that were never tried."""
        queued.not_before = time.monotonic() + wait_s
        self._waiting.append(queued)

    def take(self, *, loaded_avatar: str | None, busy_avatars: Collection[str]) -> QueuedJob | None:
        """Remove and return the next job for a worker.

        Args:
            loaded_avatar: avatar whose renderer the worker has loaded; its jobs are preferred.
            busy_avatars: avatars that other workers render now; their jobs come last.

        Returns:
            The job; None if every job left still waits for its retry.
        """
        now = time.monotonic()
        due = min((q for q in self._waiting if q.not_before <= now), key=lambda q: q.not_before, default=None)
        if due is not None:
            self._waiting.remove(due)
            return due
        if not self._ready:
            return None
        avatar = loaded_avatar
        if avatar is None or avatar not in self._ready:
            avatar = next((name for name in self._ready if name not in busy_avatars), next(iter(self._ready)))
        queued = self._ready[avatar].popleft()
        if not self._ready[avatar]:
            del self._ready[avatar]
        return queued

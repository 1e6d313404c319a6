"""Decides what a failure means: retry the job, give it up, or stop the batch."""

from dataclasses import dataclass

from vast_cli.batch.execution.job_queue import QueuedJob
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.memory import free_disk

RETRY_WAIT_S = 2.0  # before the first retry; doubles with each
MAX_KILLED_WORKERS = 2  # a job that killed so many is given up
MAX_INTERNAL_RETRIES = 1  # a bug may come from the worker's state, so the job runs once more in a new worker
MIN_FREE_BYTES = 64 << 20  # on the disk before a job that met a full one is retried
BREAKER_LIMIT = 5  # failures in a row with one code
MACHINE_FAULTS = frozenset({Exit.UNAVAILABLE, Exit.RESOURCE, Exit.IOERROR})  # the machine's fault, not the job's
KILLS_WORKER = frozenset({"vast_worker_died", "vast_timeout"})
# a smaller batch changes roundings and so bytes, so it is tried only where memory ran out, not where a worker died
HALVES_BATCH_SIZE = frozenset({"vast_out_of_memory"})


def wait_before_retry(error: VastError, queued: QueuedJob, *, retries: int) -> float | None:
    """Decide whether a job is retried after `error`, and count the error in `queued`.

    Returns:
        Seconds to wait before the retry; None to give the job up.
    """
    if error.exit == Exit.INTERNAL:
        queued.internal_errors += 1
        return 0.0 if queued.internal_errors <= MAX_INTERNAL_RETRIES else None
    if error.exit not in (Exit.RESOURCE, Exit.IOERROR):
        return None
    if error.exit == Exit.IOERROR and free_disk(queued.job.output.parent) < MIN_FREE_BYTES:
        return None  # retries on a full disk only fill the log
    if error.code in HALVES_BATCH_SIZE:
        queued.batch_size = max(1, queued.batch_size // 2)
    if error.code in KILLS_WORKER:
        queued.killed_workers += 1
        if queued.killed_workers >= MAX_KILLED_WORKERS:
            return None
    if queued.retries >= retries:
        return None
    queued.retries += 1
    return float(RETRY_WAIT_S * 2 ** (queued.retries - 1))


@dataclass
class CircuitBreaker:
    """Stops a batch in which one fault of the machine fails job after job."""

    code: str | None = None
    in_a_row: int = 0

    def record_success(self) -> None:
        """Start counting again."""
        self.code, self.in_a_row = None, 0

    def record_failure(self, error: VastError) -> bool:
        """Count a job that was given up.

        Returns:
            Whether the batch has to stop.
        """
        if error.exit not in MACHINE_FAULTS:
            self.code, self.in_a_row = None, 0
            return False
        self.in_a_row = self.in_a_row + 1 if error.code == self.code else 1
        self.code = error.code
        return self.in_a_row >= BREAKER_LIMIT

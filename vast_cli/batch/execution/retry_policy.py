"""What a failure means for its job and for the batch: try again, give up, or stop everything."""

from dataclasses import dataclass

from vast_cli.batch.execution.job_queue import Entry
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.memory import free_disk

WAIT_S = 2.0  # before the first retry; doubles
MAX_DEATHS = 2  # a job that took two workers with it is set aside
MAX_INTERNAL = 1  # a bug may have been the worker's state: once more, in a new worker
ROOM = 64 << 20  # bytes that must be free before a job that met a full disk is tried again
BREAKER = 5  # failures in a row with one code
SYSTEMIC = frozenset({Exit.UNAVAILABLE, Exit.RESOURCE, Exit.IOERROR})  # the machine's fault rather than the job's
KILLERS = frozenset({"vast_worker_died", "vast_timeout"})
# less at once may help; it changes roundings and so bytes, wherefore a worker that merely died is no reason
HUNGRY = frozenset({"vast_out_of_memory"})


def wait_before_retry(error: VastError, entry: Entry, *, retries: int) -> float | None:
    """Seconds until `entry` is tried again after `error`; None to give it up. Counts what happened in `entry`."""
    if error.exit == Exit.INTERNAL:
        entry.internal += 1
        return 0.0 if entry.internal <= MAX_INTERNAL else None
    if error.exit not in (Exit.RESOURCE, Exit.IOERROR):
        return None
    if error.exit == Exit.IOERROR and free_disk(entry.job.output.parent) < ROOM:
        return None  # trying on a full disk only fills the log
    if error.code in HUNGRY:
        entry.batch = max(1, entry.batch // 2)
    if error.code in KILLERS:
        entry.deaths += 1
        if entry.deaths >= MAX_DEATHS:
            return None
    if entry.retries >= retries:
        return None
    entry.retries += 1
    return float(WAIT_S * 2 ** (entry.retries - 1))


@dataclass
class Breaker:
    """Stops a batch in which one fault of the machine fails job after job."""

    code: str | None = None
    in_a_row: int = 0

    def succeed(self) -> None:
        """A job was finished."""
        self.code, self.in_a_row = None, 0

    def fail(self, error: VastError) -> bool:
        """A job was given up; whether that is enough."""
        if error.exit not in SYSTEMIC:
            self.code, self.in_a_row = None, 0
            return False
        self.in_a_row = self.in_a_row + 1 if error.code == self.code else 1
        self.code = error.code
        return self.in_a_row >= BREAKER

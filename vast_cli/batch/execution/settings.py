"""What a coordinator is told beside the plan."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunSettings:
    """How a batch is run.

    Attributes:
        workers: slots to use.
        retries: further attempts at a job that failed for want of a resource.
        max_failures: no new jobs after so many failures.
        timeout_s: limit of one attempt.
        stall_s: limit without progress.
        silence_s: limit without a sign of life: the worker is frozen.
        jobs_per_worker: a worker is replaced after so many.
        overwrite: replace files that are not ours.
        whole: the plan holds all jobs of the state folder; segments of others are swept away then.
    """

    workers: int
    retries: int = 2
    max_failures: int | None = None
    timeout_s: float | None = None
    stall_s: float = 300.0
    silence_s: float = 30.0
    jobs_per_worker: int | None = None
    overwrite: bool = False
    whole: bool = False

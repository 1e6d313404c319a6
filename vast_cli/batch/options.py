"""How a batch is run, and which of its jobs; what a job itself may set is in `manifest.options`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vast_cli.batch.job import Job
from vast_cli.batch.planning import decisions
from vast_cli.batch.state.replay import JobState, State
from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.store import cache


@dataclass(frozen=True)
class Selection:
    """What `vast retry` is about: failed jobs, with some codes, or some ids; and what is changed for them."""

    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    changes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run; the options of `vast batch` of the same names.

    Attributes:
        workers: 0: what the machine takes.
        retries: further attempts at jobs that failed for want of a resource.
        max_failures: no new jobs after so many.
        max_failed_share: no new jobs after so large a share of all, 0 - 1.
        timeout_s: limit of one attempt.
        stall_s: limit without progress.
        jobs_per_worker: a worker is replaced after so many.
        overwrite: replace files that are not this batch's.
        force: run everything anew.
        rerun_on: classes of reasons to run for, see `decide.parse_rerun_on`.
        repair: keep the good lines of a broken journal.
        wait: for another run of this batch to end.
        executor: local or ray.
        cache: folder of tracks, styles and posteriorgrams; None: the platform's.
        device, dtype: of the networks.
        threads: of each worker; 0: all cores shared among them.
        report: write `report.html` at the end.
        events: file for JSON Lines; `-`: standard output.
        joblog: file for a table of jobs.
        select: only some of the failed jobs.
    """

    workers: int = 0
    retries: int = 2
    max_failures: int | None = None
    max_failed_share: float | None = None
    timeout_s: float | None = None
    stall_s: float = 300.0
    jobs_per_worker: int | None = None
    overwrite: bool = False
    force: bool = False
    rerun_on: Collection[str] = decisions.RERUN_ON
    repair: bool = False
    wait: bool = False
    executor: str = "local"
    cache: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    report: bool = True
    events: Path | None = None
    joblog: Path | None = None
    select: Selection | None = None

    @property
    def cache_folder(self) -> Path:
        """Where the cache lies."""
        return (self.cache or cache.default_folder()).absolute()


def selected(jobs: Sequence[Job], select: Selection | None, state: State) -> list[Job]:
    """The jobs that a selection is about; all without one.

    Raises:
        VastError: `vast_option_invalid`: an id that is unknown, or has not failed.
    """
    if select is None:
        return list(jobs)
    known = {job.id for job in jobs}
    for job_id in sorted(select.ids):
        if job_id not in known:
            hint = suggest(job_id, known, otherwise="`vast status` lists the failed ones")
            raise VastError("vast_option_invalid", f"no job `{job_id}`", hint=hint)
        if state.job(job_id).status != "failed":
            raise VastError(
                "vast_option_invalid",
                f"job `{job_id}` has not failed (it is {state.job(job_id).status})",
                hint="`vast batch` runs what is missing, `--force` everything",
            )
    return [job for job in jobs if _is_selected(state.job(job.id), select)]


def _is_selected(past: JobState, select: Selection) -> bool:
    if past.status != "failed" or past.failure is None:
        return False
    by_code = not select.codes or past.failure.code in select.codes
    return by_code and (not select.ids or past.id in select.ids)

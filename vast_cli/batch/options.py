"""Options of a run: its limits, its machine and which jobs it selects; options of jobs are in `manifest.options`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vast_cli.batch.job import Job
from vast_cli.batch.planning import decisions
from vast_cli.batch.state.journal_replay import BatchState, JobState
from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.store import folders


@dataclass(frozen=True)
class Selection:
    """The jobs that `vast retry` runs again, and the options it changes for them.

    Attributes:
        codes: failed jobs with one of these error codes; all failed jobs if empty.
        ids: failed jobs with one of these ids; all failed jobs if empty.
        changes: options that the jobs get from now on.
    """

    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    changes: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """When a run retries a job, gives it up, replaces a worker or a file, or stops.

    Attributes:
        retries: further attempts at a job that failed for want of a resource.
        max_failures: no new jobs after so many failures.
        timeout_s: limit of one attempt.
        stall_s: limit of an attempt without progress.
        jobs_per_worker: a worker is replaced after so many jobs.
        overwrite: replace files that this batch did not make.
    """

    retries: int = 2
    max_failures: int | None = None
    timeout_s: float | None = None
    stall_s: float = 300.0
    jobs_per_worker: int | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchOptions(RunLimits):
    """How a batch is run; the options of `vast batch` of the same names.

    Attributes:
        workers: 0: as many as the machine holds.
        max_failed_share: no new jobs after so large a share of all failed, 0 - 1.
        force: run everything again.
        rerun_on: classes of reasons to run for, see `decisions.parse_rerun_on`.
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
    max_failed_share: float | None = None
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
        """Absolute path of the cache."""
        return (self.cache or folders.cache_folder()).absolute()


def selected(jobs: Sequence[Job], select: Selection | None, state: BatchState) -> list[Job]:
    """The jobs of a selection; all jobs if there is none.

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

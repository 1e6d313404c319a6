"""Plans a run without changing anything: a decision for each job, the number of workers, the time and the disk."""

import warnings
from dataclasses import dataclass

from vast_cli.batch.options import BatchOptions, selected
from vast_cli.batch.planning import capacity
from vast_cli.batch.planning.decisions import PlannedJob, plan_jobs
from vast_cli.batch.planning.estimate import Estimate, estimate
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.batch.state.journal_replay import BatchState, find_journals, replay_journals
from vast_cli.store.hashes import FileHashes


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        jobs: every job with its decision, in the manifest's order.
        workers: the number of workers.
        estimate: time and disk with so many workers.
    """

    jobs: tuple[PlannedJob, ...]
    workers: int
    estimate: Estimate

    @property
    def planned(self) -> tuple[PlannedJob, ...]:
        """Old name of `jobs`."""
        warnings.warn("`Plan.planned` is now `Plan.jobs`", DeprecationWarning, stacklevel=2)
        return self.jobs

    @property
    def to_run(self) -> int:
        """Number of jobs that are not done yet, including those that cannot run."""
        return sum(one.action != "skip" for one in self.jobs)

    @property
    def weights(self) -> dict[str, float]:
        """How much work each job is that is not done yet, by id: seconds of audio."""
        known = [one.audio_s for one in self.jobs if one.action == "run" and one.audio_s is not None]
        mean = sum(known) / len(known) if known else 1.0
        return {
            one.job.id: 0.0 if one.action != "run" else mean if one.audio_s is None else one.audio_s
            for one in self.jobs
            if one.action != "skip"
        }


def plan_batch(batch: OpenBatch, options: BatchOptions, *, state: BatchState | None = None) -> Plan:
    """Decide what a run does with every job; changes nothing.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`, `vast_option_invalid`.
    """
    state = state or replay_journals(find_journals(batch.folder))
    jobs = selected(batch.jobs, options.select, state)
    hashes = FileHashes(options.cache_folder)
    planned = plan_jobs(
        jobs, state, hashes, overwrite=options.overwrite, force=options.force, rerun_on=options.rerun_on
    )
    workers = capacity.worker_count(options.workers, options.device)
    return Plan(
        tuple(planned),
        workers,
        estimate(planned, state, workers=workers, cache=options.cache_folder, device=options.device),
    )

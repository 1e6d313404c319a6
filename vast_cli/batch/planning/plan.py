"""What a run would do: a decision for each job, how many workers, how long, how much disk. Nothing is changed."""

from dataclasses import dataclass

from vast_cli.batch.options import BatchOptions, selected
from vast_cli.batch.planning import capacity, decisions
from vast_cli.batch.planning.decisions import Planned
from vast_cli.batch.planning.estimate import Estimate, estimate
from vast_cli.batch.state import replay
from vast_cli.batch.state.folder import Batch
from vast_cli.store.hashes import Hashes


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        planned: a decision for every job, in the manifest's order.
        workers: that it was made for.
        estimate: time and disk.
    """

    planned: tuple[Planned, ...]
    workers: int
    estimate: Estimate

    @property
    def to_run(self) -> int:
        """Jobs that are not done yet, those that cannot be run included."""
        return sum(one.action != "skip" for one in self.planned)

    @property
    def weights(self) -> dict[str, float]:
        """How much of the work each job is that is not done yet, by id: seconds of sound."""
        known = [one.sound_s for one in self.planned if one.action == "run" and one.sound_s is not None]
        mean = sum(known) / len(known) if known else 1.0
        return {
            one.job.id: 0.0 if one.action != "run" else mean if one.sound_s is None else one.sound_s
            for one in self.planned
            if one.action != "skip"
        }


def plan_batch(batch: Batch, options: BatchOptions, *, state: replay.State | None = None) -> Plan:
    """Decide what becomes of every job; changes nothing.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`, `vast_option_invalid`.
    """
    state = state or replay.replay(replay.find_journals(batch.folder))
    jobs = selected(batch.jobs, options.select, state)
    hashes = Hashes(options.cache_folder)
    planned = decisions.make_plan(
        jobs, state, hashes, overwrite=options.overwrite, force=options.force, rerun_on=options.rerun_on
    )
    workers = capacity.count(options.workers, options.device)
    return Plan(
        tuple(planned),
        workers,
        estimate(planned, state, workers=workers, cache=options.cache_folder, device=options.device),
    )

"""The settings of a run, and what all parts of a run share."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from vast_cli.batch.monitor.events import EventSink
from vast_cli.batch.options import BatchOptions, RunLimits
from vast_cli.batch.state.journal import Journal


@dataclass(frozen=True, kw_only=True)
class RunSettings(RunLimits):
    """The limits of a run, with what its plan adds to them.

    Attributes:
        n_workers: workers at once.
        silence_s: limit without a sign of life, after which a worker counts as frozen.
        all_jobs: the plan holds all jobs of the state folder, so segments of other jobs are swept away at the end.
    """

    n_workers: int
    silence_s: float = 30.0
    all_jobs: bool = False

    @classmethod
    def of(cls, options: BatchOptions, *, n_workers: int, n_jobs: int, all_jobs: bool) -> "RunSettings":
        """The settings for a plan of `n_jobs` jobs; the smaller of the two limits of failures counts."""
        limits = {field.name: getattr(options, field.name) for field in fields(RunLimits)}
        share = options.max_failed_share
        if share is not None:
            allowed = max(1, math.ceil(share * n_jobs))
            limits["max_failures"] = allowed if options.max_failures is None else min(allowed, options.max_failures)
        return cls(n_workers=n_workers, all_jobs=all_jobs, **limits)


@dataclass(frozen=True)
class RunContext:
    """What all parts of a run share.

    Attributes:
        journal: open for this run.
        state_folder: folder of logs, finished segments and figures.
        settings: limits and number of workers.
        emit: takes the events of the run.
    """

    journal: Journal
    state_folder: Path
    settings: RunSettings
    emit: EventSink

    @property
    def logs(self) -> Path:
        """Folder of the logs of jobs and workers."""
        return self.state_folder / "logs"

    @property
    def segments(self) -> Path:
        """Folder of the finished segments of long videos."""
        return self.state_folder / "parts"

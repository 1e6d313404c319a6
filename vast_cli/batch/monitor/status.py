"""The status of a batch, read from journals and locks; it may be running, here or elsewhere, in shards or whole."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from vast_cli.batch.state.folder import OpenBatch, find_locks
from vast_cli.batch.state.journal_replay import (
    STATUS_RANK,
    BatchRun,
    BatchState,
    JobState,
    JobStatus,
    find_journals,
    replay_journals,
)
from vast_cli.batch.timestamps import parse_timestamp
from vast_cli.core.errors import ERROR_KINDS
from vast_cli.core.locks import Owner, owner


@dataclass(frozen=True)
class ActiveRun:
    """A run that is going on."""

    shard: str | None  # `3/16`
    owner: Owner
    run: BatchRun | None  # from its journal; None in its first moments


@dataclass(frozen=True)
class BatchStatus:
    """The status of a batch.

    Attributes:
        jobs: state of every job of the manifest or the shard, in its order.
        active_runs: runs that are going on.
        fps: frames a second of all active runs together; None if none has finished a job.
        eta_s: seconds left at the rate of the active runs; None if there is none, or none has finished a job.
    """

    jobs: tuple[JobState, ...]
    active_runs: tuple[ActiveRun, ...]
    fps: float | None
    eta_s: float | None

    def count(self, status: JobStatus) -> int:
        """Number of jobs of a status."""
        return sum(job.status == status for job in self.jobs)

    @property
    def left(self) -> int:
        """Jobs that are neither done nor failed, running ones included."""
        return len(self.jobs) - self.count("done") - self.count("failed")

    def failures(self) -> list[dict[str, Any]]:
        """Failed jobs by code, the most frequent first."""
        return group_failures(
            {"id": job.id, "code": job.failure.code, "message": job.failure.message, "hint": job.failure.hint}
            for job in self.jobs
            if job.status == "failed" and job.failure is not None
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": "vast.status/1",
            "jobs": len(self.jobs),
            "done": self.count("done"),
            "failed": self.count("failed"),
            "running": self.count("started"),
            "interrupted": self.count("interrupted"),
            "new": self.count("new"),
            "left": self.left,
            "fps": self.fps,
            "eta_s": self.eta_s,
            "runs": [
                {"shard": one.shard, "pid": one.owner.pid, "host": one.owner.host, "since": one.owner.since}
                for one in self.active_runs
            ],
            "running_jobs": [
                {"id": job.id, "worker": job.worker, "since": job.t} for job in self.jobs if job.status == "started"
            ],
            "failures": self.failures(),
        }


def read_status(batch: OpenBatch, *, now: datetime | None = None) -> BatchStatus:
    """The status of `batch`; reads only.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`.
    """
    now = now or datetime.now(timezone.utc)
    owners = {path.name: holder for path in find_locks(batch.folder) if (holder := owner(path)) is not None}
    states: list[BatchState] = []
    active_runs: list[ActiveRun] = []
    for path in find_journals(batch.folder):
        lock = path.name.replace("journal", "lock", 1).removesuffix(".jsonl")
        state = replay_journals([path], live=lock in owners)
        states.append(state)
        if lock in owners:
            active_runs.append(ActiveRun(_shard(lock), owners.pop(lock), state.runs[-1] if state.runs else None))
    active_runs += [ActiveRun(_shard(lock), holder, None) for lock, holder in owners.items()]  # no journal yet
    jobs = tuple(_best(job.id, states) for job in batch.jobs)
    left = sum(job.status not in ("done", "failed") for job in jobs)
    fps, ended_per_s = _rates(jobs, active_runs, now)
    return BatchStatus(jobs, tuple(active_runs), fps, left / ended_per_s if ended_per_s else None)


def _shard(lock: str) -> str | None:
    match = re.fullmatch(r"lock\.(\d+)-of-(\d+)", lock)
    return f"{match[1]}/{match[2]}" if match else None


def _best(job_id: str, states: Sequence[BatchState]) -> JobState:
    known = [state.jobs[job_id] for state in states if job_id in state.jobs]
    return max(known, key=lambda job: STATUS_RANK[job.status], default=JobState(job_id))


def _rates(
    jobs: Sequence[JobState], active_runs: Sequence[ActiveRun], now: datetime
) -> tuple[float | None, float | None]:
    """Frames per second, and ended jobs per second, of the active runs together."""
    frames = ended = 0.0
    for active in active_runs:
        if active.run is None:
            continue
        started = parse_timestamp(str(active.run.started.get("t", "")))
        seconds = max(1.0, (now - started).total_seconds()) if started else 0.0
        rows = [row for job in jobs if (row := _ended_in(job, active.run.id)) is not None]
        if seconds:
            frames += sum(row.get("frames") or 0 for row in rows) / seconds
            ended += len(rows) / seconds
    return frames or None, ended or None


def _ended_in(job: JobState, run: str) -> Mapping[str, Any] | None:
    if job.status == "done" and job.done is not None and job.done.run == run and job.done.action == "run":
        return job.done.row
    return job.failure.row if job.failure is not None and job.failure.run == run else None


def group_failures(failures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failures by code, the most frequent first: `code`, `count`, `ids`, `message` of the first, `hint`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for failure in failures:
        groups.setdefault(str(failure["code"]), []).append(failure)
    return [
        {
            "code": code,
            "count": len(members),
            "ids": [str(one["id"]) for one in members],
            "message": str(members[0]["message"]),
            "hint": _hint(code, members),
        }
        for code, members in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _hint(code: str, failures: Sequence[Mapping[str, Any]]) -> str:
    """The hint that all failures share; where they differ, that of the error code."""
    hints = {str(one["hint"]) for one in failures}
    return hints.pop() if len(hints) == 1 else ERROR_KINDS[code].hint if code in ERROR_KINDS else sorted(hints)[0]

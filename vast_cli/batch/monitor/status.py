"""Where a batch stands, told from journals and locks; it may be running, here or elsewhere, in shards or whole."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from vast_cli.batch.state import replay
from vast_cli.batch.state.folder import Batch, find_locks
from vast_cli.batch.state.replay import RANK, JobState, Run, State
from vast_cli.core.errors import KINDS
from vast_cli.core.locks import Owner, owner


@dataclass(frozen=True)
class Holder:
    """A run that is going on."""

    shard: str | None  # `3/16`
    owner: Owner
    run: Run | None  # what its journal says; None in its first moments


@dataclass(frozen=True)
class Standing:
    """Where a batch stands.

    Attributes:
        jobs: state of every job of the manifest, or of the shard asked for, in its order.
        holders: runs that are going on.
        fps: frames a second of all running workers together; None if none was finished yet.
        eta_s: seconds left at the rate of the running runs; None if nothing runs or nothing was finished yet.
    """

    jobs: tuple[JobState, ...]
    holders: tuple[Holder, ...]
    fps: float | None
    eta_s: float | None

    def count(self, status: replay.Status) -> int:
        """Jobs of a status."""
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
                for one in self.holders
            ],
            "running_jobs": [
                {"id": job.id, "worker": job.worker, "since": job.t} for job in self.jobs if job.status == "started"
            ],
            "failures": self.failures(),
        }


def look(batch: Batch, *, now: datetime | None = None) -> Standing:
    """Where `batch` stands; reads only.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`.
    """
    now = now or datetime.now(timezone.utc)
    owners = {path.name: found for path in find_locks(batch.folder) if (found := owner(path)) is not None}
    states: list[State] = []
    holders: list[Holder] = []
    for path in replay.find_journals(batch.folder):
        lock = path.name.replace("journal", "lock", 1).removesuffix(".jsonl")
        state = replay.replay([path], live=lock in owners)
        states.append(state)
        if lock in owners:
            holders.append(Holder(_shard(lock), owners.pop(lock), state.runs[-1] if state.runs else None))
    holders += [Holder(_shard(lock), found, None) for lock, found in owners.items()]  # no journal yet
    jobs = tuple(_best(job.id, states) for job in batch.jobs)
    left = sum(job.status not in ("done", "failed") for job in jobs)
    fps, ended_per_s = _rates(jobs, holders, now)
    return Standing(jobs, tuple(holders), fps, left / ended_per_s if ended_per_s else None)


def _shard(lock: str) -> str | None:
    found = re.fullmatch(r"lock\.(\d+)-of-(\d+)", lock)
    return f"{found[1]}/{found[2]}" if found else None


def _best(job_id: str, states: Sequence[State]) -> JobState:
    found = [state.jobs[job_id] for state in states if job_id in state.jobs]
    return max(found, key=lambda job: RANK[job.status], default=JobState(job_id))


def _rates(jobs: Sequence[JobState], holders: Sequence[Holder], now: datetime) -> tuple[float | None, float | None]:
    """Frames a second, and jobs that end a second, of the running runs together."""
    frames = ended = 0.0
    for holder in holders:
        if holder.run is None:
            continue
        began = instant(str(holder.run.started.get("t", "")))
        seconds = max(1.0, (now - began).total_seconds()) if began else 0.0
        rows = [row for job in jobs if (row := _ended_in(job, holder.run.id)) is not None]
        if seconds:
            frames += sum(row.get("frames") or 0 for row in rows) / seconds
            ended += len(rows) / seconds
    return frames or None, ended or None


def _ended_in(job: JobState, run: str) -> Mapping[str, Any] | None:
    if job.status == "done" and job.done is not None and job.done.run == run and job.done.action == "run":
        return job.done.row
    return job.failure.row if job.failure is not None and job.failure.run == run else None


def instant(text: str) -> datetime | None:
    """A time of a journal."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def group_failures(failures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failures by code, the most frequent first: `code`, `count`, `ids`, `message` of the first, `hint`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for failure in failures:
        groups.setdefault(str(failure["code"]), []).append(failure)
    return [
        {
            "code": code,
            "count": len(ones),
            "ids": [str(one["id"]) for one in ones],
            "message": str(ones[0]["message"]),
            "hint": _hint(code, ones),
        }
        for code, ones in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _hint(code: str, ones: Sequence[Mapping[str, Any]]) -> str:
    """What all of them say; where they differ, what the code says."""
    hints = {str(one["hint"]) for one in ones}
    return hints.pop() if len(hints) == 1 else KINDS[code].hint if code in KINDS else sorted(hints)[0]

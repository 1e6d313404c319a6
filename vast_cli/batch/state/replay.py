"""Journals to the state of a batch: what became of each job, and which files on the disk are ours."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vast_cli.batch.planning.fingerprint import Origin
from vast_cli.batch.state import lines
from vast_cli.batch.state.lines import Row
from vast_cli.core.errors import VastError

Status = Literal["new", "started", "done", "failed", "interrupted"]
RANK: dict[Status, int] = {"new": 0, "interrupted": 1, "failed": 2, "started": 3, "done": 4}


@dataclass(frozen=True)
class DoneRecord:
    """A finished result, as its journal line says."""

    fingerprint: str
    origin: Origin
    output: str  # where it was made; it may have been moved with its folder since
    size: int
    mtime_ns: int
    sha256: str
    seconds: float | None  # None if it was adopted
    frames: int | None
    duration_s: float | None
    gates: Mapping[str, float | None]
    attempt: int
    action: str  # run, adopt
    run: str
    t: str
    row: Mapping[str, Any] = field(repr=False, compare=False)  # the whole line


@dataclass(frozen=True)
class Failure:
    """How a job failed last."""

    code: str
    message: str
    where: str | None
    hint: str
    attempt: int  # 0: it was never started
    run: str
    t: str
    row: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass
class JobState:
    """What became of a job.

    Attributes:
        id: of the job.
        status: what its last line says. `started` only in the last run of a journal, and only if asked for (`live`).
        records: results by fingerprint, the last of each, oldest first.
        failure: its last failure, None if it was finished since.
        attempts: how often it was started, in all runs.
        dangling: started without an end: its result may have got its name before the line was written.
        worker: slot that runs it, while `started`.
        t: time of its last line.
    """

    id: str
    status: Status = "new"
    records: dict[str, DoneRecord] = field(default_factory=dict)
    failure: Failure | None = None
    attempts: int = 0
    dangling: bool = False
    worker: int | None = None
    t: str = ""

    @property
    def done(self) -> DoneRecord | None:
        """Its last result."""
        return next(reversed(self.records.values()), None)


@dataclass
class Run:
    """One run of a batch: from `run_started` to `run_done`, or to its sudden end."""

    id: str
    journal: Path
    started: Mapping[str, Any]
    ended: Mapping[str, Any] | None = None


@dataclass
class State:
    """All that the journals say.

    Attributes:
        jobs: by id.
        runs: in the order of their journals.
        torn: journals whose last line is half written (a run writes, or died).
    """

    jobs: dict[str, JobState] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    torn: list[Path] = field(default_factory=list)
    _stats: set[tuple[int, int]] = field(default_factory=set)
    _sizes: set[int] = field(default_factory=set)
    _hashes: set[str] = field(default_factory=set)

    def job(self, job_id: str) -> JobState:
        """State of a job; one never heard of is new."""
        return self.jobs.get(job_id) or JobState(job_id)

    def made(self, size: int, mtime_ns: int) -> bool:
        """Whether this batch made a file of this size at this instant."""
        return (size, mtime_ns) in self._stats

    def made_size(self, size: int) -> bool:
        """Whether this batch made any file of this size: if not, no hash is needed."""
        return size in self._sizes

    def made_content(self, sha256: str) -> bool:
        """Whether this batch made a file of this content."""
        return sha256 in self._hashes

    def results(self) -> Iterator[DoneRecord]:
        """All results, job by job."""
        for job in self.jobs.values():
            yield from job.records.values()


def find_journals(folder: Path) -> list[Path]:
    """The journals of a state folder: the whole manifest's and those of shards, in order of their numbers."""
    found = [
        path for path in folder.glob("journal*.jsonl") if re.fullmatch(r"journal(\.\d+-of-\d+)?\.jsonl", path.name)
    ]
    return sorted(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def replay(paths: Sequence[Path], *, live: bool = False) -> State:
    """The state that journals tell. Reads only; a half-written last line does not count.

    Several journals are those of shards. A job belongs to one of them at a time, but to another one when the number of
    shards changes, and clocks of machines do not agree; so no order between journals is assumed. A job keeps the
    results of all of them, the one whose fingerprint is asked for counts (`JobState.records`); its status is the best
    of any: done, started, failed, interrupted.

    Args:
        paths: of the journals, see `find_journals`.
        live: a run is going on: jobs that the last run of a journal started and did not end are `started`. Else they
            are `interrupted`.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`.
    """
    state = State()
    for path in paths:
        found = lines.read(path)
        found.check(path)
        if found.torn:
            state.torn.append(path)
        for job in _one(found.rows, path, state, live=live).values():
            before = state.jobs.get(job.id)
            state.jobs[job.id] = job if before is None else _merged(before, job)
    return state


def _one(rows: Sequence[Row], path: Path, state: State, *, live: bool) -> dict[str, JobState]:
    jobs: dict[str, JobState] = {}
    running: Run | None = None
    for row in rows:
        event = row["event"]
        if event == "run_started":
            _interrupt(jobs)  # of a run that died
            running = Run(row["run"], path, row)
            state.runs.append(running)
        elif event == "run_done":
            _interrupt(jobs)
            if running is not None:
                running.ended = row
        elif isinstance(row.get("id"), str):
            job = jobs.setdefault(row["id"], JobState(row["id"]))
            try:
                _apply(job, row, state)
            except (KeyError, TypeError, ValueError) as error:
                raise VastError(
                    "vast_journal_corrupt",
                    f"line with seq {row['seq']} says `{event}` without {error}",
                    where=str(path),
                    hint="go on with the version of vast that wrote it, or begin anew with another `--state`",
                ) from error
    if not live:
        _interrupt(jobs)
    return jobs


def _interrupt(jobs: Mapping[str, JobState]) -> None:
    for job in jobs.values():
        if job.status == "started":
            job.status, job.worker = "interrupted", None


def _apply(job: JobState, row: Row, state: State) -> None:
    event = row["event"]
    job.t = str(row.get("t", ""))
    if event == "job_started":
        job.status, job.worker, job.dangling = "started", row.get("worker"), True
        job.attempts += 1
        return
    job.worker = None
    if event == "job_done":
        record = _done(row)
        job.records.pop(record.fingerprint, None)  # the last one comes last
        job.records[record.fingerprint] = record
        job.status, job.failure, job.dangling = "done", None, False
        state._stats.add((record.size, record.mtime_ns))
        state._sizes.add(record.size)
        state._hashes.add(record.sha256)
    elif event == "job_failed":
        job.failure = _failure(row)
        job.status = "failed"
        job.dangling = job.dangling and job.failure.attempt == 0
    elif event == "job_interrupted":
        job.status = "interrupted"


def _done(row: Row) -> DoneRecord:
    return DoneRecord(
        fingerprint=str(row["fp"]),
        origin=Origin.from_dict(row["origin"]),
        output=str(row["output"]),
        size=int(row["size"]),
        mtime_ns=int(row["mtime_ns"]),
        sha256=str(row["sha256"]),
        seconds=row.get("seconds"),
        frames=row.get("frames"),
        duration_s=row.get("duration_s"),
        gates=row.get("gates") or {},
        attempt=int(row.get("attempt", 1)),
        action=str(row.get("action", "run")),
        run=str(row["run"]),
        t=str(row.get("t", "")),
        row=row,
    )


def _failure(row: Row) -> Failure:
    return Failure(
        code=str(row["code"]),
        message=str(row["message"]),
        where=row.get("where"),
        hint=str(row.get("hint") or ""),
        attempt=int(row.get("attempt", 1)),
        run=str(row["run"]),
        t=str(row.get("t", "")),
        row=row,
    )


def _merged(one: JobState, other: JobState) -> JobState:
    best = max(one, other, key=lambda job: RANK[job.status])
    return JobState(
        id=one.id,
        status=best.status,
        records=one.records | other.records,
        failure=best.failure if best.status == "failed" else None,
        attempts=one.attempts + other.attempts,
        dangling=one.dangling or other.dangling,
        worker=best.worker,
        t=best.t,
    )

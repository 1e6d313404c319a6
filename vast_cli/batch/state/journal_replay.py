"""Replays journals into the state of a batch: how each job ended, and which files on the disk the batch made."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vast_cli.batch.planning.fingerprint import Fingerprint
from vast_cli.batch.state.journal_lines import OTHER_VERSION_HINT, JournalRow, read_journal
from vast_cli.core.errors import VastError

JobStatus = Literal["new", "started", "done", "failed", "interrupted"]
STATUS_RANK: dict[JobStatus, int] = {"new": 0, "interrupted": 1, "failed": 2, "started": 3, "done": 4}


@dataclass(frozen=True)
class DoneRecord:
    """A finished result, from its journal line.

    Attributes:
        fingerprint: the parts of its fingerprint.
        fingerprint_digest: the fingerprint itself.
        output: where it was made; it may have moved with its folder since.
        size: of the file.
        mtime_ns: of the file.
        sha256: of the file.
        seconds: that the job took; None if it was adopted.
        frames: of the video.
        duration_s: of the video.
        gates: what was measured.
        attempt: number of the attempt.
        action: `run` or `adopt`.
        run: id of the run.
        t: time of the line.
        row: the whole line.
    """

    fingerprint: Fingerprint
    fingerprint_digest: str
    output: str
    size: int
    mtime_ns: int
    sha256: str
    seconds: float | None
    frames: int | None
    duration_s: float | None
    gates: Mapping[str, float | None]
    attempt: int
    action: str
    run: str
    t: str
    row: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class FailureRecord:
    """How a job last failed, from its journal line."""

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
    """What the journals say about a job.

    Attributes:
        id: of the job.
        status: by its last line. `started` only in the last run of a journal, and only if that run is live.
        records: results by the digest of their fingerprint, the last of each, oldest first.
        failure: its last failure; None if it was finished since.
        attempts: how often it was started, in all runs.
        dangling: started but never ended: its result may have been renamed into place before the line was written.
        worker: number of the worker that runs it, while `started`.
        t: time of its last line.
    """

    id: str
    status: JobStatus = "new"
    records: dict[str, DoneRecord] = field(default_factory=dict)
    failure: FailureRecord | None = None
    attempts: int = 0
    dangling: bool = False
    worker: int | None = None
    t: str = ""

    @property
    def done(self) -> DoneRecord | None:
        """Its last result."""
        return next(reversed(self.records.values()), None)


@dataclass
class BatchRun:
    """One run of a batch: its lines `run_started` and `run_done`; `ended` is None if it was killed or still runs."""

    id: str
    journal: Path
    started: Mapping[str, Any]
    ended: Mapping[str, Any] | None = None


@dataclass
class BatchState:
    """All that the journals of a batch say.

    Attributes:
        jobs: by id.
        runs: in the order of their journals.
        torn: journals whose last line is half-written (a run writes it now, or died).
    """

    jobs: dict[str, JobState] = field(default_factory=dict)
    runs: list[BatchRun] = field(default_factory=list)
    torn: list[Path] = field(default_factory=list)
    _made_stats: set[tuple[int, int]] = field(default_factory=set)
    _made_sizes: set[int] = field(default_factory=set)
    _made_hashes: set[str] = field(default_factory=set)

    def job(self, job_id: str) -> JobState:
        """State of a job; one that no journal names is new."""
        return self.jobs.get(job_id) or JobState(job_id)

    def made(self, size: int, mtime_ns: int) -> bool:
        """Whether this batch made a file of this size and modification time."""
        return (size, mtime_ns) in self._made_stats

    def made_size(self, size: int) -> bool:
        """Whether this batch made any file of this size: if not, the file need not be hashed."""
        return size in self._made_sizes

    def made_content(self, sha256: str) -> bool:
        """Whether this batch made a file with this content."""
        return sha256 in self._made_hashes

    def results(self) -> Iterator[DoneRecord]:
        """All results, job by job."""
        for job in self.jobs.values():
            yield from job.records.values()


def find_journals(folder: Path) -> list[Path]:
    """The journals of a state folder: of the whole manifest and of its shards, in the order of their numbers."""
    paths = [
        path for path in folder.glob("journal*.jsonl") if re.fullmatch(r"journal(\.\d+-of-\d+)?\.jsonl", path.name)
    ]
    return sorted(paths, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def replay_journals(paths: Sequence[Path], *, live: bool = False) -> BatchState:
    """The state that journals describe. Only reads; a half-written last line does not count.

    Several journals are those of shards. A job belongs to one shard at a time, but may change shards when their number
    changes, and the clocks of machines disagree; so no order between journals is assumed. A job keeps the results of
    all journals, and the one with the wanted fingerprint counts (`JobState.records`); its status is the best of all:
    done, started, failed, interrupted.

    Args:
        paths: of the journals, see `find_journals`.
        live: a run is going on: jobs that the last run of a journal started and did not end are `started`. Otherwise
            they are `interrupted`.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`.
    """
    state = BatchState()
    for path in paths:
        scan = read_journal(path)
        scan.check(path)
        if scan.torn:
            state.torn.append(path)
        for job in _replay_journal(scan.rows, path, state, live=live).values():
            earlier = state.jobs.get(job.id)
            state.jobs[job.id] = job if earlier is None else _merge_jobs(earlier, job)
    return state


def _replay_journal(rows: Sequence[JournalRow], path: Path, state: BatchState, *, live: bool) -> dict[str, JobState]:
    jobs: dict[str, JobState] = {}
    run: BatchRun | None = None
    for row in rows:
        event = row["event"]
        if event == "run_started":
            _interrupt_started(jobs)  # the run before died
            run = BatchRun(row["run"], path, row)
            state.runs.append(run)
        elif event == "run_done":
            _interrupt_started(jobs)
            if run is not None:
                run.ended = row
        elif isinstance(row.get("id"), str):
            job = jobs.setdefault(row["id"], JobState(row["id"]))
            try:
                _apply_row(job, row, state)
            except (KeyError, TypeError, ValueError) as error:
                raise VastError(
                    "vast_journal_corrupt",
                    f"the `{event}` line with seq {row['seq']} lacks {error}",
                    where=str(path),
                    hint=OTHER_VERSION_HINT,
                ) from error
    if not live:
        _interrupt_started(jobs)
    return jobs


def _interrupt_started(jobs: Mapping[str, JobState]) -> None:
    for job in jobs.values():
        if job.status == "started":
            job.status, job.worker = "interrupted", None


def _apply_row(job: JobState, row: JournalRow, state: BatchState) -> None:
    event = row["event"]
    job.t = str(row.get("t", ""))
    if event == "job_started":
        job.status, job.worker, job.dangling = "started", row.get("worker"), True
        job.attempts += 1
        return
    job.worker = None
    if event == "job_done":
        record = _done_record(row)
        job.records.pop(record.fingerprint_digest, None)  # keeps the newest record last
        job.records[record.fingerprint_digest] = record
        job.status, job.failure, job.dangling = "done", None, False
        state._made_stats.add((record.size, record.mtime_ns))
        state._made_sizes.add(record.size)
        state._made_hashes.add(record.sha256)
    elif event == "job_failed":
        job.failure = _failure_record(row)
        job.status = "failed"
        job.dangling = job.dangling and job.failure.attempt == 0
    elif event == "job_interrupted":
        job.status = "interrupted"


def _done_record(row: JournalRow) -> DoneRecord:
    return DoneRecord(
        fingerprint_digest=str(row["fp"]),
        fingerprint=Fingerprint.from_dict(row["origin"]),
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


def _failure_record(row: JournalRow) -> FailureRecord:
    return FailureRecord(
        code=str(row["code"]),
        message=str(row["message"]),
        where=row.get("where"),
        hint=str(row.get("hint") or ""),
        attempt=int(row.get("attempt", 1)),
        run=str(row["run"]),
        t=str(row.get("t", "")),
        row=row,
    )


def _merge_jobs(first: JobState, second: JobState) -> JobState:
    best = max(first, second, key=lambda job: STATUS_RANK[job.status])
    return JobState(
        id=first.id,
        status=best.status,
        records=first.records | second.records,
        failure=best.failure if best.status == "failed" else None,
        attempts=first.attempts + second.attempts,
        dangling=first.dangling or second.dangling,
        worker=best.worker,
        t=best.t,
    )

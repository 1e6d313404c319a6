"""What became of the jobs: finished files get their names, failures are judged, the journal and listeners told.

Order at success: sidecar, rename, fsync of the folder, journal line. A crash between rename and line leaves a finished
file that the next run adopts by the fingerprint inside it.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.batch.execution.job_queue import Backlog, Entry
from vast_cli.batch.execution.retry_policy import Breaker, wait_before_retry
from vast_cli.batch.execution.settings import RunSettings
from vast_cli.batch.job import Outcome, Task
from vast_cli.batch.monitor.events import Tell
from vast_cli.batch.planning.decisions import Planned
from vast_cli.batch.state import Journal
from vast_cli.core import files
from vast_cli.core.errors import KINDS, Exit, VastError
from vast_cli.pipeline import publish


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    done: int  # rendered now
    adopted: int
    failed: int  # the rejected ones among them
    rejected: int
    skipped: int  # done before
    not_started: int
    frames: int
    seconds: float
    exit: Exit
    why: str | None  # what stopped the run early: max_failures, breaker:CODE, interrupted
    failures: tuple[dict[str, Any], ...]  # id, code, exit, message, where, hint
    outputs: tuple[Path, ...]  # finished now, in the order they were

    def as_dict(self) -> dict[str, Any]:
        """For the journal and events."""
        counts = {name: getattr(self, name) for name in ("done", "adopted", "failed", "skipped", "not_started")}
        return counts | {
            "seconds": round(self.seconds, 3), "frames": self.frames, "why": self.why, "exit": int(self.exit),
        }  # fmt: skip


class Results:
    """Takes what workers answer, until the end.

    Args:
        planned: every job of the manifest (or shard), in its order.
        backlog: of those that run; gets back what is tried again.
        journal: open for this run.
        folder: the state folder, for figures.
        settings: how the batch is run.
        tell: listener of events.

    Attributes:
        why: what stops the batch, as in `Summary`; None while it goes on.
        unfinished: fingerprints of jobs that still have to be made.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        backlog: Backlog,
        journal: Journal,
        folder: Path,
        settings: RunSettings,
        tell: Tell,
    ) -> None:
        self.why: str | None = None
        self.unfinished = {one.origin.fingerprint for one in planned if one.action == "run" and one.origin is not None}
        self._planned, self._backlog, self._journal = planned, backlog, journal
        self._folder, self._settings, self._tell = folder, settings, tell
        self._breaker = Breaker()
        self._signal = Exit.SIGINT
        self._began = time.monotonic()
        self._n_run = len(backlog)
        self._done = self._adopted = self._rejected = self._frames = 0
        self._failures: list[dict[str, Any]] = []
        self._outputs: list[Path] = []
        self._there_before = {one.job.id for one in planned if one.action == "run" and one.job.output.exists()}

    # --- what needs no worker ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Skip, adopt and refuse what the plan says."""
        for one in self._planned:
            if one.action == "skip":
                self._tell("job_skipped", id=one.job.id, reason=one.reason)
            elif one.action == "adopt":
                self._adopt(one)
            elif one.action == "refuse":
                assert one.error is not None
                self._note_failure(one, one.error, attempt=0, seconds=0.0)
                self._check_limit()

    def _adopt(self, one: Planned) -> None:
        status = one.job.output.stat()
        record = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": files.sha256(one.job.output)}
        self._journal_done(one, attempt=0, action="adopt", record=record)
        self._adopted += 1
        self._outputs.append(one.job.output)
        self._tell(
            "job_done", id=one.job.id, worker=None, attempt=0, output=str(one.job.output), seconds=0.0, frames=0,
            duration_s=one.sound_s, gates={}, action="adopt",
        )  # fmt: skip

    # --- success ----------------------------------------------------------------------------------------------------

    def succeed(self, number: int, entry: Entry, task: Task, outcome: Outcome, seconds: float) -> None:
        """A worker finished an attempt; it may have missed a gate, or find its name taken."""
        if outcome.missed:
            self._miss(entry, task, outcome, seconds)
            return
        job = entry.job
        try:
            record = _name(task.staging, job.output, outcome, replace=self._may_replace(entry.planned))
        except VastError as error:
            task.staging.unlink(missing_ok=True)
            self.fail(entry, error, seconds=seconds)
            return
        publish.keep_figures(self._folder, job.id, outcome.figures)
        self._journal_done(
            entry.planned, attempt=entry.attempt, action="run", record=record | _measured(outcome), seconds=seconds,
            seed=task.seed,
        )  # fmt: skip
        self._breaker.succeed()
        self._done += 1
        self._frames += outcome.n_frames
        self._outputs.append(job.output)
        self.unfinished.discard(task.fingerprint)
        for warning in outcome.warnings:
            self._tell("warning", id=job.id, message=warning)
        self._tell(
            "job_done", id=job.id, worker=number, attempt=entry.attempt, output=str(job.output),
            seconds=round(seconds, 3), frames=outcome.n_frames, duration_s=outcome.duration_s,
            gates=dict(outcome.gates), action="run",
        )  # fmt: skip

    def _may_replace(self, planned: Planned) -> bool:
        """Whether a file that has the output's name now may go: it was there when we planned, or the user insists."""
        return self._settings.overwrite or planned.job.id in self._there_before

    def _journal_done(self, one: Planned, *, attempt: int, action: str, record: dict[str, Any], **more: Any) -> None:
        assert one.origin is not None
        self._journal.append(
            "job_done", id=one.job.id, fp=one.origin.fingerprint, origin=one.origin.as_dict(), attempt=attempt,
            action=action, output=str(one.job.output), **record, **more,
        )  # fmt: skip

    # --- failure ----------------------------------------------------------------------------------------------------

    def _miss(self, entry: Entry, task: Task, outcome: Outcome, seconds: float) -> None:
        error = VastError("vast_gate_failed", "; ".join(outcome.missed))
        if entry.draws < int(entry.job.options.get("redraw", 0)):
            entry.draws += 1
            task.staging.unlink(missing_ok=True)
            self._put_back(entry, error, wait_s=0.0)
            return
        rejected = publish.rejected_path(entry.job.output)
        try:
            _name(task.staging, rejected, outcome, replace=True)
        except VastError as broken:
            task.staging.unlink(missing_ok=True)
            self.fail(entry, broken, seconds=seconds)
            return
        publish.keep_figures(self._folder, entry.job.id, outcome.figures)
        self._rejected += 1
        error = VastError(error.code, error.message, hint=f"look at `{rejected}`; {KINDS[error.code].hint}")
        self._give_up(entry, error, seconds, rejected=str(rejected), **_measured(outcome))

    def fail(self, entry: Entry, error: VastError, *, seconds: float) -> None:
        """An attempt failed: try again, or give the job up."""
        wait_s = wait_before_retry(error, entry, retries=self._settings.retries)
        if wait_s is None or self.why is not None:
            self._give_up(entry, error, seconds)
        else:
            self._put_back(entry, error, wait_s=wait_s)

    def _put_back(self, entry: Entry, error: VastError, *, wait_s: float) -> None:
        self._backlog.put_back(entry, wait_s=wait_s)
        self._tell("job_retried", id=entry.job.id, attempt=entry.attempt + 1, wait_s=wait_s, code=error.code)

    def _give_up(self, entry: Entry, error: VastError, seconds: float, **more: Any) -> None:
        self._note_failure(entry.planned, error, attempt=entry.attempt, seconds=seconds, **more)
        if self._breaker.fail(error) and self.why is None:
            self.why = f"breaker:{error.code}"
        self._check_limit()

    def _note_failure(self, one: Planned, error: VastError, *, attempt: int, seconds: float, **more: Any) -> None:
        told = {"id": one.job.id} | error.as_dict()
        fingerprint = None if one.origin is None else one.origin.fingerprint
        self._failures.append(told)
        self._journal.append("job_failed", **told, fp=fingerprint, attempt=attempt, seconds=round(seconds, 3), **more)
        self._tell("job_failed", **told, worker=None, attempt=attempt, seconds=round(seconds, 3))

    def _check_limit(self) -> None:
        limit = self._settings.max_failures
        if limit is not None and len(self._failures) >= limit and self.why is None:
            self.why = "max_failures"

    # --- the end ----------------------------------------------------------------------------------------------------

    def interrupt(self, error: BaseException) -> None:
        """Somebody stops the batch."""
        self.why = "interrupted"
        self._signal = Exit.SIGINT if isinstance(error, KeyboardInterrupt) else Exit.SIGTERM

    def note_interrupted(self, entry: Entry) -> None:
        """A job was running then."""
        with contextlib.suppress(VastError, OSError):
            self._journal.append("job_interrupted", id=entry.job.id, attempt=entry.attempt)

    def close(self) -> Summary:
        """The end, told to the journal."""
        started = {one.job.id for one in self._planned if one.action == "run"}
        summary = Summary(
            done=self._done,
            adopted=self._adopted,
            failed=len(self._failures),
            rejected=self._rejected,
            skipped=sum(one.action == "skip" for one in self._planned),
            not_started=self._n_run - self._done - sum(told["id"] in started for told in self._failures),
            frames=self._frames,
            seconds=time.monotonic() - self._began,
            exit=self._exit(),
            why=self.why,
            failures=tuple(self._failures),
            outputs=tuple(self._outputs),
        )
        with contextlib.suppress(VastError, OSError):  # the disk may be full; what matters stands there already
            self._journal.append("run_done", **summary.as_dict())
        return summary

    def _exit(self) -> Exit:
        if self.why == "interrupted":
            return self._signal
        if self.why is not None and self.why.startswith("breaker:"):
            return KINDS[self.why.removeprefix("breaker:")].exit
        return Exit.PARTIAL if self._failures or len(self._backlog) else Exit.OK


def _name(staging: Path, output: Path, outcome: Outcome, *, replace: bool) -> dict[str, Any]:
    size, sha256, sidecar = outcome.size, outcome.sha256, outcome.sidecar
    return publish.give_name(staging, output, size=size, sha256=sha256, sidecar=sidecar, replace=replace)


def _measured(outcome: Outcome) -> dict[str, Any]:
    """An outcome's share of the journal line."""
    return {
        "frames": outcome.n_frames,
        "duration_s": outcome.duration_s,
        "stages": {name: round(value, 3) for name, value in outcome.stages.items()},
        "limited_share": outcome.limited_share,
        "warnings": list(outcome.warnings),
        "gates": dict(outcome.gates),
        "missed": list(outcome.missed),
    }

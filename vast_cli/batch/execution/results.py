"""Handles finished and failed attempts: names the outputs, retries or gives up, writes journal and events.

Order at success: sidecar, rename, fsync of the folder, journal line. A crash between rename and line leaves a finished
file that the next run adopts by the fingerprint inside it.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.batch.execution.job_queue import JobQueue, QueuedJob
from vast_cli.batch.execution.retry_policy import CircuitBreaker, wait_before_retry
from vast_cli.batch.execution.settings import RunContext
from vast_cli.batch.job import Done, Outcome, Task
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.core import files
from vast_cli.core.errors import ERROR_KINDS, Exit, VastError
from vast_cli.pipeline import publish


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        done: jobs rendered by this run.
        adopted: jobs whose finished file was found.
        failed: jobs given up, the rejected ones among them.
        rejected: jobs whose video misses a gate.
        skipped: jobs that were done before.
        not_started: jobs left over.
        frames: rendered by this run.
        seconds: wall time.
        exit: exit status.
        why: the reason of an early stop: `max_failures`, `breaker:CODE`, `interrupted`; None without one.
        failures: id, code, exit, message, where and hint of each failed job.
        outputs: files finished by this run, in their order.
    """

    done: int
    adopted: int
    failed: int
    rejected: int
    skipped: int
    not_started: int
    frames: int
    seconds: float
    exit: Exit
    why: str | None
    failures: tuple[dict[str, Any], ...]
    outputs: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the journal and events."""
        counts = {name: getattr(self, name) for name in ("done", "adopted", "failed", "skipped", "not_started")}
        return counts | {
            "seconds": round(self.seconds, 3), "frames": self.frames, "why": self.why, "exit": int(self.exit),
        }  # fmt: skip


class ResultHandler:
    """Handles the results of a run and counts them for its summary.

    Args:
        planned: every job of the manifest (or shard), in its order.
        queue: the jobs to run; gets back those that are retried.
        context: of the run.

    Attributes:
        unfinished: fingerprints of jobs that are still to be rendered.
    """

    def __init__(self, planned: Sequence[PlannedJob], queue: JobQueue, context: RunContext) -> None:
        self.unfinished = {
            one.fingerprint.digest for one in planned if one.action == "run" and one.fingerprint is not None
        }
        self._planned, self._queue, self._context = planned, queue, context
        self._breaker = CircuitBreaker()
        self._stop_reason: str | None = None  # `Summary.why`
        self._signal = Exit.SIGINT
        self._started = time.monotonic()
        self._n_queued = len(queue)
        self._done = self._adopted = self._rejected = self._frames = 0
        self._failures: list[dict[str, Any]] = []
        self._outputs: list[Path] = []
        self._existed_before = {one.job.id for one in planned if one.action == "run" and one.job.output.exists()}

    @property
    def stopping(self) -> bool:
        """Whether no new jobs may start."""
        return self._stop_reason is not None

    # --- jobs that need no worker -----------------------------------------------------------------------------------

    def apply_plan(self) -> None:
        """Skip, adopt and refuse the jobs that the plan says so of."""
        for one in self._planned:
            if one.action == "skip":
                self._context.emit("job_skipped", id=one.job.id, reason=one.reason)
            elif one.action == "adopt":
                self._adopt(one)
            elif one.action == "refuse":
                assert one.error is not None
                self._record_failure(one, one.error, attempt=0, seconds=0.0)
                self._check_max_failures()

    def _adopt(self, one: PlannedJob) -> None:
        status = one.job.output.stat()
        record = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": files.sha256(one.job.output)}
        self._journal_done(one, attempt=0, action="adopt", record=record)
        self._adopted += 1
        self._outputs.append(one.job.output)
        self._context.emit(
            "job_done", id=one.job.id, worker=None, attempt=0, output=str(one.job.output), seconds=0.0, frames=0,
            duration_s=one.audio_s, gates={}, action="adopt",
        )  # fmt: skip

    # --- success ----------------------------------------------------------------------------------------------------

    def handle_success(self, message: Done, queued: QueuedJob, task: Task, seconds: float) -> None:
        """Name the output of an attempt, unless it misses a gate or a file of that name appeared meanwhile."""
        outcome, job = message.outcome, queued.job
        if outcome.missed:
            self._handle_missed_gates(queued, task, outcome, seconds)
            return
        try:
            record = _publish(task.staging, job.output, outcome, replace=self._may_replace(queued.planned))
        except VastError as error:
            task.staging.unlink(missing_ok=True)
            self.handle_failure(queued, error, seconds=seconds)
            return
        publish.keep_figures(self._context.state_folder, job.id, outcome.figures)
        self._journal_done(
            queued.planned, attempt=queued.attempt, action="run", record=record | _measurements(outcome),
            seconds=seconds, seed=task.seed,
        )  # fmt: skip
        self._breaker.record_success()
        self._done += 1
        self._frames += outcome.n_frames
        self._outputs.append(job.output)
        self.unfinished.discard(task.fingerprint)
        for warning in outcome.warnings:
            self._context.emit("warning", id=job.id, message=warning)
        self._context.emit(
            "job_done", id=job.id, worker=message.worker, attempt=queued.attempt, output=str(job.output),
            seconds=round(seconds, 3), frames=outcome.n_frames, duration_s=outcome.duration_s,
            gates=dict(outcome.gates), action="run",
        )  # fmt: skip

    def _may_replace(self, planned: PlannedJob) -> bool:
        """Whether a file of the output's name may be replaced: it existed when the run began, or `--overwrite`."""
        return self._context.settings.overwrite or planned.job.id in self._existed_before

    def _journal_done(self, one: PlannedJob, *, attempt: int, action: str, record: dict[str, Any], **more: Any) -> None:
        assert one.fingerprint is not None
        self._context.journal.append(
            "job_done", id=one.job.id, fp=one.fingerprint.digest, origin=one.fingerprint.as_dict(), attempt=attempt,
            action=action, output=str(one.job.output), **record, **more,
        )  # fmt: skip

    # --- failure ----------------------------------------------------------------------------------------------------

    def _handle_missed_gates(self, queued: QueuedJob, task: Task, outcome: Outcome, seconds: float) -> None:
        error = VastError("vast_gate_failed", "; ".join(outcome.missed))
        if queued.redraws < int(queued.job.options.get("redraw", 0)):
            queued.redraws += 1
            task.staging.unlink(missing_ok=True)
            self._retry(queued, error, wait_s=0.0)
            return
        rejected = publish.rejected_path(queued.job.output)
        try:
            _publish(task.staging, rejected, outcome, replace=True)
        except VastError as publish_error:
            task.staging.unlink(missing_ok=True)
            self.handle_failure(queued, publish_error, seconds=seconds)
            return
        publish.keep_figures(self._context.state_folder, queued.job.id, outcome.figures)
        self._rejected += 1
        error = VastError(error.code, error.message, hint=f"look at `{rejected}`; {ERROR_KINDS[error.code].hint}")
        self._give_up(queued, error, seconds, rejected=str(rejected), **_measurements(outcome))

    def handle_failure(self, queued: QueuedJob, error: VastError, *, seconds: float) -> None:
        """Retry the job of a failed attempt, or give it up."""
        wait_s = wait_before_retry(error, queued, retries=self._context.settings.retries)
        if wait_s is None or self.stopping:
            self._give_up(queued, error, seconds)
        else:
            self._retry(queued, error, wait_s=wait_s)

    def _retry(self, queued: QueuedJob, error: VastError, *, wait_s: float) -> None:
        self._queue.requeue(queued, wait_s=wait_s)
        self._context.emit("job_retried", id=queued.job.id, attempt=queued.attempt + 1, wait_s=wait_s, code=error.code)

    def _give_up(self, queued: QueuedJob, error: VastError, seconds: float, **more: Any) -> None:
        self._record_failure(queued.planned, error, attempt=queued.attempt, seconds=seconds, **more)
        if self._breaker.record_failure(error) and not self.stopping:
            self._stop_reason = f"breaker:{error.code}"
        self._check_max_failures()

    def _record_failure(self, one: PlannedJob, error: VastError, *, attempt: int, seconds: float, **more: Any) -> None:
        failure = {"id": one.job.id} | error.as_dict()
        fingerprint = None if one.fingerprint is None else one.fingerprint.digest
        seconds = round(seconds, 3)
        self._failures.append(failure)
        self._context.journal.append("job_failed", **failure, fp=fingerprint, attempt=attempt, seconds=seconds, **more)
        self._context.emit("job_failed", **failure, worker=None, attempt=attempt, seconds=seconds)

    def _check_max_failures(self) -> None:
        limit = self._context.settings.max_failures
        if limit is not None and len(self._failures) >= limit and not self.stopping:
            self._stop_reason = "max_failures"

    # --- the end ----------------------------------------------------------------------------------------------------

    def interrupt(self, error: BaseException) -> None:
        """Note that a signal stops the batch."""
        self._stop_reason = "interrupted"
        self._signal = Exit.SIGINT if isinstance(error, KeyboardInterrupt) else Exit.SIGTERM

    def record_interrupted(self, queued: QueuedJob) -> None:
        """Note that a signal interrupted a job."""
        with contextlib.suppress(VastError, OSError):
            self._context.journal.append("job_interrupted", id=queued.job.id, attempt=queued.attempt)

    def finish(self) -> Summary:
        """Sum up the run and write its end to the journal."""
        queued = {one.job.id for one in self._planned if one.action == "run"}
        summary = Summary(
            done=self._done,
            adopted=self._adopted,
            failed=len(self._failures),
            rejected=self._rejected,
            skipped=sum(one.action == "skip" for one in self._planned),
            not_started=self._n_queued - self._done - sum(failure["id"] in queued for failure in self._failures),
            frames=self._frames,
            seconds=time.monotonic() - self._started,
            exit=self._exit(),
            why=self._stop_reason,
            failures=tuple(self._failures),
            outputs=tuple(self._outputs),
        )
        with contextlib.suppress(VastError, OSError):  # the disk may be full; the lines of the jobs are written already
            self._context.journal.append("run_done", **summary.as_dict())
        return summary

    def _exit(self) -> Exit:
        reason = self._stop_reason
        if reason == "interrupted":
            return self._signal
        if reason is not None and reason.startswith("breaker:"):
            return ERROR_KINDS[reason.removeprefix("breaker:")].exit
        return Exit.PARTIAL if self._failures or len(self._queue) else Exit.OK


def _publish(staging: Path, output: Path, outcome: Outcome, *, replace: bool) -> dict[str, Any]:
    size, sha256, sidecar = outcome.size, outcome.sha256, outcome.sidecar
    return publish.give_name(staging, output, size=size, sha256=sha256, sidecar=sidecar, replace=replace)


def _measurements(outcome: Outcome) -> dict[str, Any]:
    """The fields of a journal line that describe an outcome."""
    return {
        "frames": outcome.n_frames,
        "duration_s": outcome.duration_s,
        "stages": {name: round(value, 3) for name, value in outcome.stages.items()},
        "limited_share": outcome.limited_share,
        "warnings": list(outcome.warnings),
        "gates": dict(outcome.gates),
        "missed": list(outcome.missed),
    }

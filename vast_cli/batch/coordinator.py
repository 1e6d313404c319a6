"""The one who owns the queue: feeds workers, hears them, judges failures, gives finished files their names.

Order at success: sidecar, rename, fsync of the folder, journal line. A crash between rename and line leaves a finished
file that the next run adopts by the fingerprint inside it. Everything happens in one thread.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vast_cli import files
from vast_cli.batch import finish, leftovers
from vast_cli.batch.backlog import Backlog, Entry
from vast_cli.batch.executors import Executor
from vast_cli.batch.job import Died, Done, Failed, Message, Outcome, Progress, Ready, Task
from vast_cli.batch.journal import Journal
from vast_cli.batch.plan import Planned
from vast_cli.batch.policy import Breaker, wait_before_retry
from vast_cli.cache import Hashes
from vast_cli.errors import KINDS, Exit, VastError

log = logging.getLogger(__name__)
Tell = Callable[..., None]

POLL_S = 0.5
START_S = 300.0  # a worker's time to load its libraries from a slow disk
MAX_STARTS = 3  # workers in a row that died before they could work
PROGRESS_EVERY_S = 1.0
AWAY_S = 5.0  # a turn of the loop that took longer: we were stopped, or a disk was; nobody else is to blame
DRAW_STEP = 7919  # between the seeds of a job that is drawn again


@dataclass(frozen=True)
class RunSettings:
    """How a batch is run.

    Attributes:
        workers: slots to use.
        retries: further attempts at a job that failed for want of a resource.
        max_failures: no new jobs after so many failures.
        timeout_s: limit of one attempt.
        stall_s: limit without progress.
        silence_s: limit without a sign of life: the worker is frozen.
        jobs_per_worker: a worker is replaced after so many.
        overwrite: replace files that are not ours.
        whole: the plan holds all jobs of the state folder; segments of others are swept away then.
    """

    workers: int
    retries: int = 2
    max_failures: int | None = None
    timeout_s: float | None = None
    stall_s: float = 300.0
    silence_s: float = 30.0
    jobs_per_worker: int | None = None
    overwrite: bool = False
    whole: bool = False


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


@dataclass
class _Slot:
    ready: bool = False
    pid: int = 0
    entry: Entry | None = None
    task: Task | None = None
    warm: str | None = None
    jobs: int = 0
    heard: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    moved: float = 0.0  # when progress was last made
    stage: str = ""
    stage_began: float = 0.0
    told: float = 0.0


def run(
    planned: Sequence[Planned],
    *,
    executor: Executor,
    journal: Journal,
    hashes: Hashes,
    state_folder: Path,
    settings: RunSettings,
    tell: Tell,
) -> Summary:
    """Run what is planned to its end. The caller holds the lock of the state folder.

    Args:
        planned: every job of the manifest (or shard), in its order.
        executor: where workers live; closed at the end.
        journal: open for this run.
        hashes: knows the content of the inputs.
        state_folder: for logs, parts and figures.
        settings: how.
        tell: listener of events.

    Raises:
        KeyboardInterrupt, or whatever a signal handler raises: after workers, temporary files and journal are in order.
        VastError: `vast_worker_died` if workers cannot even start; failures of the journal itself.
    """
    return _Coordinator(planned, executor, journal, hashes, state_folder, settings, tell).run()


class _Coordinator:
    def __init__(
        self,
        planned: Sequence[Planned],
        executor: Executor,
        journal: Journal,
        hashes: Hashes,
        state_folder: Path,
        settings: RunSettings,
        tell: Tell,
    ) -> None:
        self.planned, self.executor, self.journal, self.hashes = planned, executor, journal, hashes
        self.folder, self.settings, self.tell = state_folder, settings, tell
        self.backlog = Backlog(Entry(one) for one in planned if one.action == "run")
        self.slots: dict[int, _Slot] = {}
        self.breaker = Breaker()
        self.failed_starts = 0
        self.dead: list[tuple[list[Path], str]] = []  # where attempts that were ended left their files, and their tags
        self.watched = time.monotonic()
        self.why: str | None = None
        self.signal = Exit.SIGINT
        self.began = time.monotonic()
        self.done = self.adopted = self.rejected = self.frames = 0
        self.failures: list[dict[str, Any]] = []
        self.outputs: list[Path] = []
        self.there_before = {one.job.id for one in planned if one.action == "run" and one.job.output.exists()}
        self.unfinished = {one.origin.fingerprint for one in planned if one.action == "run" and one.origin is not None}

    # --- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> Summary:
        n_run = len(self.backlog)
        try:
            self._settle_what_needs_no_worker()
            while (len(self.backlog) and self.why is None) or self._busy():
                self._staff()
                self._feed()
                for message in self.executor.poll(POLL_S):
                    self._handle(message)
                self._watch()
            self.executor.close()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.why = "interrupted"
                self.signal = Exit.SIGINT if isinstance(error, KeyboardInterrupt) else Exit.SIGTERM
            self._drop_running()
            if not isinstance(error, Exception):
                self._end(n_run)
            raise
        return self._end(n_run)

    def _settle_what_needs_no_worker(self) -> None:
        for one in self.planned:
            if one.action == "skip":
                self.tell("job_skipped", id=one.job.id, reason=one.reason)
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
        self.adopted += 1
        self.outputs.append(one.job.output)
        self.tell(
            "job_done", id=one.job.id, worker=None, attempt=0, output=str(one.job.output), seconds=0.0, frames=0,
            duration_s=one.sound_s, gates={}, action="adopt",
        )  # fmt: skip

    def _busy(self) -> list[_Slot]:
        return [slot for slot in self.slots.values() if slot.entry is not None]

    # --- workers ----------------------------------------------------------------------------------------------------

    def _staff(self) -> None:
        """Start workers while there is work for them."""
        if self.why is not None:
            return
        wanted = min(self.settings.workers, self.executor.slots, len(self.backlog) + len(self._busy()))
        for number in range(self.settings.workers):
            if len(self.slots) >= wanted:
                return
            if number not in self.slots:
                self.executor.start(number)
                self.slots[number] = _Slot()

    def _feed(self) -> None:
        if self.why is not None:
            return
        for number, slot in self.slots.items():
            while slot.ready and slot.entry is None and self.why is None:  # a job may fail before it is begun
                others = {s.entry.job.avatar for s in self._busy() if s.entry is not None}
                entry = self.backlog.take(warm=slot.warm, busy=others)
                if entry is None:
                    return
                self._begin(number, slot, entry)

    def _begin(self, number: int, slot: _Slot, entry: Entry) -> None:
        entry.attempt += 1
        task = self._task(entry)
        try:
            files.check_output(entry.job.output, overwrite=True)  # makes the folder, and proves that it can be written
            self.journal.append(
                "job_started", id=entry.job.id, attempt=entry.attempt, worker=number, fp=task.fingerprint,
                output=str(entry.job.output),
            )  # fmt: skip
        except VastError as error:
            self._fail(entry, error, seconds=0.0)
            return
        now = time.monotonic()
        slot.entry, slot.task, slot.started, slot.moved, slot.stage, slot.told = entry, task, now, now, "", 0.0
        slot.warm = entry.job.avatar
        self.executor.submit(number, task)
        self.tell(
            "job_started", id=entry.job.id, index=entry.job.index, worker=number, pid=slot.pid, attempt=entry.attempt,
            output=str(entry.job.output), sound_s=entry.planned.sound_s,
        )  # fmt: skip

    def _task(self, entry: Entry) -> Task:
        job, origin = entry.job, entry.planned.origin
        assert origin is not None
        tag = f"{self.journal.run}.{job.index}.{entry.attempt}"
        seed = int(job.options.get("seed", 0)) + DRAW_STEP * entry.draws
        return Task(
            job=job,
            attempt=entry.attempt,
            seed=seed,
            fingerprint=origin.fingerprint,
            staging=finish.staging_path(job.output, tag),
            parts=self.folder / "parts" / f"{origin.fingerprint}-{seed}",
            tag=tag,
            log=self.folder / "logs" / f"{job.id}.log",
            batch=entry.batch,
            files={str(path): self.hashes.state(path) for path in job.inputs.values()},
        )

    # --- messages ---------------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        slot = self.slots.get(message.slot)
        if slot is None:
            return
        slot.heard = time.monotonic()
        if isinstance(message, Ready):
            slot.ready, slot.pid, self.failed_starts = True, message.pid, 0
        elif isinstance(message, Died):
            self._lose(
                message.slot, slot, VastError("vast_worker_died", f"its worker {message.reason}"), message.reason
            )
        elif isinstance(message, Progress | Done | Failed):
            if slot.task is None or slot.task.key != message.key:
                return  # an answer of an attempt that was given up
            if isinstance(message, Progress):
                self._progress(message.slot, slot, message)
            else:
                self._answer(message.slot, slot, message)

    def _progress(self, number: int, slot: _Slot, message: Progress) -> None:
        now = time.monotonic()
        slot.moved = now
        assert slot.entry is not None
        job_id = slot.entry.job.id
        if message.stage != slot.stage:
            slot.stage, slot.stage_began = message.stage, now
            self.tell("stage", id=job_id, worker=number, stage=message.stage)
        elif now - slot.told >= PROGRESS_EVERY_S:
            slot.told = now
            fps = message.done / max(now - slot.stage_began, 1e-3)
            left = None if message.total is None or not fps else (message.total - message.done) / fps
            self.tell(
                "progress", id=job_id, worker=number, stage=message.stage, frames_done=message.done,
                frames_total=message.total, fps=round(fps, 2), eta_s=None if left is None else round(left, 1),
            )  # fmt: skip

    def _answer(self, number: int, slot: _Slot, message: Done | Failed) -> None:
        entry, task = slot.entry, slot.task
        assert entry is not None and task is not None
        seconds = time.monotonic() - slot.started
        slot.entry = slot.task = None
        slot.jobs += 1
        if isinstance(message, Failed):
            if message.error.exit == Exit.INTERNAL:  # its state may be the cause
                self._retire(number)
            self._fail(entry, message.error, seconds=seconds)
        else:
            self._succeed(number, entry, task, message.outcome, seconds)
        if self.settings.jobs_per_worker is not None and slot.jobs >= self.settings.jobs_per_worker:
            self._retire(number)

    def _retire(self, number: int) -> None:
        self.executor.kill(number)
        self.slots.pop(number, None)

    # --- what became of a job ---------------------------------------------------------------------------------------

    def _succeed(self, number: int, entry: Entry, task: Task, outcome: Outcome, seconds: float) -> None:
        if outcome.missed:
            self._miss(entry, task, outcome, seconds)
            return
        job = entry.job
        try:
            record = finish.give_name(task.staging, job.output, outcome, replace=self._may_replace(entry.planned))
        except VastError as error:
            task.staging.unlink(missing_ok=True)
            self._fail(entry, error, seconds=seconds)
            return
        finish.keep_figures(self.folder, job.id, outcome.figures)
        self._journal_done(
            entry.planned, attempt=entry.attempt, action="run", record=record | _measured(outcome), seconds=seconds,
            seed=task.seed,
        )  # fmt: skip
        self.breaker.succeed()
        self.done += 1
        self.frames += outcome.n_frames
        self.outputs.append(job.output)
        self.unfinished.discard(task.fingerprint)
        for warning in outcome.warnings:
            self.tell("warning", id=job.id, message=warning)
        self.tell(
            "job_done", id=job.id, worker=number, attempt=entry.attempt, output=str(job.output),
            seconds=round(seconds, 3), frames=outcome.n_frames, duration_s=outcome.duration_s,
            gates=dict(outcome.gates), action="run",
        )  # fmt: skip

    def _may_replace(self, planned: Planned) -> bool:
        """Whether a file that has the output's name now may go: it was there when we planned, or the user insists."""
        return self.settings.overwrite or planned.job.id in self.there_before

    def _journal_done(self, one: Planned, *, attempt: int, action: str, record: dict[str, Any], **more: Any) -> None:
        assert one.origin is not None
        self.journal.append(
            "job_done", id=one.job.id, fp=one.origin.fingerprint, origin=one.origin.as_dict(), attempt=attempt,
            action=action, output=str(one.job.output), **record, **more,
        )  # fmt: skip

    def _miss(self, entry: Entry, task: Task, outcome: Outcome, seconds: float) -> None:
        error = VastError("vast_gate_failed", "; ".join(outcome.missed))
        if entry.draws < int(entry.job.options.get("redraw", 0)):
            entry.draws += 1
            task.staging.unlink(missing_ok=True)
            self._put_back(entry, error, wait_s=0.0)
            return
        rejected = finish.rejected_path(entry.job.output)
        try:
            finish.give_name(task.staging, rejected, outcome, replace=True)
        except VastError as broken:
            task.staging.unlink(missing_ok=True)
            self._fail(entry, broken, seconds=seconds)
            return
        finish.keep_figures(self.folder, entry.job.id, outcome.figures)
        self.rejected += 1
        error = VastError(error.code, error.message, hint=f"look at `{rejected}`; {KINDS[error.code].hint}")
        self._give_up(entry, error, seconds, rejected=str(rejected), **_measured(outcome))

    def _fail(self, entry: Entry, error: VastError, *, seconds: float) -> None:
        wait_s = wait_before_retry(error, entry, retries=self.settings.retries)
        if wait_s is None or self.why is not None:
            self._give_up(entry, error, seconds)
        else:
            self._put_back(entry, error, wait_s=wait_s)

    def _put_back(self, entry: Entry, error: VastError, *, wait_s: float) -> None:
        self.backlog.put_back(entry, wait_s=wait_s)
        self.tell("job_retried", id=entry.job.id, attempt=entry.attempt + 1, wait_s=wait_s, code=error.code)

    def _give_up(self, entry: Entry, error: VastError, seconds: float, **more: Any) -> None:
        self._note_failure(entry.planned, error, attempt=entry.attempt, seconds=seconds, **more)
        if self.breaker.fail(error) and self.why is None:
            self.why = f"breaker:{error.code}"
        self._check_limit()

    def _note_failure(self, one: Planned, error: VastError, *, attempt: int, seconds: float, **more: Any) -> None:
        told = {"id": one.job.id} | error.as_dict()
        fingerprint = None if one.origin is None else one.origin.fingerprint
        self.failures.append(told)
        self.journal.append("job_failed", **told, fp=fingerprint, attempt=attempt, seconds=round(seconds, 3), **more)
        self.tell("job_failed", **told, worker=None, attempt=attempt, seconds=round(seconds, 3))

    def _check_limit(self) -> None:
        limit = self.settings.max_failures
        if limit is not None and len(self.failures) >= limit and self.why is None:
            self.why = "max_failures"

    # --- workers that die, freeze or take too long ------------------------------------------------------------------

    def _watch(self) -> None:
        now = time.monotonic()
        turn_s, self.watched = now - self.watched, now
        if turn_s > POLL_S + AWAY_S:
            for slot in self.slots.values():
                slot.heard = now
                slot.started += turn_s
                slot.moved += turn_s
        for number, slot in list(self.slots.items()):
            trouble = self._trouble(slot, now)
            if trouble is not None:
                self._lose(number, slot, trouble, trouble.message)

    def _trouble(self, slot: _Slot, now: float) -> VastError | None:
        settings = self.settings
        if not slot.ready:
            late = now - slot.started > START_S
            return VastError("vast_worker_died", f"its worker did not start within {START_S:.0f} s") if late else None
        if now - slot.heard > settings.silence_s:
            return VastError("vast_worker_died", f"its worker froze: no sign of life for {settings.silence_s:.0f} s")
        if slot.entry is None:
            return None
        if settings.timeout_s is not None and now - slot.started > settings.timeout_s:
            return VastError("vast_timeout", f"not done after {settings.timeout_s:.0f} s", hint="raise `--timeout`")
        if now - slot.moved > settings.stall_s:
            return VastError("vast_timeout", f"no progress for {settings.stall_s:.0f} s", hint="raise `--stall`")
        return None

    def _lose(self, number: int, slot: _Slot, error: VastError, reason: str) -> None:
        """A worker is gone or has to go; only the job it was running is charged."""
        self._retire(number)
        entry, task = slot.entry, slot.task
        self.tell("worker_died", worker=number, id=None if entry is None else entry.job.id, reason=reason)
        if entry is not None and task is not None:
            self._sweep(task)
            log = f"see `{task.log}` and `{self.folder / 'logs' / f'worker-{number}.log'}`"
            error = VastError(error.code, error.message, hint=error.hint if error.code == "vast_timeout" else log)
            self._fail(entry, error, seconds=time.monotonic() - slot.started)
        elif not slot.ready:
            self.failed_starts += 1
            if self.failed_starts >= MAX_STARTS:
                hint = f"see `{self.folder / 'logs' / f'worker-{number}.log'}`"
                raise VastError("vast_worker_died", f"workers do not start: the last one {reason}", hint=hint)

    def _sweep(self, task: Task) -> None:
        """Remove what an attempt left behind, now and at the end: its ffmpeg may outlive it for a moment."""
        folders = [task.staging.parent, task.parts]
        leftovers.remove(folders, [task.tag])
        self.dead.append((folders, task.tag))

    # --- the end ----------------------------------------------------------------------------------------------------

    def _drop_running(self) -> None:
        """End all workers at once; what they were at is interrupted, not failed."""
        for number, slot in list(self.slots.items()):
            self._retire(number)
            if slot.entry is not None and slot.task is not None:
                self._sweep(slot.task)
                with contextlib.suppress(VastError, OSError):
                    self.journal.append("job_interrupted", id=slot.entry.job.id, attempt=slot.entry.attempt)
        with contextlib.suppress(Exception):
            self.executor.close()

    def _end(self, n_run: int) -> Summary:
        started = {one.job.id for one in self.planned if one.action == "run"}
        summary = Summary(
            done=self.done,
            adopted=self.adopted,
            failed=len(self.failures),
            rejected=self.rejected,
            skipped=sum(one.action == "skip" for one in self.planned),
            not_started=n_run - self.done - sum(f["id"] in started for f in self.failures),
            frames=self.frames,
            seconds=time.monotonic() - self.began,
            exit=self._exit(),
            why=self.why,
            failures=tuple(self.failures),
            outputs=tuple(self.outputs),
        )
        counts = {name: getattr(summary, name) for name in ("done", "adopted", "failed", "skipped", "not_started")}
        ending = counts | {"seconds": round(summary.seconds, 3), "frames": summary.frames, "why": summary.why}
        with contextlib.suppress(VastError, OSError):  # the disk may be full; what matters stands there already
            self.journal.append("run_done", **ending, exit=int(summary.exit))
        for folders, tag in self.dead:
            leftovers.remove(folders, [tag])
        if self.why is None and self.settings.whole:  # parts of jobs that changed or are done
            keep = [p.name for p in _folders(self.folder / "parts") if p.name.split("-")[0] in self.unfinished]
            leftovers.empty(self.folder / "parts", keep=keep)
        self.tell("run_done", **ending, exit=int(summary.exit))
        return summary

    def _exit(self) -> Exit:
        if self.why == "interrupted":
            return self.signal
        if self.why is not None and self.why.startswith("breaker:"):
            return KINDS[self.why.removeprefix("breaker:")].exit
        left = len(self.backlog)
        return Exit.PARTIAL if self.failures or left else Exit.OK


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


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries]
    return []

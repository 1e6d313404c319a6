"""The loop of a batch: feeds workers, hears them, ends those that die, freeze or take too long; all in one thread."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from vast_cli.batch.execution.executors import Executor
from vast_cli.batch.execution.job_queue import Backlog, Entry
from vast_cli.batch.execution.results import Results, Summary
from vast_cli.batch.execution.settings import RunSettings
from vast_cli.batch.execution.worker_pool import Crew, Slot
from vast_cli.batch.job import Died, Done, Failed, Message, Progress, Ready, Task
from vast_cli.batch.monitor.events import Tell
from vast_cli.batch.planning.decisions import Planned
from vast_cli.batch.state import Journal, leftovers
from vast_cli.core import files
from vast_cli.core.errors import Exit, VastError
from vast_cli.pipeline import publish
from vast_cli.store.hashes import Hashes

DRAW_STEP = 7919  # between the seeds of a job that is drawn again


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
        self.journal, self.hashes, self.folder, self.settings, self.tell = journal, hashes, state_folder, settings, tell
        self.backlog = Backlog(Entry(one) for one in planned if one.action == "run")
        self.crew = Crew(executor, settings, logs=state_folder / "logs", tell=tell)
        self.results = Results(planned, self.backlog, journal, state_folder, settings, tell)
        self.dead: list[tuple[list[Path], str]] = []  # where attempts that were ended left their files, and their tags

    def run(self) -> Summary:
        try:
            self.results.settle()
            while (len(self.backlog) and self.results.why is None) or self.crew.busy():
                if self.results.why is None:
                    self.crew.staff(len(self.backlog))
                    self._feed()
                for message in self.crew.poll():
                    self._handle(message)
                for number, trouble in self.crew.watch():
                    self._lose(number, trouble, trouble.message)
            self.crew.close()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.results.interrupt(error)
            self._drop_running()
            if not isinstance(error, Exception):
                self._end()
            raise
        return self._end()

    # --- jobs to workers --------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        for number, slot in self.crew.slots.items():
            # a job may fail before it is begun
            while slot.ready and slot.entry is None and self.results.why is None:
                others = {s.entry.job.avatar for s in self.crew.busy() if s.entry is not None}
                entry = self.backlog.take(warm=slot.warm, busy=others)
                if entry is None:
                    return
                self._begin(number, slot, entry)

    def _begin(self, number: int, slot: Slot, entry: Entry) -> None:
        entry.attempt += 1
        task = self._task(entry)
        try:
            files.check_output(entry.job.output, overwrite=True)  # makes the folder, and proves that it can be written
            self.journal.append(
                "job_started", id=entry.job.id, attempt=entry.attempt, worker=number, fp=task.fingerprint,
                output=str(entry.job.output),
            )  # fmt: skip
        except VastError as error:
            self.results.fail(entry, error, seconds=0.0)
            return
        self.crew.begin(number, entry, task)
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
            staging=publish.staging_path(job.output, tag),
            parts=self.folder / "parts" / f"{origin.fingerprint}-{seed}",
            tag=tag,
            log=self.folder / "logs" / f"{job.id}.log",
            batch=entry.batch,
            files={str(path): self.hashes.state(path) for path in job.inputs.values()},
        )

    # --- answers of workers -----------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        slot = self.crew.slots.get(message.slot)
        if slot is None:
            return
        slot.heard = time.monotonic()
        if isinstance(message, Ready):
            self.crew.welcome(message)
        elif isinstance(message, Died):
            error = VastError("vast_worker_died", f"its worker {message.reason}")
            self._lose(message.slot, error, message.reason)
        elif isinstance(message, Progress | Done | Failed):
            if slot.task is None or slot.task.key != message.key:
                return  # an answer of an attempt that was given up
            if isinstance(message, Progress):
                self.crew.progress(message.slot, message)
            else:
                self._answer(message.slot, slot, message)

    def _answer(self, number: int, slot: Slot, message: Done | Failed) -> None:
        entry, task = slot.entry, slot.task
        assert entry is not None and task is not None
        seconds = time.monotonic() - slot.started
        slot.end()
        if isinstance(message, Failed):
            if message.error.exit == Exit.INTERNAL:  # its state may be the cause
                self.crew.retire(number)
            self.results.fail(entry, message.error, seconds=seconds)
        else:
            self.results.succeed(number, entry, task, message.outcome, seconds)
        if self.settings.jobs_per_worker is not None and slot.jobs >= self.settings.jobs_per_worker:
            self.crew.retire(number)

    # --- workers that go --------------------------------------------------------------------------------------------

    def _lose(self, number: int, error: VastError, reason: str) -> None:
        """A worker is gone or has to go; only the job it was running is charged."""
        slot = self.crew.slots[number]
        self.crew.retire(number)
        entry, task = slot.entry, slot.task
        self.tell("worker_died", worker=number, id=None if entry is None else entry.job.id, reason=reason)
        if entry is not None and task is not None:
            self._sweep(task)
            log = f"see `{task.log}` and `{self.crew.log(number)}`"
            error = VastError(error.code, error.message, hint=error.hint if error.code == "vast_timeout" else log)
            self.results.fail(entry, error, seconds=time.monotonic() - slot.started)
        elif not slot.ready:
            self.crew.count_failed_start(number, reason)

    def _drop_running(self) -> None:
        """End all workers at once; what they were at is interrupted, not failed."""
        for number, slot in list(self.crew.slots.items()):
            self.crew.retire(number)
            if slot.entry is not None and slot.task is not None:
                self._sweep(slot.task)
                self.results.note_interrupted(slot.entry)
        with contextlib.suppress(Exception):
            self.crew.close()

    def _sweep(self, task: Task) -> None:
        """Remove what an attempt left behind, now and at the end: its ffmpeg may outlive it for a moment."""
        folders = [task.staging.parent, task.parts, *leftovers.within(task.parts)]
        leftovers.remove(folders, [task.tag])
        self.dead.append((folders, task.tag))

    def _end(self) -> Summary:
        summary = self.results.close()
        for folders, tag in self.dead:
            leftovers.remove(folders, [tag])
        if summary.why is None and self.settings.whole:  # parts of jobs that changed or are done
            parts = self.folder / "parts"
            keep = [path.name for path in leftovers.within(parts) if path.name.split("-")[0] in self.results.unfinished]
            leftovers.empty(parts, keep=keep)
        self.tell("run_done", **summary.as_dict())
        return summary

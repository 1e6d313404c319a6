"""The main loop of a batch, in one thread: feeds workers, handles their messages, ends those that freeze or stall."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from vast_cli.batch.execution.executors import Executor
from vast_cli.batch.execution.job_queue import JobQueue, QueuedJob
from vast_cli.batch.execution.results import ResultHandler, Summary
from vast_cli.batch.execution.settings import RunContext
from vast_cli.batch.execution.worker_pool import Worker, WorkerPool
from vast_cli.batch.job import Died, Done, Failed, Message, Progress, Ready, Task
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.batch.state import cleanup
from vast_cli.core import files
from vast_cli.core.errors import Exit, VastError
from vast_cli.pipeline import publish
from vast_cli.store.hashes import FileHashes

REDRAW_SEED_STEP = 7919  # between the seeds of a job that is rendered again after a missed gate


class Coordinator:
    """Runs a plan to its end. The caller holds the lock of the state folder.

    Args:
        planned: every job of the manifest (or shard), in its order.
        executor: starts the workers; closed at the end.
        hashes: content of the inputs.
        context: of the run.
    """

    def __init__(
        self, planned: Sequence[PlannedJob], *, executor: Executor, hashes: FileHashes, context: RunContext
    ) -> None:
        self.context, self.hashes = context, hashes
        self.queue = JobQueue(QueuedJob(one) for one in planned if one.action == "run")
        self.pool = WorkerPool(executor, context)
        self.results = ResultHandler(planned, self.queue, context)
        self._swept: list[tuple[list[Path], str]] = []  # folders and tags of the attempts that were ended

    def run(self) -> Summary:
        """Run what is planned.

        Raises:
            KeyboardInterrupt, or whatever a signal handler raises: after workers, temporary files and journal are in
                order.
            VastError: `vast_worker_died` if workers cannot even start; failures of the journal itself.
        """
        try:
            self.results.apply_plan()
            while (len(self.queue) and not self.results.stopping) or self.pool.busy():
                if not self.results.stopping:
                    self.pool.start_workers(len(self.queue))
                    self._feed()
                for message in self.pool.poll():
                    self._handle(message)
                for number, error in self.pool.check():
                    self._replace(number, error, error.message)
            self.pool.close()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.results.interrupt(error)
            self._interrupt_workers()
            if not isinstance(error, Exception):
                self._finish()
            raise
        return self._finish()

    # --- jobs to workers --------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        for number, worker in self.pool.workers.items():
            # more than once: a job may fail before its worker gets it
            while worker.ready and worker.queued is None and not self.results.stopping:
                busy = {other.queued.job.avatar for other in self.pool.busy() if other.queued is not None}
                queued = self.queue.take(loaded_avatar=worker.loaded_avatar, busy_avatars=busy)
                if queued is None:
                    return
                self._begin(number, worker, queued)

    def _begin(self, number: int, worker: Worker, queued: QueuedJob) -> None:
        job = queued.job
        queued.attempt += 1
        task = self._task(queued)
        try:
            files.check_output(job.output, overwrite=True)  # makes the folder, and proves that it can be written
            self.context.journal.append(
                "job_started", id=job.id, attempt=queued.attempt, worker=number, fp=task.fingerprint,
                output=str(job.output),
            )  # fmt: skip
        except VastError as error:
            self.results.handle_failure(queued, error, seconds=0.0)
            return
        self.pool.submit(number, queued, task)
        self.context.emit(
            "job_started", id=job.id, index=job.index, worker=number, pid=worker.pid, attempt=queued.attempt,
            output=str(job.output), sound_s=queued.planned.audio_s,
        )  # fmt: skip

    def _task(self, queued: QueuedJob) -> Task:
        job, fingerprint = queued.job, queued.planned.fingerprint
        assert fingerprint is not None
        tag = f"{self.context.journal.run}.{job.index}.{queued.attempt}"
        seed = int(job.options.get("seed", 0)) + REDRAW_SEED_STEP * queued.redraws
        return Task(
            job=job,
            attempt=queued.attempt,
            seed=seed,
            fingerprint=fingerprint.digest,
            staging=publish.staging_path(job.output, tag),
            parts=self.context.segments / f"{fingerprint.digest}-{seed}",
            tag=tag,
            log=self.context.logs / f"{job.id}.log",
            batch_size=queued.batch_size,
            files={str(path): self.hashes.state(path) for path in job.inputs.values()},
        )

    # --- messages of workers ----------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        worker = self.pool.workers.get(message.worker)
        if worker is None:
            return
        worker.last_message = time.monotonic()
        if isinstance(message, Ready):
            self.pool.mark_ready(message)
        elif isinstance(message, Died):
            error = VastError("vast_worker_died", f"its worker {message.reason}")
            self._replace(message.worker, error, message.reason)
        elif isinstance(message, Progress | Done | Failed):
            if worker.task is None or worker.task.key != message.key:
                return  # late, of an attempt that was given up
            if isinstance(message, Progress):
                self.pool.record_progress(message)
            else:
                self._handle_answer(worker, message)

    def _handle_answer(self, worker: Worker, message: Done | Failed) -> None:
        queued, task = worker.queued, worker.task
        assert queued is not None and task is not None
        seconds = time.monotonic() - worker.started
        worker.finish()
        if isinstance(message, Failed):
            if message.error.exit == Exit.INTERNAL:  # its state may be the cause
                self.pool.stop(message.worker)
            self.results.handle_failure(queued, message.error, seconds=seconds)
        else:
            self.results.handle_success(message, queued, task, seconds)
        limit = self.context.settings.jobs_per_worker
        if limit is not None and worker.n_answers >= limit:
            self.pool.stop(message.worker)

    # --- workers that end -------------------------------------------------------------------------------------------

    def _replace(self, number: int, error: VastError, reason: str) -> None:
        """End a worker that is dead, frozen or too slow; its job, if it has one, fails with `error`."""
        worker = self.pool.workers[number]
        self.pool.stop(number)
        queued, task = worker.queued, worker.task
        self.context.emit("worker_died", worker=number, id=None if queued is None else queued.job.id, reason=reason)
        if queued is not None and task is not None:
            self._sweep(task)
            logs = f"see `{task.log}` and `{self.pool.log_path(number)}`"
            error = VastError(error.code, error.message, hint=error.hint if error.code == "vast_timeout" else logs)
            self.results.handle_failure(queued, error, seconds=time.monotonic() - worker.started)
        elif not worker.ready:
            self.pool.record_failed_start(number, reason)

    def _interrupt_workers(self) -> None:
        """End all workers at once; their jobs are interrupted, not failed."""
        for number, worker in list(self.pool.workers.items()):
            self.pool.stop(number)
            if worker.queued is not None and worker.task is not None:
                self._sweep(worker.task)
                self.results.record_interrupted(worker.queued)
        with contextlib.suppress(Exception):
            self.pool.close()

    def _sweep(self, task: Task) -> None:
        """Remove the temporary files of an attempt, now and at the end: its ffmpeg may outlive it for a moment."""
        folders = [task.staging.parent, task.parts, *cleanup.list_folder(task.parts)]
        cleanup.remove_temporary_files(folders, [task.tag])
        self._swept.append((folders, task.tag))

    def _finish(self) -> Summary:
        summary = self.results.finish()
        for folders, tag in self._swept:
            cleanup.remove_temporary_files(folders, [tag])
        if summary.why is None and self.context.settings.all_jobs:
            self._remove_stale_segments()
        self.context.emit("run_done", **summary.as_dict())
        return summary

    def _remove_stale_segments(self) -> None:
        """Remove the segments of jobs that are done, or whose inputs or options changed."""
        folder, unfinished = self.context.segments, self.results.unfinished
        keep = [path.name for path in cleanup.list_folder(folder) if path.name.split("-")[0] in unfinished]
        cleanup.clear_folder(folder, keep=keep)

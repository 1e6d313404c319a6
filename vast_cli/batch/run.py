"""A batch, run from its lock to its report. The commands and the Python API do no more than this."""

import math
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vast_cli import __version__
from vast_cli.batch import execution
from vast_cli.batch.execution import RunSettings, Summary
from vast_cli.batch.execution.executors import make_executor
from vast_cli.batch.job import Job, WorkerSettings
from vast_cli.batch.monitor.events import Broadcast, Listener, json_lines
from vast_cli.batch.monitor.joblog import job_log
from vast_cli.batch.options import BatchOptions, selected
from vast_cli.batch.planning import decisions, shards, speeds
from vast_cli.batch.planning.plan import Plan, plan_batch
from vast_cli.batch.state import Journal, folder, leftovers, replay
from vast_cli.batch.state.folder import Batch
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.store.hashes import Hashes

DRAIN_S = 5.0  # what listeners may still take after an interruption


def run_batch(
    batch: Batch,
    options: BatchOptions,
    *,
    listen: Callable[[Plan], Sequence[Listener]] = lambda plan: (),
) -> Summary:
    """Run what is missing, changed or failed, to its end.

    Args:
        batch: of `open_batch`.
        options: how.
        listen: is told the plan and gives whoever wants to hear the events; they are called in a thread of their own.

    Raises:
        VastError: `vast_locked`; faults of journal, manifest and options; failures of single jobs are in the summary.
        KeyboardInterrupt: or what a signal handler raised, when everything is in order.
    """
    run = uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        stack.enter_context(folder.hold(batch, wait=options.wait))
        journal_path = batch.folder / shards.journal_name(batch.shard)
        journal = stack.enter_context(Journal.open(journal_path, run=run, repair=options.repair))
        state = replay.replay(replay.find_journals(batch.folder))
        if options.select is not None and options.select.changes:
            chosen = {job.id for job in selected(batch.jobs, options.select, state)}
            batch = folder.change(batch, chosen, options.select.changes)
        planned = plan_batch(batch, options, state=state)
        listeners = list(listen(planned))
        if options.events is not None:
            listeners.append(stack.enter_context(json_lines(options.events, run)))
        if options.joblog is not None:
            listeners.append(stack.enter_context(job_log(options.joblog)))
        _sweep(batch, state)
        stack.enter_context(_named(run))
        return _run(batch, options, planned, journal, listeners)


def _sweep(batch: Batch, state: replay.State) -> None:
    """Remove the temporary files of runs before this one; the lock says that none of them lives."""
    own = shards.journal_name(batch.shard)
    over = [run.id for run in state.runs if run.journal.name == own]  # an encoder may have outlived an ended one
    if over:
        folders = {job.output.parent for job in batch.jobs} | {batch.folder}
        for parts in leftovers.within(batch.folder / "parts"):
            folders |= {parts, *leftovers.within(parts)}
        leftovers.remove(folders, over)


@contextmanager
def _named(run: str) -> Iterator[None]:
    """What this process writes carries the run's name, so that the next one finds what is left of it."""
    before, files.RUN = files.RUN, run
    try:
        yield
    finally:
        files.RUN = before


def _run(
    batch: Batch, options: BatchOptions, planned: Plan, journal: Journal, listeners: Sequence[Listener]
) -> Summary:
    cast = Broadcast([_Extra(batch.jobs, listener) for listener in listeners])
    summary: Summary | None = None
    try:
        _announce(batch, options, planned, journal, cast)
        summary = execution.run(
            planned.planned,
            executor=make_executor(options.executor, _worker_settings(batch, options, planned), planned.workers),
            journal=journal,
            hashes=Hashes(options.cache_folder),
            state_folder=batch.folder,
            settings=_settings(batch, options, planned),
            tell=cast.tell,
        )
        _finish(batch, options, planned, journal.run, summary, cast)
        return summary
    finally:
        leftovers.empty(_scratch(batch))
        cast.close(None if summary is not None else DRAIN_S)


class _Extra:
    """Adds a job's `x_...` cells to what is said of it."""

    def __init__(self, jobs: Sequence[Job], listener: Listener) -> None:
        self._extra = {job.id: dict(job.extra) for job in jobs if job.extra}
        self._listener = listener

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        if event in ("job_started", "job_done", "job_failed") and fields["id"] in self._extra:
            fields = {**fields, "x": self._extra[fields["id"]]}
        self._listener(event, fields)


def _announce(batch: Batch, options: BatchOptions, planned: Plan, journal: Journal, cast: Broadcast) -> None:
    n_jobs, to_run = len(planned.planned), planned.to_run
    journal.append(
        "run_started", version=__version__, host=platform.node(), pid=os.getpid(), manifest=batch.name, jobs=n_jobs,
        to_run=to_run, executor=options.executor, slots=planned.workers, device=options.device, dtype=options.dtype,
        shard=None if batch.shard is None else str(batch.shard), command=asdict(batch.command),
    )  # fmt: skip
    cast.tell(
        "run_started", jobs=n_jobs, to_run=to_run, skipped=n_jobs - to_run, executor=options.executor,
        slots=planned.workers, state=str(batch.folder),
    )  # fmt: skip
    cast.tell(
        "plan", counts=decisions.counts(planned.planned), estimate_s=planned.estimate.seconds,
        estimate_bytes=planned.estimate.bytes,
    )  # fmt: skip
    for text in (*batch.manifest.warnings, *planned.estimate.warnings):
        cast.tell("warning", id=None, message=text)


def _worker_settings(batch: Batch, options: BatchOptions, planned: Plan) -> WorkerSettings:
    from vast_cli.core import devices

    return WorkerSettings(
        cache=options.cache_folder,
        scratch=_scratch(batch),
        logs=batch.folder / "logs",
        device=options.device,
        dtype=options.dtype,
        threads=options.threads or max(1, devices.cores() // planned.workers),
    )


def _scratch(batch: Batch) -> Path:
    """Each shard has its own: who ends first empties it."""
    return batch.folder / shards.lock_name(batch.shard).replace("lock", "scratch", 1)


def _settings(batch: Batch, options: BatchOptions, planned: Plan) -> RunSettings:
    limits = [] if options.max_failures is None else [options.max_failures]
    if options.max_failed_share is not None:
        limits.append(max(1, math.ceil(options.max_failed_share * len(planned.planned))))
    return RunSettings(
        workers=planned.workers,
        retries=options.retries,
        max_failures=min(limits, default=None),
        timeout_s=options.timeout_s,
        stall_s=options.stall_s,
        jobs_per_worker=options.jobs_per_worker,
        overwrite=options.overwrite,
        whole=batch.shard is None and options.select is None,
    )


def _finish(batch: Batch, options: BatchOptions, planned: Plan, run: str, summary: Summary, cast: Broadcast) -> None:
    """Keep what the run taught of this machine; write the report of the whole manifest, other shards included.

    A batch is not failed by its report.
    """
    try:
        state = replay.replay(replay.find_journals(batch.folder))
        if options.executor == "local":
            speeds.remember(options.cache_folder, state, run=run, device=options.device)
        if not options.report:
            return
        from vast_cli.batch import report

        rows = {job.id: row for job in batch.manifest.jobs if (row := _last_row(state.job(job.id))) is not None}
        about = {name: getattr(summary, name) for name in _COUNTS} | {
            "exit": int(summary.exit), "why": summary.why, "run": run, "version": f"vast {__version__}",
            "machine": f"{platform.node()}, {platform.machine()}", "workers": planned.workers,
        }  # fmt: skip
        document = report.build(
            batch.manifest.jobs, rows, about, folder=batch.folder, manifest=batch.manifest.path or Path("-")
        )
        report.write_report(batch.folder, document)
    except VastError as error:
        cast.tell("warning", id=None, message=f"no report: {error.message}")


def _last_row(past: replay.JobState) -> Mapping[str, Any] | None:
    """How a job ended last, as its journal line."""
    if past.status == "failed" and past.failure is not None:
        return past.failure.row
    if past.status == "done" and past.done is not None:
        return past.done.row
    return {"event": "job_interrupted", "id": past.id, "t": past.t} if past.status == "interrupted" else None


_COUNTS = ("done", "adopted", "failed", "rejected", "skipped", "not_started", "frames", "seconds")

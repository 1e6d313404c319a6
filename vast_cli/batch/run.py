"""Runs a batch from its lock to its report; the commands and the Python API call `run_batch`."""

import os
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vast_cli import __version__
from vast_cli.batch.execution import Coordinator, RunContext, RunSettings, Summary
from vast_cli.batch.execution.executors import make_executor
from vast_cli.batch.job import Job, WorkerSettings
from vast_cli.batch.monitor.events import Broadcast, Listener, json_lines
from vast_cli.batch.monitor.joblog import job_log
from vast_cli.batch.options import BatchOptions, selected
from vast_cli.batch.planning import decisions, shards, speeds
from vast_cli.batch.planning.plan import Plan, plan_batch
from vast_cli.batch.state import cleanup, folder
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.state.journal_replay import BatchState, JobState, find_journals, replay_journals
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.store.hashes import FileHashes

DRAIN_S = 5.0  # for listeners to take the last events after an interruption
REPORTED_COUNTS = ("done", "adopted", "failed", "rejected", "skipped", "not_started", "frames", "seconds")


def run_batch(
    batch: OpenBatch,
    options: BatchOptions,
    *,
    make_listeners: Callable[[Plan], Sequence[Listener]] = lambda plan: (),
) -> Summary:
    """Run the jobs that are missing, changed or failed.

    Args:
        batch: of `open_batch`.
        options: how to run it.
        make_listeners: called with the plan, returns the listeners of events; they run in a thread of their own.

    Raises:
        VastError: `vast_locked`; faults of journal, manifest and options; failures of single jobs are in the summary.
        KeyboardInterrupt: or what a signal handler raised, after workers, temporary files and journal are in order.
    """
    run = uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        stack.enter_context(folder.lock_batch(batch, wait=options.wait))
        journal_path = batch.folder / shards.journal_name(batch.shard)
        journal = stack.enter_context(Journal.open(journal_path, run=run, repair=options.repair))
        state = replay_journals(find_journals(batch.folder))
        if options.select is not None and options.select.changes:
            chosen = {job.id for job in selected(batch.jobs, options.select, state)}
            batch = folder.override_jobs(batch, chosen, options.select.changes)
        plan = plan_batch(batch, options, state=state)
        listeners = list(make_listeners(plan))
        if options.events is not None:
            listeners.append(stack.enter_context(json_lines(options.events, run)))
        if options.joblog is not None:
            listeners.append(stack.enter_context(job_log(options.joblog)))
        _sweep(batch, state)
        stack.enter_context(_run_tag(run))
        return _run(batch, options, plan, journal, listeners)


def _sweep(batch: OpenBatch, state: BatchState) -> None:
    """Remove the temporary files of earlier runs; the lock says that none of them is alive."""
    own = shards.journal_name(batch.shard)
    earlier = [run.id for run in state.runs if run.journal.name == own]  # finished ones too: an encoder may outlive one
    if earlier:
        folders = {job.output.parent for job in batch.jobs} | {batch.folder}
        for parts in cleanup.list_folder(batch.folder / "parts"):
            folders |= {parts, *cleanup.list_folder(parts)}
        cleanup.remove_temporary_files(folders, earlier)


@contextmanager
def _run_tag(run: str) -> Iterator[None]:
    """Put the id of the run into the names of temporary files, so that the next run finds those that are left."""
    before, files.run_tag = files.run_tag, run
    try:
        yield
    finally:
        files.run_tag = before


def _run(
    batch: OpenBatch, options: BatchOptions, plan: Plan, journal: Journal, listeners: Sequence[Listener]
) -> Summary:
    events = Broadcast([_AddExtraCells(batch.jobs, listener) for listener in listeners])
    all_jobs = batch.shard is None and options.select is None
    settings = RunSettings.of(options, n_workers=plan.workers, n_jobs=len(plan.jobs), all_jobs=all_jobs)
    summary: Summary | None = None
    try:
        _announce(batch, options, plan, journal, events)
        summary = Coordinator(
            plan.jobs,
            executor=make_executor(options.executor, _worker_settings(batch, options, plan), plan.workers),
            hashes=FileHashes(options.cache_folder),
            context=RunContext(journal, batch.folder, settings, events.emit),
        ).run()
        _finish(batch, options, plan, journal.run, summary, events)
        return summary
    finally:
        cleanup.clear_folder(_scratch(batch))
        events.close(None if summary is not None else DRAIN_S)


class _AddExtraCells:
    """Listener that adds the `x_...` cells of a job to its events, for another listener."""

    def __init__(self, jobs: Sequence[Job], listener: Listener) -> None:
        self._extra = {job.id: dict(job.extra) for job in jobs if job.extra}
        self._listener = listener

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        if event in ("job_started", "job_done", "job_failed") and fields["id"] in self._extra:
            fields = {**fields, "x": self._extra[fields["id"]]}
        self._listener(event, fields)


def _announce(batch: OpenBatch, options: BatchOptions, plan: Plan, journal: Journal, events: Broadcast) -> None:
    n_jobs, to_run = len(plan.jobs), plan.to_run
    journal.append(
        "run_started", version=__version__, host=platform.node(), pid=os.getpid(), manifest=batch.name, jobs=n_jobs,
        to_run=to_run, executor=options.executor, slots=plan.workers, device=options.device, dtype=options.dtype,
        shard=None if batch.shard is None else str(batch.shard), command=batch.command_line.as_dict(),
    )  # fmt: skip
    events.emit(
        "run_started", jobs=n_jobs, to_run=to_run, skipped=n_jobs - to_run, executor=options.executor,
        slots=plan.workers, state=str(batch.folder),
    )  # fmt: skip
    events.emit(
        "plan", counts=decisions.count_actions(plan.jobs), estimate_s=plan.estimate.seconds,
        estimate_bytes=plan.estimate.bytes,
    )  # fmt: skip
    for text in (*batch.manifest.warnings, *plan.estimate.warnings):
        events.emit("warning", id=None, message=text)


def _worker_settings(batch: OpenBatch, options: BatchOptions, plan: Plan) -> WorkerSettings:
    from vast_cli.core import devices

    return WorkerSettings(
        cache=options.cache_folder,
        scratch=_scratch(batch),
        logs=batch.folder / "logs",
        device=options.device,
        dtype=options.dtype,
        threads=options.threads or max(1, devices.cores() // plan.workers),
    )


def _scratch(batch: OpenBatch) -> Path:
    """Temporary folder of the workers; each shard has its own because the first that ends empties it."""
    return batch.folder / shards.lock_name(batch.shard).replace("lock", "scratch", 1)


def _finish(batch: OpenBatch, options: BatchOptions, plan: Plan, run: str, summary: Summary, events: Broadcast) -> None:
    """Save the measured speed of this machine, and write the report of the whole manifest, other shards included.

    Their failure is a warning: the batch itself has succeeded.
    """
    try:
        state = replay_journals(find_journals(batch.folder))
        if options.executor == "local":
            speeds.save_run_speeds(options.cache_folder, state, run=run, device=options.device)
        if options.report:
            _write_report(batch, state, plan, run, summary)
    except VastError as error:
        events.emit("warning", id=None, message=f"no report: {error.message}")


def _write_report(batch: OpenBatch, state: BatchState, plan: Plan, run: str, summary: Summary) -> None:
    from vast_cli.batch import report

    rows = {job.id: row for job in batch.manifest.jobs if (row := _last_row(state.job(job.id))) is not None}
    about = {name: getattr(summary, name) for name in REPORTED_COUNTS} | {
        "exit": int(summary.exit), "why": summary.why, "run": run, "version": f"vast {__version__}",
        "machine": f"{platform.node()}, {platform.machine()}", "workers": plan.workers,
    }  # fmt: skip
    manifest = batch.manifest.path or Path("-")
    document = report.build(batch.manifest.jobs, rows, about, folder=batch.folder, manifest=manifest)
    report.write_report(batch.folder, document)


def _last_row(past: JobState) -> Mapping[str, Any] | None:
    """The journal line of the last end of a job."""
    if past.status == "failed" and past.failure is not None:
        return past.failure.row
    if past.status == "done" and past.done is not None:
        return past.done.row
    return {"event": "job_interrupted", "id": past.id, "t": past.t} if past.status == "interrupted" else None

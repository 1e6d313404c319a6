"""A batch from one call: opened, planned, run. The commands and the Python API do no more than this."""

import math
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vast_cli import __version__, cache, files, locks
from vast_cli.batch import coordinator, leftovers, plan, replay, shards, slots, speeds
from vast_cli.batch import overrides as kept
from vast_cli.batch.command import Command, last_command
from vast_cli.batch.coordinator import RunSettings, Summary
from vast_cli.batch.estimate import Estimate, estimate
from vast_cli.batch.events import Broadcast, Listener, json_lines
from vast_cli.batch.executors import make_executor
from vast_cli.batch.job import Job, WorkerSettings
from vast_cli.batch.joblog import job_log
from vast_cli.batch.journal import Journal
from vast_cli.batch.manifest import Manifest, load
from vast_cli.batch.plan import Planned
from vast_cli.batch.shards import Shard
from vast_cli.errors import VastError
from vast_cli.hashes import Hashes

DRAIN_S = 5.0  # what listeners may still take after an interruption


@dataclass(frozen=True)
class Batch:
    """A manifest that was read, and where its state lies.

    Attributes:
        manifest: all its jobs, as it gives them.
        jobs: those of this shard, with what `vast retry --set` changed.
        folder: the state folder.
        shard: part of the manifest; None: all of it.
        command: what was said beside the manifest, as the journal keeps it.
    """

    manifest: Manifest
    jobs: tuple[Job, ...]
    folder: Path
    shard: Shard | None
    command: Command

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.manifest.path is None else str(self.manifest.path)

    @property
    def report(self) -> Path:
        """The page that a run ends with."""
        return self.folder / "report.html"


def open_batch(
    path: Path | None,
    *,
    output: str | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    state: Path | None = None,
    shard: Shard | None = None,
    remember: bool = False,
) -> Batch:
    """Read a manifest and find its state; writes nothing.

    Args:
        path: the manifest; None or `-`: JSON Lines from standard input.
        output: template for the names of outputs.
        given: options for all jobs, weaker than their own cells.
        overrides: `--set key=value`: stronger than anything.
        state: the state folder; `NAME.vast` beside the manifest if not given.
        shard: only this part of the jobs.
        remember: take what is not given from the last run of this batch.

    Raises:
        VastError: `vast_manifest_invalid` with a line for each fault; `vast_option_invalid`; `vast_input_missing`.
    """
    if path is not None and str(path) == "-":
        path = None
    if state is None:
        if path is None:
            raise VastError(
                "vast_option_invalid", "a manifest from standard input has no place for its state",
                hint="name a folder: `--state FOLDER`",
            )  # fmt: skip
        state = path.with_name(path.stem + ".vast")
    folder = state.absolute()
    base = Path.cwd() if path is None else path.absolute().parent
    command = Command.of(base, output=output, given=given or {}, overrides=overrides or {})
    if remember:
        command = command.over(last_command(folder))
    manifest = load(
        path, output=command.template(base), command_line=command.paths("given", base),
        overrides=command.paths("overrides", base),
    )  # fmt: skip
    return Batch(manifest, _jobs(manifest, folder, shard, command), folder, shard, command)


def _jobs(manifest: Manifest, folder: Path, shard: Shard | None, command: Command) -> tuple[Job, ...]:
    jobs = kept.apply(manifest, kept.load(folder), fixed=command.overrides.keys()).jobs
    return tuple(job for job in jobs if shard is None or shard.holds(job.id))


@dataclass(frozen=True)
class Selection:
    """What `vast retry` is about: failed jobs, with some codes, or some ids; and what is changed for them."""

    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    changes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run; the options of `vast batch` of the same names.

    Attributes:
        workers: 0: what the machine takes.
        retries: further attempts at jobs that failed for want of a resource.
        max_failures: no new jobs after so many.
        max_failed_share: no new jobs after so large a share of all, 0 - 1.
        timeout_s: limit of one attempt.
        stall_s: limit without progress.
        jobs_per_worker: a worker is replaced after so many.
        overwrite: replace files that are not this batch's.
        force: run everything anew.
        rerun_on: classes of reasons to run for, see `plan.parse_rerun_on`.
        repair: keep the good lines of a broken journal.
        wait: for another run of this batch to end.
        executor: local or ray.
        cache: folder of tracks, styles and posteriorgrams; None: the platform's.
        device, dtype: of the networks.
        threads: of each worker; 0: all cores shared among them.
        report: write `report.html` at the end.
        events: file for JSON Lines; `-`: standard output.
        joblog: file for a table of jobs.
        select: only some of the failed jobs.
    """

    workers: int = 0
    retries: int = 2
    max_failures: int | None = None
    max_failed_share: float | None = None
    timeout_s: float | None = None
    stall_s: float = 300.0
    jobs_per_worker: int | None = None
    overwrite: bool = False
    force: bool = False
    rerun_on: Collection[str] = plan.RERUN_ON
    repair: bool = False
    wait: bool = False
    executor: str = "local"
    cache: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    report: bool = True
    events: Path | None = None
    joblog: Path | None = None
    select: Selection | None = None

    @property
    def cache_folder(self) -> Path:
        """Where the cache lies."""
        return (self.cache or cache.default_folder()).absolute()


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        planned: a decision for every job, in the manifest's order.
        workers: that it was made for.
        estimate: time and disk.
    """

    planned: tuple[Planned, ...]
    workers: int
    estimate: Estimate

    @property
    def to_run(self) -> int:
        """Jobs that are not done yet, those that cannot be run included."""
        return sum(one.action != "skip" for one in self.planned)

    @property
    def weights(self) -> dict[str, float]:
        """How much of the work each job is that is not done yet, by id: seconds of sound."""
        known = [one.sound_s for one in self.planned if one.action == "run" and one.sound_s is not None]
        mean = sum(known) / len(known) if known else 1.0
        return {
            one.job.id: 0.0 if one.action != "run" else mean if one.sound_s is None else one.sound_s
            for one in self.planned
            if one.action != "skip"
        }


def plan_batch(batch: Batch, options: BatchOptions, *, state: replay.State | None = None) -> Plan:
    """Decide what becomes of every job; changes nothing.

    Raises:
        VastError: `vast_journal_corrupt`, `vast_record_version`, `vast_input_unreadable`, `vast_option_invalid`.
    """
    state = state or replay.replay(replay.find_journals(batch.folder))
    jobs = _selected(batch.jobs, options.select, state)
    hashes = Hashes(options.cache_folder)
    planned = plan.make_plan(
        jobs, state, hashes, overwrite=options.overwrite, force=options.force, rerun_on=options.rerun_on
    )
    workers = slots.count(options.workers, options.device)
    return Plan(
        tuple(planned),
        workers,
        estimate(planned, state, workers=workers, cache=options.cache_folder, device=options.device),
    )


def _selected(jobs: Sequence[Job], select: Selection | None, state: replay.State) -> list[Job]:
    if select is None:
        return list(jobs)
    known = {job.id for job in jobs}
    for job_id in sorted(select.ids):
        if job_id not in known:
            near = get_close_matches(job_id, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`vast status` lists the failed ones"
            raise VastError("vast_option_invalid", f"no job `{job_id}`", hint=hint)
        if state.job(job_id).status != "failed":
            raise VastError(
                "vast_option_invalid",
                f"job `{job_id}` has not failed (it is {state.job(job_id).status})",
                hint="`vast batch` runs what is missing, `--force` everything",
            )
    return [job for job in jobs if _is_selected(state.job(job.id), select)]


def _is_selected(past: replay.JobState, select: Selection) -> bool:
    if past.status != "failed" or past.failure is None:
        return False
    by_code = not select.codes or past.failure.code in select.codes
    return by_code and (not select.ids or past.id in select.ids)


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
        stack.enter_context(_locked(batch, wait=options.wait))
        journal_path = batch.folder / shards.journal_name(batch.shard)
        journal = stack.enter_context(Journal.open(journal_path, run=run, repair=options.repair))
        state = replay.replay(replay.find_journals(batch.folder))
        if options.select is not None and options.select.changes:
            batch = _change(batch, options.select, state)
        planned = plan_batch(batch, options, state=state)
        listeners = list(listen(planned))
        if options.events is not None:
            listeners.append(stack.enter_context(json_lines(options.events, run)))
        if options.joblog is not None:
            listeners.append(stack.enter_context(job_log(options.joblog)))
        _sweep(batch, state)
        stack.enter_context(_named(run))
        return _run(batch, options, planned, journal, listeners)


def _change(batch: Batch, select: Selection, state: replay.State) -> Batch:
    assert select.changes is not None
    chosen = {job.id for job in _selected(batch.jobs, select, state)}
    kept.record(batch.folder, batch.manifest, chosen, select.changes)
    return replace(batch, jobs=_jobs(batch.manifest, batch.folder, batch.shard, batch.command))


# --- locks ---------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(batch: Batch, *, wait: bool) -> Iterator[None]:
    """Hold the batch, or this shard of it; the whole and its shards exclude each other."""
    wait_s = None if wait else 0.0
    with locks.hold(batch.folder / shards.lock_name(batch.shard), wait_s=wait_s, what=f"`{batch.name}`"):
        while (other := _other_run(batch)) is not None:
            if not wait:
                raise VastError("vast_locked", f"`{batch.name}` is in use, cut in another way, by {other}")
            time.sleep(1.0)
        yield


def _other_run(batch: Batch) -> locks.Owner | None:
    own = shards.lock_name(batch.shard)
    for path in find_locks(batch.folder):
        beside = batch.shard is not None and path.name.endswith(f"-of-{batch.shard.n}")
        if path.name != own and not beside and (owner := locks.owner(path)) is not None:
            return owner
    return None


def find_locks(folder: Path) -> list[Path]:
    """The locks of a state folder: the whole manifest's and those of shards."""
    return [path for path in sorted(folder.glob("lock*")) if re.fullmatch(r"lock(\.\d+-of-\d+)?", path.name)]


# --- the run -------------------------------------------------------------------------------------------------------


def _sweep(batch: Batch, state: replay.State) -> None:
    """Remove the temporary files of runs that died; the lock says that none of them lives."""
    own = shards.journal_name(batch.shard)
    dead = [run.id for run in state.runs if run.ended is None and run.journal.name == own]
    if dead:
        folders = {job.output.parent for job in batch.jobs} | {*leftovers.within(batch.folder / "parts"), batch.folder}
        leftovers.remove(folders, dead)


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
        summary = coordinator.run(
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
        "plan", counts=plan.counts(planned.planned), estimate_s=planned.estimate.seconds,
        estimate_bytes=planned.estimate.bytes,
    )  # fmt: skip
    for text in (*batch.manifest.warnings, *planned.estimate.warnings):
        cast.tell("warning", id=None, message=text)


def _worker_settings(batch: Batch, options: BatchOptions, planned: Plan) -> WorkerSettings:
    from vast_cli import devices

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
            "exit": int(summary.exit), "why": summary.why, "run": run, "version": __version__,
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

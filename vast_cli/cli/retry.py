"""`vast retry`: the failed jobs of a batch again, with something changed if need be."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.batch.options import BatchOptions, Selection
from vast_cli.cli import batch_options as common
from vast_cli.cli import console, options
from vast_cli.cli.batch import execute


def retry(
    manifest: common.Manifest,
    code: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only jobs that failed with it; may be given again.")
    ] = None,
    id: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this job; may be given again.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value for these jobs, kept for later runs of the batch."),
    ] = None,
    output: common.Output = None,
    workers: common.Workers = 0,
    threads: common.Threads = 1,
    jobs_per_worker: common.JobsPerWorker = None,
    device: options.Device = "auto",
    dtype: options.DtypeOption = options.Dtype.auto,
    cache: common.Cache = None,
    executor: common.Executor = "local",
    retries: common.Retries = 2,
    max_failures: common.MaxFailures = None,
    fail_fast: common.FailFast = False,
    timeout: common.Timeout = None,
    stall: common.Stall = "5m",
    state: common.State = None,
    shard: common.Shard = None,
    repair: common.Repair = False,
    wait: common.Wait = False,
    report: common.Report = True,
    events: common.Events = None,
    joblog: common.Joblog = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    log_file: options.LogFile = None,
) -> None:
    """Run the failed jobs of a batch again, all or some.

    vast retry jobs.csv

    vast retry jobs.csv --code vast_no_face --set face=left

    What the last `vast batch` was told beside the manifest (`-o`, options, `--set`) holds here too. Values of `--set`
    are kept for the jobs, until their rows in the manifest say something new.
    """
    with console.run(json=json, progress=progress, quiet=quiet, verbose=verbose, debug=debug, log_file=log_file) as ui:
        asked = BatchOptions(
            workers=workers, retries=retries, jobs_per_worker=jobs_per_worker, overwrite=overwrite, repair=repair,
            wait=wait, executor=common.executor(executor), cache=cache, device=device, dtype=dtype.value,
            timeout_s=None if timeout is None else common.seconds(timeout, "--timeout"),
            stall_s=common.seconds(stall, "--stall"), threads=threads, report=report,
            events=None if events is None else Path(events), joblog=joblog,
            select=Selection(common.codes(code), frozenset(id or ()), common.assignments(set)),
            **common.failures(max_failures, fail_fast=fail_fast),
        )  # fmt: skip
        execute(ui, common.opened(manifest, output, None, {}, state, shard, remember=True), asked)

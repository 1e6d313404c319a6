"""`vast status`: the status of a batch, also while it runs."""

from datetime import datetime, timezone
from typing import Any

import typer

from vast_cli.batch.monitor.status import BatchStatus, read_status
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.batch.timestamps import parse_timestamp
from vast_cli.cli import batch_options as common
from vast_cli.cli import console, options
from vast_cli.core.errors import Exit
from vast_cli.core.text import clock_in, duration

MAX_RUNNING = 40
MAX_IDS = 8


def status(
    manifest: common.Manifest,
    state: common.State = None,
    shard: common.Shard = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the status of a batch: done, failed and why, running now, time left.

    vast status jobs.csv

    Exit status 0 if all jobs are done, 3 otherwise. It reads the journals only; `vast plan` looks at files too.
    """
    with console.run(json=json, debug=debug) as ui:
        batch = common.opened(manifest, None, None, {}, state, shard, remember=True)
        batch_status = read_status(batch)
        if json:
            about: dict[str, Any] = {"manifest": batch.name, "state": str(batch.folder)}
            report = {"report": str(batch.report) if batch.report.is_file() else None}
            ui.result([], about | batch_status.document() | report)
        else:
            for line in lines(batch, batch_status):
                typer.echo(line)
        if batch_status.count("done") < len(batch_status.jobs):
            raise typer.Exit(int(Exit.PARTIAL))


def lines(batch: OpenBatch, batch_status: BatchStatus) -> list[str]:
    """The status for people."""
    numbers = [(batch_status.count("failed"), "failed"), (batch_status.count("started"), "running")]
    numbers.append((batch_status.count("interrupted"), "interrupted"))
    counts = [f"{number} {text}" for number, text in numbers if number]
    head = f"{batch.name}: {batch_status.count('done')} of {len(batch_status.jobs)} done"
    report = [", ".join([head, *counts, f"{batch_status.left} left"])]
    if not batch_status.active_runs and batch_status.left:
        report.append("nothing is running; the same `vast batch` continues")
    for holder in batch_status.active_runs:
        part = f" (shard {holder.shard})" if holder.shard else ""
        report.append(f"running{part}: {holder.owner}")
    report += _running_jobs(batch_status)
    if batch_status.eta_s is not None and batch_status.left:
        speed = f"{batch_status.fps:.1f} frames/s, " if batch_status.fps else ""
        report.append(f"{speed}about {duration(batch_status.eta_s)} left, until {clock_in(batch_status.eta_s)}")
    groups = batch_status.failures()
    if groups:
        report += ["", *failures(groups), "", f"again: vast retry {common.shell_words(batch)}"]
    if batch.report.is_file():
        report.append(f"report: {batch.report}")
    return report


def _running_jobs(batch_status: BatchStatus) -> list[str]:
    now = datetime.now(timezone.utc)
    running = [job for job in batch_status.jobs if job.status == "started"]
    rows = []
    for job in running[:MAX_RUNNING]:
        began = parse_timestamp(job.t)
        since = "" if began is None else f", for {duration(max(0.0, (now - began).total_seconds()))}"
        rows.append(f"  {job.id} (worker {job.worker}{since})")
    return [*rows, f"  and {len(running) - MAX_RUNNING} more"] if len(running) > MAX_RUNNING else rows


def failures(groups: list[dict[str, Any]]) -> list[str]:
    """Failed jobs by code, with hints."""
    rows = []
    for group in groups:
        names = ", ".join(group["ids"][:MAX_IDS]) + (", ..." if len(group["ids"]) > MAX_IDS else "")
        rows.append(f"{group['count']} failed with {group['code']}: {names}")
        rows.append(f"  {group['message']}" if group["count"] == 1 else f"  for example {group['message']}")
        rows.append(f"  hint: {group['hint']}")
    return rows

"""`vast status`: where a batch stands, also while it runs."""

from datetime import datetime, timezone
from typing import Any

import typer

from vast_cli.batch.monitor.status import BatchStatus, parse_time, read_status
from vast_cli.batch.state.folder import OpenBatch
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
    """Show where a batch stands: done, failed and why, at work now, time left.

    vast status jobs.csv

    Exit status 0 if all jobs are done, 3 otherwise. It tells what the journals say; `vast plan` looks at files too.
    """
    with console.run(json=json, debug=debug) as ui:
        batch = common.opened(manifest, None, None, {}, state, shard, remember=True)
        standing = read_status(batch)
        if json:
            about: dict[str, Any] = {"manifest": batch.name, "state": str(batch.folder)}
            report = {"report": str(batch.report) if batch.report.is_file() else None}
            ui.result([], about | standing.document() | report)
        else:
            for line in lines(batch, standing):
                typer.echo(line)
        if standing.count("done") < len(standing.jobs):
            raise typer.Exit(int(Exit.PARTIAL))


def lines(batch: OpenBatch, standing: BatchStatus) -> list[str]:
    """What people read."""
    numbers = [(standing.count("failed"), "failed"), (standing.count("started"), "at work")]
    numbers.append((standing.count("interrupted"), "interrupted"))
    counts = [f"{number} {text}" for number, text in numbers if number]
    head = f"{batch.name}: {standing.count('done')} of {len(standing.jobs)} done"
    found = [", ".join([head, *counts, f"{standing.left} left"])]
    if not standing.active_runs and standing.left:
        found.append("nothing runs; the same `vast batch` goes on")
    for holder in standing.active_runs:
        part = f" (shard {holder.shard})" if holder.shard else ""
        found.append(f"running{part}: {holder.owner}")
    found += _at_work(standing)
    if standing.eta_s is not None and standing.left:
        speed = f"{standing.fps:.1f} frames/s, " if standing.fps else ""
        found.append(f"{speed}about {duration(standing.eta_s)} left, until {clock_in(standing.eta_s)}")
    groups = standing.failures()
    if groups:
        found += ["", *failures(groups), "", f"again: vast retry {common.pasted(batch)}"]
    if batch.report.is_file():
        found.append(f"report: {batch.report}")
    return found


def _at_work(standing: BatchStatus) -> list[str]:
    now = datetime.now(timezone.utc)
    running = [job for job in standing.jobs if job.status == "started"]
    found = []
    for job in running[:MAX_RUNNING]:
        began = parse_time(job.t)
        since = "" if began is None else f", for {duration(max(0.0, (now - began).total_seconds()))}"
        found.append(f"  {job.id} (worker {job.worker}{since})")
    return [*found, f"  and {len(running) - MAX_RUNNING} more"] if len(running) > MAX_RUNNING else found


def failures(groups: list[dict[str, Any]]) -> list[str]:
    """Failed jobs by code, with what helps."""
    found = []
    for group in groups:
        names = ", ".join(group["ids"][:MAX_IDS]) + (", ..." if len(group["ids"]) > MAX_IDS else "")
        found.append(f"{group['count']} failed with {group['code']}: {names}")
        found.append(f"  {group['message']}" if group["count"] == 1 else f"  for example {group['message']}")
        found.append(f"  hint: {group['hint']}")
    return found

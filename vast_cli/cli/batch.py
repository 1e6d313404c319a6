"""`vast batch`: many renders, resumable."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from vast_cli.batch.manifest import JobOptions
from vast_cli.batch.monitor.events import Listener
from vast_cli.batch.monitor.status import group_failures
from vast_cli.batch.options import BatchOptions
from vast_cli.batch.planning.plan import Plan, plan_batch
from vast_cli.batch.run import run_batch
from vast_cli.batch.state.folder import OpenBatch
from vast_cli.cli import batch_display, console, status
from vast_cli.cli import batch_options as common
from vast_cli.cli import plan as plan_command
from vast_cli.cli.console import UiOptions
from vast_cli.cli.options import JobInputs, ProgressMode
from vast_cli.cli.parameters import Given, expand
from vast_cli.cli.run_options import RunOptions
from vast_cli.core.errors import ERROR_KINDS, Exit, VastError
from vast_cli.core.text import duration

COUNTS = ("done", "adopted", "failed", "rejected", "skipped", "not_started", "frames", "seconds")


@expand(given=[JobInputs, JobOptions], panel="Render")
def batch(
    manifest: common.Manifest,
    given: Given,
    output: common.Output = None,
    set: common.Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done: `vast plan`.")] = False,
    rerun_on: common.RerunOn = None,
    force: common.Force = False,
    *,
    run_options: RunOptions,
    ui_options: UiOptions,
) -> None:
    """Render all jobs of a manifest; the same command again does only what is missing or changed.

    vast batch jobs.csv -o 'out/{id}.mp4'

    Paths of finished videos go to standard output.

    Exit status: 0 all done; 3 some failed or were not started; 69, 71, 74 the machine fails; 75 another run holds the
    batch; 78 faults in the manifest.
    """
    with ui_options.run() as ui:
        options = run_options.batch_options(force=force, rerun_on=common.rerun_on(rerun_on))
        opened = run_options.opened(manifest, output, set, given.explicit)
        if dry_run:
            plan_command.show(ui, opened, plan_batch(opened, options), each=False)
        else:
            execute(ui, opened, options)


def execute(ui: console.Ui, batch: OpenBatch, options: BatchOptions) -> None:
    """Run a batch, show its progress, and end with the right exit status.

    Raises:
        VastError: `vast_option_invalid`, or why the batch could not run.
    """
    to_stdout = options.events is not None and str(options.events) == "-"
    if to_stdout and ui.json:
        raise VastError(
            "vast_option_invalid", "`--events -` and `--json` both want standard output", hint="use one of them"
        )
    if to_stdout and sys.stdout.isatty() and ui.mode is ProgressMode.bar:
        ui.mode = ProgressMode.none  # lines of JSON would run into the table
    tally = Tally()
    with ExitStack() as stack:

        def listen(plan: Plan) -> Sequence[Listener]:
            paths = not ui.json and not to_stdout
            shared = paths and ui.mode is ProgressMode.bar and sys.stdout.isatty()
            view = stack.enter_context(batch_display.watch(ui, plan.weights, plan.estimate.seconds, paths=shared))
            return [tally, view, *([print_path] if paths and not shared else [])]

        try:
            run_batch(batch, options, make_listeners=listen)
        except console.Terminated:
            tally.signal = Exit.SIGTERM
            raise
        finally:
            stack.close()  # end the table before the summary is printed
            if tally.ended is not None:
                _print_end(ui, batch, options, tally)
    assert tally.ended is not None
    if tally.exit:
        raise typer.Exit(tally.exit)


class Tally:
    """Listener that collects what the summary needs."""

    def __init__(self) -> None:
        self.jobs = 0
        self.failures: list[dict[str, Any]] = []
        self.outputs: list[str] = []
        self.ended: Mapping[str, Any] | None = None
        self.signal: Exit | None = None

    @property
    def exit(self) -> int:
        """Exit status of the command."""
        return int(self.signal or (self.ended or {}).get("exit", Exit.INTERNAL))

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Record an event."""
        if event == "run_started":
            self.jobs = fields["jobs"]
        elif event == "job_done":
            self.outputs.append(fields["output"])
        elif event == "job_failed":
            self.failures.append({name: fields[name] for name in ("id", "code", "exit", "message", "where", "hint")})
        elif event == "run_done":
            self.ended = fields


def print_path(event: str, fields: Mapping[str, Any]) -> None:
    """Listener that prints the paths of finished videos, unbuffered: a closed pipe then ends nothing else."""
    if event == "job_done":
        with io.FileIO(sys.stdout.fileno(), "w", closefd=False) as out:
            out.write(os.fsencode(fields["output"]) + b"\n")


def _print_end(ui: console.Ui, batch: OpenBatch, options: BatchOptions, tally: Tally) -> None:
    assert tally.ended is not None
    report = batch.report if options.report and tally.ended["why"] != "interrupted" and batch.report.is_file() else None
    if ui.json:
        ui.result([], document(batch, tally, report))
    for line in summary(batch, tally, report):
        ui.note(line)
    why = tally.ended["why"]
    if why == "max_failures":
        ui.err.print(f"stopped: {len(tally.failures)} failures are as many as `--max-failures` allows", markup=False)
    elif why == "interrupted":
        ui.note("the same command continues where it stopped")
    elif why is not None and why.startswith("breaker:"):
        code = why.removeprefix("breaker:")
        text = f"the batch stopped: job after job failed with {code}, {ERROR_KINDS[code].meaning}"
        hint = f"{ERROR_KINDS[code].hint}; run the same command again then"
        ui.complain(VastError(code, text, hint=hint))


def document(batch: OpenBatch, tally: Tally, report: Path | None) -> dict[str, Any]:
    """The end of a run as JSON."""
    assert tally.ended is not None
    return {
        "schema": "vast.batch/1",
        "manifest": batch.name,
        "state": str(batch.folder),
        "jobs": tally.jobs,
        **{name: tally.ended[name] for name in COUNTS if name in tally.ended},
        "exit": tally.exit,
        "why": tally.ended["why"],
        "outputs": tally.outputs,
        "failures": tally.failures,
        "report": None if report is None else str(report),
    }


def summary(batch: OpenBatch, tally: Tally, report: Path | None) -> list[str]:
    """The summary for people."""
    ended = tally.ended
    assert ended is not None
    if not tally.jobs:
        return ["no failed job matches: nothing to retry"]
    if not tally.outputs and not tally.failures and not ended["not_started"]:
        return [f"nothing to do: {ended['skipped']} of {tally.jobs} jobs are done"]
    parts = [f"{ended['done']} done"]
    parts += [
        f"{ended[name]} {text}"
        for name, text in (
            ("adopted", "already finished"),
            ("failed", "failed"),
            ("not_started", "not started"),
            ("skipped", "done before"),
        )
        if ended.get(name)
    ]
    speed = f", {ended['frames'] / ended['seconds']:.1f} frames/s" if ended["frames"] and ended["seconds"] else ""
    lines = [f"{tally.jobs} jobs: {', '.join(parts)}; {duration(ended['seconds'])}{speed}"]
    if tally.failures:
        lines += status.failures(group_failures(tally.failures))
        lines.append(f"again: vast retry {common.shell_words(batch)}")
    if report is not None:
        lines.append(f"report: {report}")
    return lines

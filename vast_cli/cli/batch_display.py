"""Shows a running batch: a table on a terminal, plain lines elsewhere; failures get a line of their own in both."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vast_cli.batch.monitor.events import Listener
from vast_cli.cli.batch_progress import BatchProgress, WorkerRow
from vast_cli.cli.console import LINE_EVERY_S, Ui
from vast_cli.cli.options import ProgressMode
from vast_cli.core.text import clock_in, duration

REFRESH_HZ = 4  # of the terminal
BAR_FROM, RATE_FROM, STAGE_FROM = 64, 48, 32  # columns of the terminal from which a worker's row has these


@contextmanager
def watch(
    ui: Ui, weights: Mapping[str, float] | None = None, estimate_s: float | None = None, *, paths: bool = False
) -> Iterator[Listener]:
    """Show a batch on standard error, in the way that fits it.

    Args:
        ui: of the command.
        weights: how much of the work each job is.
        estimate_s: expected wall time of the batch.
        paths: print those of finished videos above the table: standard output is the same terminal.
    """
    progress = BatchProgress(weights, estimate_s)
    if ui.mode is ProgressMode.bar:
        # rich's own stream for the table: without soft wrap, lines longer than the terminal would break the redraw
        console = Console(stderr=True, highlight=False)
        with Live(
            console=console,
            get_renderable=lambda: render_table(progress, console.width, console.height),
            refresh_per_second=REFRESH_HZ,
            transient=True,
            redirect_stdout=False,
        ):
            yield FailurePrinter(progress, console, paths=paths)
    elif ui.mode is ProgressMode.lines:
        yield PlainLines(progress, ui)
    else:
        yield FailurePrinter(progress, ui.err, quiet=ui.quiet)


class FailurePrinter:
    """Listener that counts, and prints failures and warnings as lines, above the table if there is one."""

    def __init__(self, progress: BatchProgress, console: Console, *, paths: bool = False, quiet: bool = False) -> None:
        self._progress = progress
        self._console = console
        self._paths = paths
        self._quiet = quiet

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Handle an event."""
        self._progress(event, fields)
        if event == "job_failed":
            self._console.print(failure(fields), soft_wrap=True)
        elif event == "warning" and not self._quiet:
            self._console.print(warning(fields), soft_wrap=True)
        elif event == "job_done" and self._paths:
            self._console.print(Text(fields["output"]), soft_wrap=True)


def failure(fields: Mapping[str, Any]) -> Text:
    """The one line of a failed job."""
    where = f" ({fields['where']})" if fields.get("where") else ""
    line = Text.assemble(("failed: ", "bold red"), (f"{fields['id']}", "bold"), f": {fields['message']}{where} ")
    return line.append(f"[{fields['code']}]", style="dim")


def warning(fields: Mapping[str, Any]) -> Text:
    """The one line of a warning."""
    about = f"{fields['id']}: " if fields["id"] else ""
    return Text.assemble(("warning: ", "yellow"), f"{about}{fields['message']}")


# --- the table -----------------------------------------------------------------------------------------------------


def render_table(progress: BatchProgress, width: int, height: int) -> RenderableType:
    """The table for a terminal of `width` columns and `height` rows; never higher than that."""
    with progress.lock:
        parts: list[RenderableType] = [*_head(progress, width)]
        room = max(1, height - len(parts) - 3)  # codes of failures, rows left out, the cursor's row
        rows = [progress.rows[key] for key in sorted(progress.rows)]
        shown = rows if len(rows) <= room else rows[: room - 1]
        if progress.left and not rows:
            parts.append(_line("waiting for workers", style="dim"))
        parts.append(_workers(shown, width, digits=len(str(max(progress.workers - 1, 0)))))
        if len(shown) < len(rows):
            parts.append(_line(f"... and {len(rows) - len(shown)} more running", style="dim"))
        if progress.codes:
            parts.append(_line("failed: " + ", ".join(f"{n} {code}" for code, n in progress.codes.most_common())))
        return Group(*parts)


def _head(progress: BatchProgress, width: int) -> Iterator[RenderableType]:
    counts = [(f"{progress.done} of {progress.to_run} done", "bold")]
    if progress.failed:
        counts.append((f"{progress.failed} failed", "bold red"))
    counts.append((f"{progress.left} left", ""))
    if progress.skipped:
        counts.append((f"{progress.skipped} done before", "dim"))
    speed = [(f"{progress.fps:.1f} frames/s", "")] if progress.fps is not None else []
    eta = progress.eta_s
    if eta is not None and progress.left:
        speed.append((f"{duration(eta)} left, until {clock_in(eta)}", ""))
    both = _joined(counts + speed)
    if both.cell_len <= width:
        yield both
    else:
        yield _joined(counts)
        if speed:
            yield _joined(speed)
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(justify="right")
    bar.add_row(ProgressBar(total=1.0, completed=progress.share), f"{100 * progress.share:.0f} %")
    yield bar


def _joined(parts: list[tuple[str, str]]) -> Text:
    return Text("   ", no_wrap=True, overflow="ellipsis").join(Text(text, style) for text, style in parts)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _workers(rows: list[WorkerRow], width: int, *, digits: int) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=digits, justify="right", style="dim")
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    if width >= STAGE_FROM:
        table.add_column(width=10, no_wrap=True, overflow="ellipsis")
    if width >= BAR_FROM:
        table.add_column(ratio=2)
    table.add_column(width=5, justify="right")
    if width >= RATE_FROM:
        table.add_column(width=9, justify="right")
    for row in rows:
        cells: list[RenderableType] = [str(row.worker), escape(row.id)]
        if width >= STAGE_FROM:
            cells.append(row.stage)
        if width >= BAR_FROM:
            cells.append("" if row.share is None else ProgressBar(total=1.0, completed=row.share))
        cells.append("" if row.share is None else f"{100 * row.share:.0f} %")
        if width >= RATE_FROM:
            cells.append("" if row.fps is None else f"{row.fps:.1f}/s")
        table.add_row(*cells)
    return table


# --- lines ---------------------------------------------------------------------------------------------------------


class PlainLines:
    """Listener that prints one line at start and end of the batch and of each job, one with totals every 30 s."""

    def __init__(self, progress: BatchProgress, ui: Ui) -> None:
        self._progress = progress
        self._ui = ui
        self._totals = time.monotonic()

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Handle an event."""
        self._progress(event, fields)
        if event == "job_failed":
            self._ui.err.print(failure(fields))
        elif event == "warning":
            self._ui.err.print(warning(fields))
        else:
            line = self._line(event, fields)
            if line is not None:
                self._ui.note(line)
        if time.monotonic() - self._totals >= LINE_EVERY_S:
            self._totals = time.monotonic()
            self._ui.note(totals(self._progress))

    def _line(self, event: str, fields: Mapping[str, Any]) -> str | None:
        if event == "run_started":
            return _start_line(fields)
        if event == "job_started":
            again = "" if fields["attempt"] == 1 else f", attempt {fields['attempt']}"
            return f"start: {fields['id']} (worker {fields['worker']}{again})"
        if event == "job_done" and fields["action"] == "adopt":
            return f"done: {fields['id']}, already finished: {fields['output']}"
        if event == "job_done":
            return f"done: {fields['id']} in {fields['seconds']:.1f} s, {fields['frames']} frames: {fields['output']}"
        if event == "job_retried":
            why = f" [{fields['code']}]" if fields["code"] else ""
            return f"again: {fields['id']} in {fields['wait_s']:.0f} s, attempt {fields['attempt']}{why}"
        if event == "worker_died":
            return f"worker {fields['worker']} is replaced: {fields['reason']}"
        return None


def _start_line(fields: Mapping[str, Any]) -> str | None:
    if not fields["to_run"]:
        return None
    skipped = f", {fields['skipped']} done before" if fields["skipped"] else ""
    workers = f"{fields['slots']} worker{'s' if fields['slots'] > 1 else ''}"
    return f"batch: {fields['to_run']} of {fields['jobs']} jobs to do{skipped}; {workers}"


def totals(progress: BatchProgress) -> str:
    """The status of the batch in one line."""
    parts = [f"{progress.done} of {progress.to_run} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    parts.append(f"{progress.left} left")
    if progress.fps is not None:
        parts.append(f"{progress.fps:.1f} frames/s")
    if progress.eta_s is not None and progress.left:
        parts.append(f"{duration(progress.eta_s)} left, until {clock_in(progress.eta_s)}")
    return ", ".join(parts)

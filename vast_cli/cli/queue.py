"""How people watch a batch: a table on a terminal, plain lines elsewhere; failures are lines of their own in both."""

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
from vast_cli.cli.board import Board, Row
from vast_cli.cli.console import LINE_EVERY_S, Ui
from vast_cli.cli.options import ProgressMode
from vast_cli.core.text import clock_in, duration

FRAMES_A_SECOND = 4  # of the terminal
BAR_FROM, RATE_FROM, STAGE_FROM = 64, 48, 32  # columns of the terminal from which a worker's row has these


@contextmanager
def watch(
    ui: Ui, weights: Mapping[str, float] | None = None, estimate_s: float | None = None, *, paths: bool = False
) -> Iterator[Listener]:
    """The view that fits where standard error goes.

    Args:
        ui: of the command.
        weights: how much of the work each job is.
        estimate_s: expected wall time of the whole.
        paths: print those of finished videos above the table: standard output is the same terminal.
    """
    board = Board(weights, estimate_s)
    if ui.mode is ProgressMode.bar:
        # rich's own stream for the table: without soft wrap, lines longer than the terminal would break the redraw
        console = Console(stderr=True, highlight=False)
        with Live(
            console=console,
            get_renderable=lambda: draw(board, console.width, console.height),
            refresh_per_second=FRAMES_A_SECOND,
            transient=True,
            redirect_stdout=False,
        ):
            yield Watcher(board, console, paths=paths)
    elif ui.mode is ProgressMode.lines:
        yield Lines(board, ui)
    else:
        yield Watcher(board, ui.err, quiet=ui.quiet)


class Watcher:
    """Counts, and prints what must not be missed as lines (above the table where there is one)."""

    def __init__(self, board: Board, console: Console, *, paths: bool = False, quiet: bool = False) -> None:
        self._board = board
        self._console = console
        self._paths = paths
        self._quiet = quiet

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take an event."""
        self._board(event, fields)
        if event == "job_failed":
            self._console.print(failure(fields), soft_wrap=True)
        elif event == "warning" and not self._quiet:
            self._console.print(warned(fields), soft_wrap=True)
        elif event == "job_done" and self._paths:
            self._console.print(Text(fields["output"]), soft_wrap=True)


def failure(fields: Mapping[str, Any]) -> Text:
    """The one line of a failed job."""
    where = f" ({fields['where']})" if fields.get("where") else ""
    line = Text.assemble(("failed: ", "bold red"), (f"{fields['id']}", "bold"), f": {fields['message']}{where} ")
    return line.append(f"[{fields['code']}]", style="dim")


def warned(fields: Mapping[str, Any]) -> Text:
    """The one line of a warning."""
    about = f"{fields['id']}: " if fields["id"] else ""
    return Text.assemble(("warning: ", "yellow"), f"{about}{fields['message']}")


# --- the table -----------------------------------------------------------------------------------------------------


def draw(board: Board, width: int, height: int) -> RenderableType:
    """The table for a terminal of `width` columns and `height` rows; never higher than that."""
    with board.lock:
        parts: list[RenderableType] = [*_head(board, width)]
        room = max(1, height - len(parts) - 3)  # codes of failures, rows left out, the cursor's row
        rows = [board.rows[key] for key in sorted(board.rows)]
        shown = rows if len(rows) <= room else rows[: room - 1]
        if board.left and not rows:
            parts.append(_line("waiting for workers", style="dim"))
        parts.append(_workers(shown, width, digits=len(str(max(board.slots - 1, 0)))))
        if len(shown) < len(rows):
            parts.append(_line(f"... and {len(rows) - len(shown)} more at work", style="dim"))
        if board.codes:
            parts.append(_line("failed: " + ", ".join(f"{n} {code}" for code, n in board.codes.most_common())))
        return Group(*parts)


def _head(board: Board, width: int) -> Iterator[RenderableType]:
    counts = [(f"{board.done} of {board.to_run} done", "bold")]
    if board.failed:
        counts.append((f"{board.failed} failed", "bold red"))
    counts.append((f"{board.left} left", ""))
    if board.skipped:
        counts.append((f"{board.skipped} done before", "dim"))
    speed = [(f"{board.fps:.1f} frames/s", "")] if board.fps is not None else []
    eta = board.eta_s
    if eta is not None and board.left:
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
    bar.add_row(ProgressBar(total=1.0, completed=board.share), f"{100 * board.share:.0f} %")
    yield bar


def _joined(parts: list[tuple[str, str]]) -> Text:
    return Text("   ", no_wrap=True, overflow="ellipsis").join(Text(text, style) for text, style in parts)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _workers(rows: list[Row], width: int, *, digits: int) -> Table:
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


class Lines:
    """One line at start and end of the batch and of each job, one with totals every 30 s."""

    def __init__(self, board: Board, ui: Ui) -> None:
        self._board = board
        self._ui = ui
        self._totals = time.monotonic()

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take an event."""
        self._board(event, fields)
        if event == "job_failed":
            self._ui.err.print(failure(fields))
        elif event == "warning":
            self._ui.err.print(warned(fields))
        else:
            line = self._line(event, fields)
            if line is not None:
                self._ui.note(line)
        if time.monotonic() - self._totals >= LINE_EVERY_S:
            self._totals = time.monotonic()
            self._ui.note(totals(self._board))

    def _line(self, event: str, fields: Mapping[str, Any]) -> str | None:
        if event == "run_started":
            return _announced(fields)
        if event == "job_started":
            again = "" if fields["attempt"] == 1 else f", attempt {fields['attempt']}"
            return f"start: {fields['id']} (worker {fields['worker']}{again})"
        if event == "job_done" and fields["action"] == "adopt":
            return f"done: {fields['id']}, found finished: {fields['output']}"
        if event == "job_done":
            return f"done: {fields['id']} in {fields['seconds']:.1f} s, {fields['frames']} frames: {fields['output']}"
        if event == "job_retried":
            why = f" [{fields['code']}]" if fields["code"] else ""
            return f"again: {fields['id']} in {fields['wait_s']:.0f} s, attempt {fields['attempt']}{why}"
        if event == "worker_died":
            return f"worker {fields['worker']} is replaced: {fields['reason']}"
        return None


def _announced(fields: Mapping[str, Any]) -> str | None:
    if not fields["to_run"]:
        return None
    skipped = f", {fields['skipped']} done before" if fields["skipped"] else ""
    workers = f"{fields['slots']} worker{'s' if fields['slots'] > 1 else ''}"
    return f"batch: {fields['to_run']} of {fields['jobs']} jobs to do{skipped}; {workers}"


def totals(board: Board) -> str:
    """Where the batch stands, in one line."""
    parts = [f"{board.done} of {board.to_run} done"]
    if board.failed:
        parts.append(f"{board.failed} failed")
    parts.append(f"{board.left} left")
    if board.fps is not None:
        parts.append(f"{board.fps:.1f} frames/s")
    if board.eta_s is not None and board.left:
        parts.append(f"{duration(board.eta_s)} left, until {clock_in(board.eta_s)}")
    return ", ".join(parts)

"""Output of commands: results on stdout, everything else on stderr; errors, progress, signals, exit codes."""

import json as json_module
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from vast_cli.cli import options
from vast_cli.cli.options import ProgressMode
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.memory import is_out_of_memory
from vast_cli.core.text import duration

if TYPE_CHECKING:
    from vast_cli.training.loop import TrainingStatus

LINE_EVERY_S = 30.0  # plain progress lines, where there is no terminal
log = logging.getLogger("vast_cli")


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds like Ctrl-C, so that every `finally` cleans up."""


class Ui:
    """What one command prints: progress, notes, and the result at the end."""

    def __init__(self, *, json: bool, mode: ProgressMode, quiet: bool, verbose: bool, debug: bool) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.debug = debug
        # rich obeys NO_COLOR and TERM=dumb by itself
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        if quiet:
            mode = ProgressMode.none
        elif mode is ProgressMode.auto:
            mode = ProgressMode.bar if self.err.is_terminal and not self.err.is_dumb_terminal else ProgressMode.lines
        self.mode = mode
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Print a sentence for people."""
        if not self.quiet:
            self.err.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning for people."""
        if not self.quiet:
            self.err.print(f"[yellow]warning:[/] {escape(text)}")

    def progress(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        """Show that `done` of `total` units of `stage` are finished; the stages call it from their loops."""
        if self.mode is ProgressMode.none:
            return
        if self.mode is ProgressMode.bar:
            self._bar(stage, done, total, detail)
            return
        now = time.monotonic()
        finished = total is not None and done >= total
        if (
            stage not in self._lines
            or (finished and self._lines[stage] >= 0)
            or (0 <= self._lines[stage] < now - LINE_EVERY_S)
        ):
            amount = f"{done}" if total is None else f"{done}/{total}"
            self.note(f"{stage}: {amount}, {detail}" if detail else f"{stage}: {amount}")
            self._lines[stage] = -1.0 if finished else now

    def training(self, status: "TrainingStatus") -> None:
        """Show loss, held-out figure and remaining time of a training; its loop calls it after each step."""
        detail = status.detail()
        if self.mode is ProgressMode.lines:  # the bar has a column for the time
            detail += f", {duration(status.eta_s)} left"
        self.progress(status.name, status.done, status.total, detail)

    def _bar(self, stage: str, done: int, total: int | None, detail: str) -> None:
        if self._bars is None:
            self._bars = Progress(
                SpinnerColumn(), TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[detail]}"),
                console=self.err, transient=False,
            )  # fmt: skip
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, rate="", detail="")
        task = self._bars.tasks[self._tasks[stage]]
        rate = f"{task.speed:.0f}/s" if task.speed else ""
        self._bars.update(self._tasks[stage], completed=done, total=total, rate=rate, detail=detail)

    def stop(self) -> None:
        """Stop the progress bars and give the terminal back."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def result(self, paths: list[Path], document: dict[str, Any]) -> None:
        """Print the result on stdout: the JSON document, or one path a line."""
        self.stop()
        if self.json:
            typer.echo(json_module.dumps(document, indent=2, default=str))
        else:
            for path in paths:
                typer.echo(str(path))

    def fail(self, error: VastError) -> None:
        """Print one error: message, where, hint, code."""
        self.stop()
        if self.json:
            typer.echo(json_module.dumps({"error": error.as_dict()}, indent=2))
        self.complain(error)

    def complain(self, error: VastError) -> None:
        """Print one error for people only, when the result is on stdout already."""
        where = f" ({error.where})" if error.where else ""
        self.err.print(f"[bold red]error:[/] {escape(error.message + where)}")
        self.err.print(f"[bold]hint:[/] {escape(error.hint)}   [dim]\\[{error.code}][/]")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _start_log(path: Path | None, *, verbose: bool, debug: bool) -> None:
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
        handlers[1].setLevel(min(level, logging.INFO))
    handlers[0].setLevel(level)
    logging.basicConfig(
        level=min(h.level for h in handlers),
        handlers=handlers,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )


@contextmanager
def run(
    *,
    json: bool = False,
    progress: ProgressMode = ProgressMode.auto,
    quiet: bool = False,
    verbose: bool = False,
    debug: bool = False,
    log_file: Path | None = None,
) -> Iterator[Ui]:
    """Run a command's work: sets up the log and signals, prints one message per failure, ends with the right status."""
    ui = Ui(json=json, mode=progress, quiet=quiet, verbose=verbose, debug=debug)
    _start_log(log_file, verbose=verbose, debug=debug)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), _terminate)
    try:
        yield ui
    except VastError as error:
        if debug:
            ui.stop()
            traceback.print_exc()
        ui.fail(error)
        raise typer.Exit(int(error.exit)) from None
    except KeyboardInterrupt:
        ui.stop()
        ui.err.print("interrupted: nothing half-written is left behind")
        raise typer.Exit(int(Exit.SIGINT)) from None
    except Terminated:
        ui.stop()
        ui.err.print("terminated: nothing half-written is left behind")
        raise typer.Exit(int(Exit.SIGTERM)) from None
    except BrokenPipeError:  # vast ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        log.debug("internal error", exc_info=True)
        if debug:
            ui.stop()
            traceback.print_exc()
        code = "vast_out_of_memory" if is_out_of_memory(error) else "vast_internal"
        failure = VastError(code, f"{type(error).__name__}: {error}")
        ui.fail(failure)
        raise typer.Exit(int(failure.exit)) from None
    finally:
        ui.stop()


@dataclass(frozen=True)
class UiOptions:
    """Options of every command: how it talks to people and programs."""

    json: options.Json = False
    progress: options.Progress = ProgressMode.auto
    quiet: options.Quiet = False
    verbose: options.Verbose = False
    debug: options.Debug = False
    log_file: options.LogFile = None

    def run(self) -> AbstractContextManager[Ui]:
        """Everything around the command's work, see `run`."""
        return run(
            json=self.json, progress=self.progress, quiet=self.quiet, verbose=self.verbose, debug=self.debug,
            log_file=self.log_file,
        )  # fmt: skip

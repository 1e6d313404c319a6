"""`vast retry`: runs failed jobs of a batch again, with changed options if wanted."""

from typing import Annotated

import typer

from vast_cli.batch.options import Selection
from vast_cli.cli import batch_options as common
from vast_cli.cli.batch import execute
from vast_cli.cli.console import UiOptions
from vast_cli.cli.parameters import expand
from vast_cli.cli.run_options import RunOptions


@expand
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
    *,
    run_options: RunOptions,
    ui_options: UiOptions,
) -> None:
    """Run the failed jobs of a batch again, all or some.

    vast retry jobs.csv

    vast retry jobs.csv --code vast_no_face --set face=left

    The options of the last `vast batch` (`-o`, options, `--set`) hold here too. Values of `--set` are kept for the
    jobs until their rows in the manifest change.
    """
    with ui_options.run() as ui:
        select = Selection(common.codes(code), frozenset(id or ()), common.assignments(set))
        options = run_options.batch_options(select=select)
        execute(ui, run_options.opened(manifest, output, remember=True), options)

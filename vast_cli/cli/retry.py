"""`vast retry`: the failed jobs of a batch again, with something changed if need be."""

from typing import Annotated

import typer

from vast_cli.batch.options import Selection
from vast_cli.cli import batch_options as common
from vast_cli.cli.batch import execute
from vast_cli.cli.run_options import RunOptions, with_run_options


@with_run_options
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
    shared: RunOptions,
) -> None:
    """Run the failed jobs of a batch again, all or some.

    vast retry jobs.csv

    vast retry jobs.csv --code vast_no_face --set face=left

    What the last `vast batch` was told beside the manifest (`-o`, options, `--set`) holds here too. Values of `--set`
    are kept for the jobs, until their rows in the manifest say something new.
    """
    with shared.ui() as ui:
        select = Selection(common.codes(code), frozenset(id or ()), common.assignments(set))
        asked = shared.asked(select=select)
        execute(ui, shared.opened(manifest, output, remember=True), asked)

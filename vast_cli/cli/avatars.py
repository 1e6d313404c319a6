"""`vast avatars`: lists the installed avatars and shows their cards."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.store import bundles

app = typer.Typer(no_args_is_help=True, help="List the installed avatars, or show one.", pretty_exceptions_enable=False)


@app.command("list")
def list_avatars(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the installed avatars, one name a line.

    vast avatars list
    """
    with console.run(json=json, debug=debug) as ui:
        from vast_cli.renderer.avatar import read_card

        cards = {name: read_card(path) for name, path in bundles.available().items()}
        if json:
            ui.result([], {"avatars": cards})
            return
        for name in cards:
            typer.echo(name)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="Name of an avatar, or the path of a bundle.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show subject, licence, consent, size and measured quality of an avatar.

    vast avatars info obama
    """
    with console.run(json=json, debug=debug) as ui:
        from vast_cli.renderer.avatar import read_card

        path = bundles.find(name)
        card = read_card(path)
        if json:
            ui.result([], card | {"path": str(path)})
            return
        table = Table(box=None, show_header=False)
        for key, value in card.items():
            if key != "yardstick":  # pages of numbers, for programs
                table.add_row(key, str(value))
        table.add_row("gates", "measured against its footage" if card.get("yardstick") else "no figures of its footage")
        table.add_row("path", str(path))
        Console(highlight=False, soft_wrap=True).print(table)

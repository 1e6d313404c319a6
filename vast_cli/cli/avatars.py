"""`vast avatars`: lists the installed avatars, shows their cards, encodes their own style again."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.core.errors import VastError
from vast_cli.store import bundles

app = typer.Typer(
    no_args_is_help=True,
    help="List the installed avatars, show one, or encode its own style again.",
    pretty_exceptions_enable=False,
)


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


@app.command("encode-style")
def encode_own_style(
    name: Annotated[str, typer.Argument(help="Name of an avatar, or the folder of a bundle.")],
    footage: Annotated[Path, typer.Option(help="The footage that the avatar was fitted to, or a part of it.")],
    face: options.Face = "largest",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Encode the avatar's own style again, in its bundle: after a new style model, without a new fit.

    Without it an avatar speaks in the mean style where no prompt is given, and at a style strength of 0.

    vast avatars encode-style my-avatar --footage ann.mp4
    """
    with console.run(json=json, debug=debug) as ui:
        path = bundles.find(name)
        if not path.is_dir():
            raise VastError(
                "vast_option_invalid",
                f"`{path}` is a packed bundle",
                hint="unpack it (it is a zip file) and name the folder",
            )

        from vast_cli.pipeline.extract import extract_track
        from vast_cli.pipeline.models import Models
        from vast_cli.training.renderer.train import with_own_style

        models = Models()
        avatar = models.avatar(str(path))
        track = extract_track(footage, models, face_name=face, progress=ui.progress)
        with_own_style(avatar, track, models.style_model).save(path)
        ui.result([path], {"avatar": avatar.name, "style_model": models.style_model.hash})

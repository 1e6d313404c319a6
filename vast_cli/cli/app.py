"""The command `vast`: a table of commands, loaded when asked for. Nothing here imports torch."""

import importlib
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from vast_cli import __version__

# name -> dotted path of the function (or Typer group); the order is that of `vast --help`
COMMANDS: dict[str, str] = {
    "render": "vast_cli.cli.render:render",
    "batch": "vast_cli.cli.batch:batch",
    "plan": "vast_cli.cli.plan:plan",
    "status": "vast_cli.cli.status:status",
    "retry": "vast_cli.cli.retry:retry",
    "extract": "vast_cli.cli.extract:extract",
    "ppg": "vast_cli.cli.ppg:ppg",
    "encode-style": "vast_cli.cli.encode_style:encode_style",
    "predict": "vast_cli.cli.predict:predict",
    "fit-renderer": "vast_cli.cli.fit_renderer:fit_renderer",
    "train": "vast_cli.cli.train:app",
    "evaluate": "vast_cli.cli.evaluate:evaluate",
    "compare": "vast_cli.cli.compare:compare",
    "study": "vast_cli.cli.study:app",
    "styles": "vast_cli.cli.styles:app",
    "avatars": "vast_cli.cli.avatars:app",
    "bench": "vast_cli.cli.bench:bench",
    "doctor": "vast_cli.cli.doctor:doctor",
    "schema": "vast_cli.cli.schema:schema",
}


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vast {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make an avatar speak your audio in the style of any video.

    vast render --audio speech.wav --prompt excited.mp4 --avatar obama -o out.mp4
    """


def build(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The application with the commands `names`."""
    app = typer.Typer(
        name="vast",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_root,
    )
    for name in names:
        module, attribute = COMMANDS[name].split(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name)
        else:
            app.command(name)(target)
    return app


def main() -> None:
    """Entry point of the command `vast`."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    build([command] if command in COMMANDS else COMMANDS)()

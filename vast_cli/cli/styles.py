"""`vast styles`: look into the space of styles."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files
from vast_cli.core.errors import VastError

app = typer.Typer(no_args_is_help=True, help="Look into the space of styles: a map.", pretty_exceptions_enable=False)


@app.callback()
def styles() -> None:
    """Look into the space of styles: a map."""


@app.command("map")
@expand
def map_command(
    clips: Annotated[list[Path], typer.Argument(help="Videos, tracks, style files, or folders of them.")],
    labels: Annotated[
        Path, typer.Option(help="CSV table: path or stem, label, and speaker and source if known; an index.csv fits.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Image (.png).")] = Path("styles.png"),
    window: Annotated[
        float | None, typer.Option(min=0.4, help="Cut clips into equal parts no shorter than so many seconds.")
    ] = None,
    face: options.Face = "largest",
    seed: Annotated[int, typer.Option(min=0, envvar="VAST_SEED", help="Of t-SNE, baseline and shuffles.")] = 0,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Draw style codes as a map, with figures that say whether labels lie apart.

    The image is t-SNE and no evidence; silhouette, nearest neighbour and linear probe are taken on the codes
    themselves, against shuffled labels, mean and sd of the expressions, and an untrained encoder.

    vast styles map clips/ --labels emotion.csv -o map.png
    """
    with ui_options.run() as ui:
        if output.suffix.lower() != ".png":
            raise VastError("vast_option_invalid", f"`{output}` is no .png file", hint="name it NAME.png")
        files.check_input(labels)
        for clip in clips:
            if not clip.is_dir():
                files.check_input(clip)
        files.check_output(output, overwrite=overwrite)

        from vast_cli.evaluate.styles.mapping import MapSettings, map_styles
        from vast_cli.evaluate.styles.plot import FIGURES, TITLES, figure_text, write_plot

        settings = MapSettings(window_s=window, which=face, seed=seed)
        style_map = map_styles(clips, labels, settings, progress=ui.progress)
        write_plot(style_map, output, overwrite=overwrite)
        for warning in style_map.codes.warnings:
            ui.warn(warning)
        if not (ui.json or ui.quiet):
            table = Table("on the codes (shuffled)", *FIGURES.values(), box=None)
            for name, title in TITLES.items():
                table.add_row(title, *(figure_text(style_map.figures[name][figure]) for figure in FIGURES))
            ui.stop()
            Console(stderr=True, highlight=False, width=160).print(table)
        ui.result([output], style_map.document() | {"picture": str(output)})

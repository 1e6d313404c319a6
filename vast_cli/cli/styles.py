"""`vast styles`: styles by name, what they do to a face, mixtures of them, and a map of the style space."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files, timebase
from vast_cli.core.errors import VastError
from vast_cli.core.text import counted, duration
from vast_cli.store import folders, style_cards
from vast_cli.store import styles as styles_store
from vast_cli.store.style_cards import NamedStyle

if TYPE_CHECKING:
    from vast_cli.pipeline.style_effect import StyleEffect
    from vast_cli.records import Style

NEUTRAL = "neutral"  # the style that `show` compares others with
WIDTH = 200  # of tables, wherever they go: a name may not be cut
app = typer.Typer(no_args_is_help=True, help="List, show and mix styles; map them.", pretty_exceptions_enable=False)


@app.command("list")
def list_command(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the styles that `--style` takes by name: those that ship and your own.

    vast styles list
    """
    with console.run(json=json, debug=debug) as ui:
        named = style_cards.list_named()
        own = folders.styles_folder()
        if json:
            ui.result([], {"styles": [style.document() for style in named], "folder": str(own)})
            return
        table = Table("style", "what it is", "made from", "licence of the footage", "where", box=None, pad_edge=False)
        for style in named:
            where = "shipped" if style.shipped else "yours"
            table.add_row(style.name, style.description, _made_from(style), _licence(style), where)
        _print(table)
        ui.note(f"every style file in `{own}` has its name here too" if named else f"no styles; yours go to `{own}`")


def _made_from(style: NamedStyle) -> str:
    if style.problem is not None:
        return style.problem
    if style.card is not None:
        return f"{style.card.people} people, {duration(style.card.seconds)}"
    return "" if style.record is None else duration(timebase.seconds(style.record.n_frames))


def _licence(style: NamedStyle) -> str:
    """The licence of most clips, and how many others there are."""
    if style.card is None or not style.card.licences:
        return ""
    licences = style.card.licences
    most = max(licences, key=lambda licence: licences[licence])
    return most if len(licences) == 1 else f"{len(licences)} kinds: `vast styles show {style.name}`"


def _print(table: Table) -> None:
    Console(highlight=False, width=WIDTH).print(table)


@app.command()
@expand
def show(
    style: Annotated[str, typer.Argument(metavar="STYLE", help="Name of a style, or a style file.")],
    *,
    ui_options: console.UiOptions,
) -> None:
    """Say what a style does to a face, beside `neutral`, and what it was made from.

    A mean face speaks the example's audio for a minute. Levels are means over the face without expression, in percent
    of the distance of the outer eye corners; spreads are standard deviations.

    vast styles show happy
    """
    with ui_options.run() as ui:
        path = styles_store.find(style)
        files.check_input(path)

        from vast_cli import records
        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.style_effect import describe, measure_effect

        models = Models()
        record = records.load(records.Style, path, model_hash=models.style_model.hash)
        named = style_cards.load_named(path)
        effect = measure_effect(record.vector, models)
        neutral = _neutral(path)
        reference = None if neutral is None else measure_effect(neutral.vector, models)
        remarks = [] if reference is None else describe(effect, reference)
        if not ui.json:
            ui.stop()
            _print_effect(named, effect, reference, remarks)
        document = named.document() | {
            "source": record.source,
            "effect": effect.document(),
            "neutral": None if reference is None else reference.document(),
            "remarks": remarks,
        }
        ui.result([], document)


def _neutral(style: Path) -> "Style | None":
    """What to compare a style with: `neutral`, if there is one of the model in use and the style is another one."""
    path = styles_store.available().get(NEUTRAL)
    return None if path is None or path == style.absolute() else style_cards.load_named(path).record


def _print_effect(
    named: NamedStyle, effect: "StyleEffect", reference: "StyleEffect | None", remarks: Sequence[str]
) -> None:
    typer.echo(f"{named.name}: {named.description}")
    if reference is not None:
        typer.echo(f"  {', '.join(remarks) or 'hardly different from neutral'}")
    typer.echo()
    table = Table("% of the eye distance", box=None, pad_edge=False)
    for title in ("level", "over neutral", "spread", "times neutral's")[:: 1 if reference is not None else 2]:
        table.add_column(title, justify="right")
    for name, level in effect.levels.items():
        cells = [f"{level:+.1f}", f"{effect.spreads[name]:.1f}"]
        if reference is not None:
            ratio = effect.spreads[name] / max(reference.spreads[name], 1e-6)
            cells = [cells[0], f"{level - reference.levels[name]:+.1f}", cells[1], f"{ratio:.2f}"]
        table.add_row(name, *cells)
    _print(table)
    typer.echo(f"blinks a minute: {effect.blinks_per_minute:.0f}")
    if named.card is not None:
        card = named.card
        sets = ", ".join(f"{name} {count}" for name, count in card.sets.items())
        typer.echo(f"\nmade from: mean of {card.people} people, {card.clips} clips ({sets}), {duration(card.seconds)}")
        typer.echo(
            f"recognised: {card.recognised} of {card.people} people are nearest to this style when it is made without "
            f"them (by chance {card.chance * card.people:.1f})"
        )
        typer.echo("licences of the footage, as found:")
        for licence, count in card.licences.items():
            typer.echo(f"  {counted(count, 'clip')}: {licence}")
    typer.echo(f"file: {named.path}")


@app.command()
@expand
def mix(
    styles: Annotated[list[str], typer.Argument(metavar="STYLE...", help="Two or more: names or style files.")],
    weights: Annotated[
        str | None, typer.Option(metavar="LIST", help="A number for each, like .7,.3; equal if not given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Style file; default: the names with `-` between, here.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Mix styles into a new one.

    vast styles mix happy lecture --weights .4,.6 -o warm.style
    """
    with ui_options.run() as ui:
        if len(styles) < 2:
            raise VastError("vast_option_invalid", "a mix needs two styles or more", hint="`vast styles list`")
        shares = _shares(weights, len(styles))
        paths = [styles_store.find(style) for style in styles]
        for path in paths:
            files.check_input(path)
        target = output or Path("-".join(path.stem for path in paths) + styles_store.SUFFIX)
        if target.suffix != styles_store.SUFFIX:
            raise VastError("vast_option_invalid", f"`{target}` is no .style file", hint="name it NAME.style")
        files.check_output(target, overwrite=overwrite)

        from vast_cli import records
        from vast_cli.pipeline.models import Models
        from vast_cli.style import mix_styles

        model_hash = Models().style_model.hash
        parts = [records.load(records.Style, path, model_hash=model_hash) for path in paths]
        recipe = " + ".join(f"{share:.2g} {path.stem}" for share, path in zip(shares, paths, strict=True))
        mixed = dataclasses.replace(mix_styles(parts, shares), source=recipe)
        mixed.save(target, overwrite=overwrite)
        ui.note(f"{recipe}: `--style {target}`")
        rows = [{"path": str(path), "weight": share} for path, share in zip(paths, shares, strict=True)]
        ui.result([target], {"style": str(target), "parts": rows})


def _shares(weights: str | None, count: int) -> list[float]:
    """`--weights`, divided by their sum.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if weights is None:
        return [1 / count] * count
    try:
        values = [float(word) for word in weights.split(",")]
    except ValueError:
        raise VastError(
            "vast_option_invalid", f"`--weights {weights}` is not understood", hint="numbers like `.7,.3`"
        ) from None
    if len(values) != count:
        raise VastError(
            "vast_option_invalid", f"{count} styles and {len(values)} weights", hint="`--weights` takes one for each"
        )
    if (
        not all(math.isfinite(value) and value >= 0 for value in values)
        or not math.isfinite(sum(values))
        or not sum(values)
    ):
        raise VastError(
            "vast_option_invalid", f"`--weights {weights}`: weights are 0 or more, and not all 0", hint="like `.7,.3`"
        )
    return [value / sum(values) for value in values]


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

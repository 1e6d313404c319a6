"""`vast render`: one talking video."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from vast_cli.batch.manifest import PRESET_OPTIONS
from vast_cli.cli import console, options
from vast_cli.cli.parameters import Given, expand, spell_flag
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.gates.options import GatedOptions
from vast_cli.pipeline.options import MachineOptions, check
from vast_cli.store import presets, styles

OLD_PARTS_S = 7 * 24 * 3600.0  # segments of an interrupted render are removed when it was not continued for so long


@expand(given=[GatedOptions], machine=[MachineOptions])
def render(
    audio: Annotated[Path, typer.Option(help="Audio to speak: any audio or video file.")],
    avatar: options.Avatar = "obama",
    prompt: options.Prompt = None,
    style: options.StyleName = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Video file, or a folder for it.")] = None,
    preset: options.Preset = "standard",
    *,
    given: Given,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show every value and where it came from, then stop.")
    ] = False,
    machine: Given,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="VAST_CACHE",
            help="Folder that keeps tracks, styles, posteriorgrams, and segments of interrupted renders.",
            rich_help_panel="Machine",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    ui_options: console.UiOptions,
) -> None:
    """Make the avatar speak the audio in the style of the prompt.

    vast render --audio speech.wav --prompt excited.mp4 --avatar obama -o out.mp4
    """
    with ui_options.run() as ui:
        settings = _settings(ui, given, machine, preset)
        if print_config:
            rows = {name: {"value": setting.value, "source": setting.source} for name, setting in settings.items()}
            typer.echo(json.dumps(rows, indent=2))
            return
        if prompt is not None and style is not None:
            raise VastError(
                "vast_option_invalid", "`--prompt` and `--style` exclude each other", hint="give one of them"
            )
        style_file = None if style is None else styles.find(style)
        for path in filter(None, (audio, prompt, style_file)):
            files.check_input(path)
        target = _target(output, audio, prompt or style_file, avatar)
        files.check_output(target, overwrite=overwrite)
        values = {name: setting.value for name, setting in settings.items()}
        inputs = {"prompt": prompt, "style": style_file, "overwrite": overwrite}
        _render(ui, audio, avatar, target, values, inputs, cache=cache)


def _settings(ui: console.Ui, given: Given, machine: Given, preset: str) -> dict[str, options.Setting]:
    """Every option's checked value, and where it came from."""
    values = presets.load(preset, PRESET_OPTIONS)
    if values.pop("redraw", None) is not None:
        ui.warn(f"preset `{preset}`: `redraw` has no effect on a single render")
    settings: dict[str, options.Setting] = {}
    for model, some in ((GatedOptions, given), (MachineOptions, machine)):
        resolved = options.resolve(some, values, preset)
        known = {name: setting.value for name, setting in resolved.items() if setting.value is not None}

        def refuse(name: str, fault: str, resolved: Mapping[str, options.Setting] = resolved) -> None:
            source = resolved[name].source
            where = f"preset `{preset}`, {name}" if source.startswith("preset") else spell_flag(name)
            raise VastError("vast_option_invalid", f"{where}: {fault}")

        checked = check(model, known, refuse)
        for name, setting in resolved.items():
            value = checked[name] if name in checked else model.model_fields[name].default
            settings[name] = options.Setting(value, setting.source)
    return settings


def _render(
    ui: console.Ui,
    audio: Path,
    avatar: str,
    target: Path,
    values: dict[str, Any],
    inputs: Mapping[str, Any],
    *,
    cache: Path | None,
) -> None:
    from vast_cli.gates.render import render as render_gated  # torch is imported only when there is work
    from vast_cli.pipeline import segments
    from vast_cli.pipeline.request import RenderRequest
    from vast_cli.store.cache import Cache
    from vast_cli.store.folders import cache_folder

    gates = values.pop("gate")
    request = RenderRequest.of(audio, avatar, target, values=values, **inputs)
    folder = cache or cache_folder()
    parts = folder / "parts"
    segments.sweep_old(parts, older_than_s=OLD_PARTS_S, now_s=time.time())
    with _note_kept_segments(ui, parts):
        result, figures = render_gated(request, gates, cache=Cache(folder), parts=parts, progress=ui.progress)
    ui.stop()
    if result.taken_up:
        some = "1 finished segment" if result.taken_up == 1 else f"{result.taken_up} finished segments"
        ui.note(f"continued after {some} of an interrupted render")
    for warning in result.warnings:
        ui.warn(warning)
    ui.note(
        f"{result.duration_s:.2f} s, {result.n_frames} frames in {result.seconds:.1f} s "
        f"({result.seconds / result.duration_s:.2f} x real time): {result.output}"
    )
    ui.result([result.output], result.document() | ({"gates": dict(figures)} if gates else {}))


@contextmanager
def _note_kept_segments(ui: console.Ui, parts: Path) -> Iterator[None]:
    """Tell the user when a render ends early and its finished segments are kept."""
    started = time.time()
    try:
        yield
    except BaseException:
        if any(note.stat().st_mtime >= started for note in parts.glob("*/*.json")):
            ui.stop()
            ui.note(f"finished segments are kept in `{parts}`; the same command continues from there")
        raise


def _target(output: Path | None, audio: Path, style: Path | None, avatar: str) -> Path:
    """Path of the video: the file requested, or a name made of the inputs in the folder requested."""
    if output is not None and output.suffix and not output.is_dir():
        return output
    parts = [audio.stem, style.stem if style else None, Path(avatar).stem]
    return (output or Path()) / ("-".join(part for part in parts if part) + ".mp4")

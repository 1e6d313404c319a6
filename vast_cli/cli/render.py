"""`vast render`: one talking video."""

import json as json_module
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.gates import measure
from vast_cli.store import presets

# the options a preset may set and `--print-config` shows
SETTINGS = [
    "style_strength", "max_exaggeration", "crf", "encoder_preset", "codec", "detail", "seed", "device", "dtype",
    "threads", "face", "segment", "allow_silence", "sidecar",
    "gate",
]  # fmt: skip
OLD_PARTS_S = 7 * 24 * 3600.0  # segments of an interrupted render that nobody took up for so long go


def render(
    context: typer.Context,
    audio: Annotated[Path, typer.Option(help="Sound to speak: any audio or video file.")],
    avatar: Annotated[
        str, typer.Option(envvar="VAST_AVATAR", help="Name of an avatar, or the path of a bundle.")
    ] = "obama",
    prompt: Annotated[Path | None, typer.Option(help="Video whose manner is imitated.")] = None,
    style: Annotated[Path | None, typer.Option(help="Style file instead of a prompt (`vast encode-style`).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Video file, or a folder for it.")] = None,
    style_strength: Annotated[
        float,
        typer.Option(min=0.0, max=3.0, help="0: the avatar's own manner, 1: the prompt's, above: more than that."),
    ] = 1.0,
    max_exaggeration: Annotated[
        float,
        typer.Option(min=0.1, max=10.0, help="How far motion may go beyond the avatar's footage; 1 is its own range."),
    ] = 1.0,
    preset: Annotated[
        str, typer.Option(envvar="VAST_PRESET", help="Named set of options: standard, draft, master, or yours.")
    ] = "standard",
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of the encoder, lower is better.")] = 18,
    encoder_preset: Annotated[str, typer.Option(help="Speed of the encoder, ultrafast to veryslow.")] = "fast",
    codec: Annotated[str, typer.Option(help="h264 plays everywhere; h265 is smaller.")] = "h264",
    detail: Annotated[
        str, typer.Option(help="full: with the network; mesh: textured mesh only, for previews.")
    ] = "full",
    face: options.Face = "largest",
    segment: Annotated[
        float,
        typer.Option(min=1.0, help="Seconds after which a long video is cut; finished segments survive interruptions."),
    ] = 60.0,
    allow_silence: Annotated[
        bool, typer.Option("--allow-silence/--no-allow-silence", help="Render sound without speech too.")
    ] = False,
    sidecar: Annotated[
        bool, typer.Option("--sidecar/--no-sidecar", help="Write what the video was made from beside it.")
    ] = False,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="Limits that a result must reach: sync>=0.3,sharpness>=0.55; see docs/gates.md."),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show every value and where it came from, then stop.")
    ] = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.DtypeOption = options.Dtype.auto,
    threads: options.Threads = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar="VAST_CACHE",
            help="Folder that keeps what was found in prompts and sounds, and segments of interrupted renders.",
            rich_help_panel="Machine",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    log_file: options.LogFile = None,
) -> None:
    """Make the avatar speak the audio in the manner of the prompt.

    vast render --audio speech.wav --prompt excited.mp4 --avatar obama -o out.mp4
    """
    with console.run(json=json, progress=progress, quiet=quiet, verbose=verbose, debug=debug, log_file=log_file) as ui:
        settings = options.resolve(context, SETTINGS, presets.load(preset, SETTINGS), preset)
        values = {name: setting.value for name, setting in settings.items()}
        values["dtype"] = str(getattr(values["dtype"], "value", values["dtype"]))
        if print_config:
            rows = {name: {"value": values[name], "source": setting.source} for name, setting in settings.items()}
            typer.echo(json_module.dumps(rows, indent=2))
            return
        limits = values.pop("gate") or []
        limits = [limits] if isinstance(limits, str) else list(limits)
        measure.parse(limits)
        if prompt is not None and style is not None:
            raise VastError(
                "vast_option_invalid", "`--prompt` and `--style` exclude each other", hint="give one of them"
            )

        for path in filter(None, (audio, prompt, style)):
            files.check_input(path)
        target = _target(output, audio, prompt or style, avatar)
        files.check_output(target, overwrite=overwrite)

        from vast_cli.pipeline import segments  # torch is imported only when there is work
        from vast_cli.pipeline.render import RenderRequest  # torch is imported only when there is work
        from vast_cli.pipeline.render import render as render_video
        from vast_cli.store.cache import Cache, default_folder

        request = RenderRequest(
            audio=audio,
            avatar=avatar,
            prompt=prompt,
            style=style,
            output=target,
            overwrite=overwrite,
            **values,
        )
        folder = cache or default_folder()
        parts = folder / "parts"
        segments.sweep_old(parts, older_than_s=OLD_PARTS_S, now_s=time.time())
        told: dict[str, object] = {}
        with _parts_told(ui, parts):
            if limits:
                from vast_cli.gates import render as gated

                result, figures = gated.render(request, limits, cache=Cache(folder), parts=parts, progress=ui.progress)
                told = {"gates": dict(figures)}
            else:
                result = render_video(request, cache=Cache(folder), parts=parts, progress=ui.progress)
        ui.stop()
        if result.taken_up:
            some = "1 finished segment" if result.taken_up == 1 else f"{result.taken_up} finished segments"
            ui.note(f"went on after {some} of an interrupted render")
        for warning in result.warnings:
            ui.warn(warning)
        ui.note(
            f"{result.duration_s:.2f} s, {result.n_frames} frames in {result.seconds:.1f} s "
            f"({result.seconds / result.duration_s:.2f} x real time): {result.output}"
        )
        ui.result([result.output], result.document() | told)


@contextmanager
def _parts_told(ui: console.Ui, parts: Path) -> Iterator[None]:
    """Say so when a render ends early and its finished segments stay."""
    started = time.time()
    try:
        yield
    except BaseException:
        if any(note.stat().st_mtime >= started for note in parts.glob("*/*.json")):
            ui.stop()
            ui.note(f"finished segments are kept in `{parts}`; the same command goes on from there")
        raise


def _target(output: Path | None, audio: Path, manner: Path | None, avatar: str) -> Path:
    """Where the video goes: the file asked for, or a telling name in the folder asked for."""
    if output is not None and output.suffix and not output.is_dir():
        return output
    parts = [audio.stem, manner.stem if manner else None, Path(avatar).stem]
    return (output or Path()) / ("-".join(part for part in parts if part) + ".mp4")

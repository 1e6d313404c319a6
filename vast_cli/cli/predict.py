"""`vast predict`: expression only, without frames, as motion or as curves for rigs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import Given, expand, spell_flag
from vast_cli.core import files, timebase
from vast_cli.core.errors import VastError
from vast_cli.core.formats import MAX_FPS, MIN_FPS, MotionFormat, motion_format
from vast_cli.pipeline.options import MotionOptions, parse
from vast_cli.store import styles


@expand(given=[MotionOptions])
def predict(
    audio: Annotated[Path, typer.Option(help="Audio to speak: any audio or video file.")],
    avatar: options.Avatar = "obama",
    style: Annotated[
        str | None,
        typer.Option(
            metavar="STYLE", help="A name (`vast styles list`) or a style file; default: the avatar's own style."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File of motion or curves; default: NAME.motion here."),
    ] = None,
    format: Annotated[
        MotionFormat | None,
        typer.Option(
            help="motion: expression, for renderers of vast; csv: ARKit's 52 blendshapes as Live Link Face writes "
            "them, for rigs; json, npz: the same with names. Default: what the suffix of the output says."
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=MIN_FPS, max=MAX_FPS, help="Frames a second of csv, json and npz; default: 25.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    given: Given,
    ui_options: console.UiOptions,
) -> None:
    """Predict the expression of the avatar for audio, 25 times a second, or the curves of a rig that moves alike.

    vast predict --audio speech.wav --style excited.style --avatar obama -o speech.motion

    vast predict --audio speech.wav --style excited.style -o speech.csv --fps 60
    """
    with ui_options.run() as ui:
        target = output or Path(f"{audio.stem}.{format or 'motion'}")
        kind = motion_format(target, format)
        rate = timebase.FPS if fps is None else fps
        if kind == "motion" and fps is not None:
            raise VastError(
                "vast_option_invalid",
                f"`--fps {fps:g}`: motion always has {timebase.FPS} frames a second",
                hint="use it with `--format csv`, `json` or `npz`",
            )
        style_file = None if style is None else styles.find(style)
        for path in filter(None, (audio, style_file)):
            files.check_input(path)
        files.check_output(target, overwrite=overwrite)

        from vast_cli.pipeline.curves import predict_curves
        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.motion import predict_motion

        inputs: dict[str, Any] = {
            "style": style_file,
            "avatar": avatar,
            "options": parse(MotionOptions, given.values, spell=spell_flag),
            "progress": ui.progress,
        }
        if kind == "motion":
            motion = predict_motion(audio, Models(), **inputs)
            motion.save(target, overwrite=overwrite)
            n_frames, limited_share = len(motion.expression), motion.limited_share
            document: dict[str, Any] = {"motion": str(target)}
        else:
            curves = predict_curves(audio, Models(), style_name=style and Path(style).name, **inputs)
            curves.save(target, fps=rate, overwrite=overwrite)
            n_frames, limited_share = curves.n_frames(rate), curves.limited_share
            document = {"curves": str(target), "format": kind, "fps": rate}
        ui.note(f"{n_frames} frames, {100 * limited_share:.0f} % limited to the avatar's range")
        ui.result([target], document | {"n_frames": n_frames, "limited_share": limited_share})

"""`vast predict`: expression only, without frames."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import Given, expand, spell_flag
from vast_cli.core import files
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
        Path | None, typer.Option("--output", "-o", help="Motion file; default: NAME.motion here.")
    ] = None,
    overwrite: options.Overwrite = False,
    *,
    given: Given,
    ui_options: console.UiOptions,
) -> None:
    """Predict the expression of the avatar for audio, 25 times a second.

    vast predict --audio speech.wav --style excited.style --avatar obama -o speech.motion
    """
    with ui_options.run() as ui:
        target = output or Path(audio.stem + ".motion")
        style_file = None if style is None else styles.find(style)
        for path in filter(None, (audio, style_file)):
            files.check_input(path)
        files.check_output(target, overwrite=overwrite)

        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.motion import predict_motion

        motion = predict_motion(
            audio,
            Models(),
            style=style_file,
            avatar=avatar,
            options=parse(MotionOptions, given.values, spell=spell_flag),
            progress=ui.progress,
        )
        motion.save(target, overwrite=overwrite)
        ui.note(f"{len(motion.expression)} frames, {100 * motion.limited_share:.0f} % limited to the avatar's range")
        ui.result(
            [target], {"motion": str(target), "n_frames": len(motion.expression), "limited_share": motion.limited_share}
        )

"""`vast predict`: expression only, without pixels."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.core import files


def predict(
    audio: Annotated[Path, typer.Option(help="Sound to speak: any audio or video file.")],
    avatar: Annotated[
        str, typer.Option(envvar="VAST_AVATAR", help="Name of an avatar, or the path of a bundle.")
    ] = "obama",
    style: Annotated[
        Path | None, typer.Option(help="Style file (`vast encode-style`); default: the avatar's own manner.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Motion file; default: NAME.motion here.")
    ] = None,
    style_strength: Annotated[
        float, typer.Option(min=0.0, max=3.0, help="0: the avatar's own manner, 1: the style's.")
    ] = 1.0,
    max_exaggeration: Annotated[
        float, typer.Option(min=0.1, max=10.0, help="How far motion may go beyond the avatar's footage.")
    ] = 1.0,
    allow_silence: Annotated[
        bool, typer.Option("--allow-silence/--no-allow-silence", help="Go on with sound without speech.")
    ] = False,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    log_file: options.LogFile = None,
) -> None:
    """Predict the expression of the avatar for a sound, 25 times a second.

    vast predict --audio speech.wav --style excited.style --avatar obama -o speech.motion
    """
    with console.run(json=json, progress=progress, quiet=quiet, verbose=verbose, debug=debug, log_file=log_file) as ui:
        target = output or Path(audio.stem + ".motion")
        files.check_input(audio)
        files.check_output(target, overwrite=overwrite)

        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.render import predict_motion

        motion = predict_motion(
            audio,
            Models(),
            style=style,
            avatar=avatar,
            style_strength=style_strength,
            max_exaggeration=max_exaggeration,
            allow_silence=allow_silence,
            seed=seed,
            progress=ui.progress,
        )
        motion.save(target, overwrite=overwrite)
        ui.note(f"{len(motion.expression)} frames, {100 * motion.limited_share:.0f} % limited to the avatar's range")
        ui.result(
            [target], {"motion": str(target), "n_frames": len(motion.expression), "limited_share": motion.limited_share}
        )

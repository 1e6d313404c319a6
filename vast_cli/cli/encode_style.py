"""`vast encode-style`: the style of a prompt as a file."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files


@expand
def encode_style(
    prompt: Annotated[Path, typer.Argument(help="Any video of anybody speaking, or a track of one.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Style file; default: NAME.style here.")] = None,
    face: options.Face = "largest",
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Encode how somebody speaks, to use again without the video.

    vast encode-style excited.mp4 -o excited.style
    """
    with ui_options.run() as ui:
        target = output or Path(prompt.stem + ".style")
        files.check_input(prompt)
        files.check_output(target, overwrite=overwrite)

        from vast_cli.pipeline.extract import encode_prompt
        from vast_cli.pipeline.models import Models

        record, warnings = encode_prompt(prompt, Models(), face_name=face, progress=ui.progress)
        record.save(target, overwrite=overwrite)
        for warning in warnings:
            ui.warn(warning)
        ui.note(f"style of {record.n_frames} frames" + ("" if record.speech_known else ", without audio"))
        ui.result([target], {"style": str(target), "n_frames": record.n_frames, "speech_known": record.speech_known})

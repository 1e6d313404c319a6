"""`vast extract`: face parameters of a video."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files


@expand
def extract(
    video: Annotated[Path, typer.Argument(help="Any video.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Track file; default: NAME.track here.")] = None,
    preview: Annotated[Path | None, typer.Option(help="Also write a video of what the tracker sees.")] = None,
    face: options.Face = "largest",
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Track the face of a video: identity, expression and pose, 25 times a second.

    vast extract prompt.mp4 -o prompt.track --preview seen.mp4
    """
    with ui_options.run() as ui:
        target = output or Path(video.stem + ".track")
        files.check_input(video)
        for path in filter(None, (target, preview)):
            files.check_output(path, overwrite=overwrite)

        from vast_cli.pipeline.extract import extract_track, write_preview
        from vast_cli.pipeline.models import Models

        models = Models()
        track = extract_track(video, models, face_name=face, progress=ui.progress)
        track.save(target, overwrite=overwrite)
        if preview is not None:
            write_preview(video, track, preview, models, overwrite=overwrite, progress=ui.progress)
        ui.note(f"{int(track.valid.sum())} of {track.n_frames} frames show the face")
        paths = [target] if preview is None else [target, preview]
        ui.result(
            paths,
            {
                "track": str(target),
                "preview": preview and str(preview),
                "n_frames": track.n_frames,
                "report": track.report,
            },
        )

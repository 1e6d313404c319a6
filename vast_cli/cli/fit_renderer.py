"""`vast fit-renderer`: a new avatar from seconds of footage."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files


@expand
def fit_renderer(
    footage: Annotated[Path, typer.Argument(help="Video of one person, 5 s or more.")],
    name: Annotated[str, typer.Option(help="Name of the new avatar.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the bundle; default: NAME here.")
    ] = None,
    portrait: Annotated[
        bool,
        typer.Option("--portrait/--over-footage", help="Keep no footage in the bundle, or put the face back into it."),
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="Wall time to train the network for.")] = 12.0,
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of the end kept for measuring; 0 trains on all.")
    ] = 0.1,
    subject: Annotated[str, typer.Option(help="Who is shown.")] = "unknown",
    licence: Annotated[str, typer.Option(help="Licence of the footage.")] = "unknown",
    consent: Annotated[str, typer.Option(help="What the person agreed to.")] = "unknown",
    face: options.Face = "largest",
    work: Annotated[Path, typer.Option(help="Folder of checkpoints; an interrupted fit resumes from there.")] = Path(
        "build"
    ),
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Make an avatar from footage of one person; shows the error on held-out frames while it trains.

    vast fit-renderer ann.mp4 --name ann --subject "Ann Lee" --consent "signed 2026-03-01"
    """
    with ui_options.run() as ui:
        target = output or Path(name)
        files.check_input(footage)
        files.check_output_folder(target, overwrite=overwrite)

        from vast_cli.core import devices
        from vast_cli.evaluate.footage import measure
        from vast_cli.training.renderer.settings import RendererTrainingSettings
        from vast_cli.training.renderer.train import AvatarRequest
        from vast_cli.training.renderer.train import fit_renderer as fit

        request = AvatarRequest(
            footage,
            target,
            name,
            portrait=portrait,
            holdout=holdout,
            face=face,
            subject=subject,
            licence=licence,
            consent=consent,
        )
        report = fit(
            request,
            RendererTrainingSettings(seconds=60 * minutes, seed=seed),
            compute=devices.choose(device, threads=threads),
            work=work,
            calibrate=lambda video, avatar: measure.footage_document(
                video, avatar, face_name=face, progress=ui.progress
            ),
            progress=ui.progress,
            on_status=ui.training,
        )
        for key, value in report.items():
            ui.note(f"{key}: {value}")
        ui.result([target], {"avatar": str(target)} | report)

"""`vast ppg`: phonetic posteriorgram of audio."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files
from vast_cli.core.errors import VastError


@expand
def ppg(
    audio: Annotated[Path, typer.Argument(help="Any audio or video file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Posteriorgram file; default: NAME.ppg here.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Image (.png) of the phones under the waveform, 10 s a line, 5 minutes at most."),
    ] = None,
    allow_silence: Annotated[
        bool, typer.Option("--allow-silence/--no-allow-silence", help="Accept audio without speech.")
    ] = False,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Write what is spoken as probabilities of 40 phones, 50 times a second.

    vast ppg speech.wav -o speech.ppg --plot speech.png
    """
    with ui_options.run() as ui:
        target = output or Path(audio.stem + ".ppg")
        files.check_input(audio)
        files.check_output(target, overwrite=overwrite)
        if plot is not None:
            if plot.suffix.lower() != ".png":
                raise VastError("vast_option_invalid", f"`--plot {plot}` is no .png file", hint="name it NAME.png")
            files.check_output(plot, overwrite=overwrite)

        from vast_cli.pipeline.extract import extract_speech, plot_speech, speech_share
        from vast_cli.pipeline.models import Models
        from vast_cli.pipeline.motion import check_speech

        record = extract_speech(audio, Models(), progress=ui.progress)
        check_speech(record, audio, allow_silence=allow_silence)
        if plot is not None and not plot_speech(audio, record, plot, overwrite=overwrite):
            ui.note(f"`{plot}` shows the first 5 minutes")
        record.save(target, overwrite=overwrite)
        share = speech_share(record)
        ui.note(f"{len(record.values)} frames, {100 * share:.0f} % speech")
        ui.result(
            [target, *([plot] if plot else [])],
            {
                "ppg": str(target),
                "plot": str(plot) if plot else None,
                "n_frames": len(record.values),
                "n_samples": record.n_samples,
                "speech_share": share,
            },
        )

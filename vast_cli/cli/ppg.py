"""`vast ppg`: phonetic posteriorgram of a sound."""

from pathlib import Path
from typing import Annotated

import typer

from vast_cli import files
from vast_cli.cli import console, options


def ppg(
    audio: Annotated[Path, typer.Argument(help="Any audio or video file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Posteriorgram file; default: NAME.ppg here.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.auto,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    log_file: options.LogFile = None,
) -> None:
    """Write what is spoken as probabilities of 40 phones, 50 times a second.

    vast ppg speech.wav -o speech.ppg
    """
    with console.run(json=json, progress=progress, quiet=quiet, verbose=verbose, debug=debug, log_file=log_file) as ui:
        target = output or Path(audio.stem + ".ppg")
        files.check_input(audio)
        files.check_output(target, overwrite=overwrite)

        from vast_cli import pipeline

        record = pipeline.extract_speech(audio, pipeline.Models(), progress=ui.progress)
        record.save(target, overwrite=overwrite)
        share = pipeline.speech_share(record)
        ui.note(f"{len(record.values)} frames, {100 * share:.0f} % speech")
        ui.result(
            [target],
            {"ppg": str(target), "n_frames": len(record.values), "n_samples": record.n_samples, "speech_share": share},
        )

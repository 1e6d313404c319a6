"""`vast train`: train the shipped models again."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from vast_cli.cli import console, options
from vast_cli.core import files

app = typer.Typer(
    no_args_is_help=True,
    help="Train the shipped models again from the corpora that their cards name.",
    pretty_exceptions_enable=False,
)

WORK = Path("build")  # checkpoints and cached features; safe to delete


@app.command("face-model")
def face_model(
    corpus: Annotated[Path, typer.Option(help="Folder of clips with its index.csv.")],
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("face_model.safetensors"),
    work: Annotated[Path, typer.Option(help="Folder of cached landmarks.")] = WORK,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Learn the 233 expression components (85 strong, 148 weak) and the neutral estimator.

    vast train face-model --corpus ../shared/data/video
    """
    with console.run(debug=debug) as ui:
        files.check_output(output, overwrite=overwrite)
        from vast_cli.training.face.train import train_face_model

        report = train_face_model(corpus, output, seed=seed, landmarks_cache=work / "landmarks")
        ui.result([output], report)


@app.command()
def acoustic(
    corpus: Annotated[Path, typer.Option(help="Folder of the labelled corpora.")],
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("acoustic.safetensors"),
    more: Annotated[
        Path | None, typer.Option(help="Folder of further corpora, made as the card of the network says.")
    ] = None,
    realign: Annotated[
        bool, typer.Option("--realign", help="Train, align the labels with the result, and train once more.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder of checkpoints and features.")] = WORK,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Train the network that turns audio into phonetic posteriorgrams.

    vast train acoustic --corpus ../shared/data/speech --more build/speech
    """
    with console.run(debug=debug) as ui:
        files.check_output(output, overwrite=overwrite)
        from vast_cli.training.acoustic.train import (
            AcousticData,
            AcousticTrainingSettings,
            train_acoustic,
            train_twice,
        )

        train = train_twice if realign else train_acoustic
        data, settings = AcousticData(corpus, more=more), AcousticTrainingSettings(seed=seed)
        report = train(data, output, settings, work=work / "acoustic", threads=threads, on_status=ui.training)
        ui.result([output], report)


@app.command()
def style(
    corpus: Annotated[Path, typer.Option(help="Folder of clips with its index.csv.")],
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("style.safetensors"),
    variant: Annotated[
        str, typer.Option(help="For the paper's tables: no-flow, no-enhancer, no-style, no-ar, style-avatar, nvp.")
    ] = "vast",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, if not those of the shipped weights.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder of checkpoints, tracks and posteriorgrams.")] = WORK,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Train style encoder, enhancer and hybrid decoder together (paper, Eq. 2).

    vast train style --corpus ../shared/data/video
    """
    with console.run(debug=debug) as ui:
        files.check_output(output, overwrite=overwrite)
        from vast_cli.training.style.train import StyleData, StyleTrainingSettings, train_style
        from vast_cli.training.style.variants import with_variant

        settings = StyleTrainingSettings(seed=seed)
        if steps is not None:
            settings = dataclasses.replace(settings, steps=steps)
        settings = with_variant(settings, variant)
        report = train_style(StyleData(corpus), output, settings, work=work, threads=threads, on_status=ui.training)
        ui.result([output], report)


@app.command()
def lagsync(
    corpus: Annotated[Path, typer.Option(help="Folder of clips with its index.csv.")],
    speech: Annotated[
        Path | None, typer.Option(help="Folder of the labelled corpora that the audio tower learns phones from first.")
    ] = None,
    more: Annotated[
        Path | None, typer.Option(help="Folder of further corpora, made as the card of `acoustic` says.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("lagsync.safetensors"),
    steps: Annotated[
        int, typer.Option(min=1, help="Steps at most; fewer if figures of held-out speakers no longer rise.")
    ] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder of checkpoints, landmarks and crops.")] = WORK,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Train the network that measures how well a mouth fits the audio, and at which lag.

    vast train lagsync --corpus ../shared/data/video --speech ../shared/data/speech --more build/speech
    """
    with console.run(debug=debug) as ui:
        files.check_output(output, overwrite=overwrite)
        from vast_cli.training.lagsync.train import LagSyncData, LagSyncTrainingSettings, train_lagsync

        data, settings = LagSyncData(corpus, speech=speech, more=more), LagSyncTrainingSettings(steps=steps, seed=seed)
        report = train_lagsync(data, output, settings, work=work, threads=threads, on_status=ui.training)
        ui.result([output], report)

"""`vast compare`: videos side by side, or two evaluated sets clip by clip."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files
from vast_cli.core.errors import VastError

MIN_WIDTH = 160  # characters of the table where there is no terminal


@expand
def compare(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Two videos or more, of any tool; or two evaluations (.json) of the same clips."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Video (.mp4, .mov); default: compare.mp4 here.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Names under the videos, with commas between.")] = None,
    metrics_json: Annotated[
        list[Path] | None, typer.Option(help="Show scores out of what `vast evaluate --json` wrote; may be repeated.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics/--no-metrics", help="Evaluate the videos and show scores.")
    ] = False,
    reference: Annotated[Path | None, typer.Option(help="The true video, for `--metrics`.")] = None,
    show: Annotated[
        str | None, typer.Option(help="Which measures, with commas between; with two evaluations also `all`.")
    ] = None,
    audio: Annotated[
        str, typer.Option(help="Audio: number of a video from 0, a file, `none`, or `auto`: the first that has any.")
    ] = "auto",
    waveform: Annotated[bool, typer.Option("--waveform/--no-waveform", help="Show the audio with a playhead.")] = False,
    columns: Annotated[int | None, typer.Option(min=1, help="Videos in a row.")] = None,
    height: Annotated[int, typer.Option(min=64, max=4096, help="Pixels of each video.")] = 360,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of the encoder, lower is better.")] = 18,
    seed: Annotated[int, typer.Option(min=0, envvar="VAST_SEED", help="Of the bootstrap, with two evaluations.")] = 0,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Put videos side by side, with names, scores and waveform; or test which of two evaluated sets is better.

    vast compare ours.mp4 theirs.mp4 --labels "ours,Wav2Lip" --metrics --waveform -o compare.mp4

    vast compare ours.json theirs.json
    """
    with ui_options.run() as ui:
        for path in inputs:
            if path.is_dir():
                hint = f"evaluate both first: `vast evaluate {path} --json > {path.name or 'set'}.json`"
                raise VastError("vast_option_invalid", f"`{path}` is a folder", hint=hint)
            files.check_input(path)
        shown = None if show is None else [name.strip() for name in show.split(",") if name.strip()]
        documents = [path.suffix.lower() == ".json" for path in inputs]
        if any(documents):
            if not all(documents) or len(inputs) != 2:
                raise VastError("vast_option_invalid", "evaluations are compared two at a time, without videos")
            _compare_sets(ui, inputs[0], inputs[1], measures=shown, seed=seed)
            return
        if shown is not None and not (metrics_json or metrics):
            raise VastError("vast_option_invalid", "`--show` needs `--metrics` or `--metrics-json`")
        if metrics and metrics_json:
            raise VastError("vast_option_invalid", "`--metrics` measures again, `--metrics-json` reads: choose one")
        if reference is not None and not metrics:
            raise VastError("vast_option_invalid", "`--reference` needs `--metrics`")
        if reference is not None:
            files.check_input(reference)
        target = output or Path("compare.mp4")
        files.check_output(target, overwrite=overwrite)
        scores = _scores(ui, inputs, metrics_json, measured=metrics, reference=reference, shown=shown, seed=seed)

        from vast_cli.evaluate.compare import ComparisonSettings, compare_videos

        settings = ComparisonSettings(
            labels=None if labels is None else [label.strip() for label in labels.split(",")],
            scores=scores,
            audio=audio,
            show_waveform=waveform,
            columns=columns,
            height=height,
            crf=crf,
        )
        made = compare_videos(inputs, target, settings, overwrite=overwrite, progress=ui.progress)
        for note in made.notes:
            ui.note(note)
        ui.result([made.output], made.document())


def _scores(
    ui: console.Ui,
    videos: list[Path],
    documents: list[Path] | None,
    *,
    measured: bool,
    reference: Path | None,
    shown: list[str] | None,
    seed: int,
) -> list[dict[str, float | None]] | None:
    """Scores to show under each video: read from evaluations, or measured now; None for none."""
    from vast_cli.evaluate.compare import measure_scores, read_scores

    if measured:
        return measure_scores(videos, reference=reference, shown=shown, seed=seed, progress=ui.progress)
    if not documents:
        return None
    scores = read_scores(documents, videos, shown=shown)
    for path, known in zip(videos, scores, strict=False):
        if not known:
            ui.warn(f"no figures of `{path}` in {', '.join(f'`{name}`' for name in documents)}")
    return scores


def _compare_sets(ui: console.Ui, a: Path, b: Path, *, measures: list[str] | None, seed: int) -> None:
    from vast_cli.evaluate.compare import compare_sets

    made = compare_sets(a, b, measures=measures, seed=seed)
    for path, missing in ((a, made.only_b), (b, made.only_a)):
        if missing:
            ui.note(f"{len(missing)} clips are not in `{path}` and do not count: {', '.join(missing[:5])} ...")
    if ui.json:
        ui.result([], made.document())
        return
    names = (a.stem, b.stem) if a.stem != b.stem else (str(a), str(b))
    table = Table("measure", "good", *names, "difference", "95 % interval", "p (Holm)", "n", "better", box=None)
    for column in table.columns:
        column.no_wrap = True
    for one in made.measures:
        good = one.direction.replace("_", " ")
        if one.difference is None:
            table.add_row(one.name, good, "–", "–", "–", "–", "–", "0", f"– ({one.reason})")
            continue
        between = f"– ({one.reason})" if one.ci95 is None else f"{one.ci95[0]:+.3g} .. {one.ci95[1]:+.3g}"
        better = {"a": names[0], "b": names[1], None: "–"}[one.better]
        table.add_row(
            one.name, good, f"{one.a:.4g}", f"{one.b:.4g}", f"{one.difference:+.3g}", between, f"{one.p_holm:.3g}",
            str(one.n), better,
        )  # fmt: skip
    ui.stop()
    Console(highlight=False, width=MIN_WIDTH if not sys.stdout.isatty() else None).print(table)
    ui.note(
        f"{len(made.common)} clips in both; where a measure should be near a value, the difference is that of the "
        "distances to it; better: the interval excludes 0"
    )

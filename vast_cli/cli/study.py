"""`vast study`: makes a rating study, and reads its answers."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand

app = typer.Typer(
    no_args_is_help=True,
    help="Ask people how good videos are: a page to send out, and its answers as opinion scores.",
    pretty_exceptions_enable=False,
)


@app.command()
@expand
def make(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="PAIRS.csv",
            help="Columns sentence, method, video; methods `truth` and `floor` are special.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")] = Path("study"),
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Choose from pairs instead of rating: finer with few raters.")
    ] = False,
    raters: Annotated[int, typer.Option(min=1, max=1000, help="Raters to make an order of videos for.")] = 30,
    judges: Annotated[int | None, typer.Option(min=1, max=1000, hidden=True)] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Videos always as files beside the page; default: inside it below 100 MB.")
    ] = False,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Make one blinded page with the paper's three questions; the key stays with you.

    vast study make pairs.csv -o study
    """
    with ui_options.run() as ui:
        if judges is not None:
            ui.warn("`--judges` is now `--raters`")
        from vast_cli.evaluate.study import StudySettings, make_study

        made = make_study(
            table,
            output,
            StudySettings(
                mode="pairwise" if pairwise else "rating",
                n_raters=judges or raters,
                seed=seed,
                inline=False if beside else None,
            ),
            overwrite=overwrite,
            progress=ui.progress,
        )
        ui.stop()
        for warning in made.warnings:
            ui.warn(warning)
        ui.note("who is left out, fixed now:")
        for sentence in made.report["rule"]:
            ui.note(f"  - {sentence}")
        ui.note(
            f"{made.report['items']} items, {made.report['checks']} of them checks, about {made.report['minutes']} min"
        )
        ui.note(f"send the folder `{made.page.parent}`, and to each rater a number from 1 to {judges or raters}")
        ui.result([made.page, made.key], made.report)


@app.command()
@expand
def read(
    study: Annotated[Path, typer.Argument(help="Folder that `vast study make` made.", show_default=False)],
    answers: Annotated[
        list[Path] | None, typer.Argument(metavar="[ANSWERS.json]...", help="Files that raters sent back.")
    ] = None,
    seed: options.Seed = 0,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Opinion scores with intervals over raters and videos, paired tests and agreement.

    vast study read study answers/*.json
    """
    with ui_options.run() as ui:
        from vast_cli.evaluate.statistics import MIN_CLIPS
        from vast_cli.evaluate.study import read_study

        report = read_study(study, answers or [], seed=seed)
        raters = report["judges"]
        for left in raters["left_out"]:
            ui.warn(f"rater {left['judge']} is left out: {'; '.join(left['reasons'])}")
        ui.note(f"{raters['kept']} of {raters['given']} raters, {report['sentences']} sentences")
        if not raters["kept"]:
            ui.warn("no raters, so no opinion scores (no_judges)")
        elif min(raters["kept"], report["sentences"]) < MIN_CLIPS:
            ui.warn(f"no intervals and no winners: they take {MIN_CLIPS} raters and {MIN_CLIPS} sentences")
        if not ui.json:
            _print_tables(report)
        ui.result([], report)


def _print_tables(report: dict[str, Any]) -> None:
    from vast_cli.evaluate.study.questions import QUESTIONS

    titles = {question.aspect: question.title for question in QUESTIONS}
    out = Console(highlight=False, soft_wrap=False)
    if report["mode"] == "rating":
        table = Table("method", *titles.values(), title="Mean opinion score, 1 to 5")
        for method, scores in report["methods"].items():
            table.add_row(method, *(_figure(scores[f"mos_{aspect}"]) for aspect in titles))
        out.print(table)
    compared = report["comparisons"]
    if compared:
        head = "a - b" if report["mode"] == "rating" else "prefer a"
        table = Table("question", "a", "b", head, "95 %", "p", "p (Holm)", "better")
        for row in compared:
            value = row["difference"] if "difference" in row else row["share_a"]
            table.add_row(
                row["question"], row["a"], row["b"], f"{value:.2f}", _range(row["ci95"]), f"{row['p']:.3f}",
                f"{row['p_holm']:.3f}", row["better"] or "undecided",
            )  # fmt: skip
        out.print(table)
    alphas = [f"{titles[name[4:]]} {_number(value)}" for name, value in report["agreement"].items()]
    out.print(f"agreement (Krippendorff's alpha, ordinal): {', '.join(alphas)}")


def _figure(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return f"null ({score['reason']})"
    return f"{score['value']:.2f}" + (f" {_range(score['ci95'])}" if score["ci95"] else "")


def _range(ci95: tuple[float, float] | None) -> str:
    return "-" if ci95 is None else f"[{ci95[0]:.2f}, {ci95[1]:.2f}]"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.2f}"

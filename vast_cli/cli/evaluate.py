"""`vast evaluate`: measures with their controls."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand
from vast_cli.core import files
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.text import short_number

if TYPE_CHECKING:
    from rich.table import Table

    from vast_cli.evaluate.observation.clip import Pair

WORKER_BYTES = 800_000_000  # of a process that measures clips; measured: 0.65 GB
_GIVEN = "Measured against"
_EXTERNAL = "External models that you supply"


@dataclass(frozen=True)
class InputOptions:
    """What the videos are measured against."""

    reference: Annotated[
        Path | None,
        typer.Option(help="The true video, or a folder of them with the same names.", rich_help_panel=_GIVEN),
    ] = None
    audio: Annotated[
        Path | None, typer.Option(help="The audio spoken, if not the video's own; or a folder.", rich_help_panel=_GIVEN)
    ] = None
    style_reference: Annotated[
        Path | None, typer.Option(help="The prompt whose style was requested; or a folder.", rich_help_panel=_GIVEN)
    ] = None
    footage: Annotated[
        Path | None,
        typer.Option(help="Real footage of the person, where there is no true video.", rich_help_panel=_GIVEN),
    ] = None
    style_differs: Annotated[
        bool,
        typer.Option(
            "--style-differs/--same-style",
            help="The output speaks in another style than the reference.",
            rich_help_panel=_GIVEN,
        ),
    ] = False

    def find_pairs(self, output: Path) -> "list[Pair]":
        """Outputs with what they are measured against; raises as `manifest.find_pairs`."""
        from vast_cli.evaluate.manifest import find_pairs

        inputs = {
            "reference": self.reference,
            "audio": self.audio,
            "style_reference": self.style_reference,
            "footage": self.footage,
        }
        return find_pairs(output, inputs, style_differs=self.style_differs)


@dataclass(frozen=True)
class ExternalOptions:
    """Networks and programs of others; without them their measures are null."""

    syncnet_weights: Annotated[
        Path | None, typer.Option(help="`syncnet_v2.model`: gives sync_dist, sync_conf.", rich_help_panel=_EXTERNAL)
    ] = None
    inception_weights: Annotated[
        Path | None, typer.Option(help="`pt_inception-2015-12-05-6726825d.pth`: gives fid.", rich_help_panel=_EXTERNAL)
    ] = None
    lip_reader: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="Prints what {video} says: gives wer, cer.", rich_help_panel=_EXTERNAL),
    ] = None
    emotion_model: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="Prints the emotions of {video} as JSON.", rich_help_panel=_EXTERNAL),
    ] = None


@expand
def evaluate(
    output: Annotated[Path, typer.Argument(help="Video, folder of videos, or table of pairs (.csv, .tsv).")],
    *,
    inputs: InputOptions,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with images, videos and curves.", rich_help_panel="Output")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Exit 4 if a measure of the set is worse, or cannot be measured."),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Measure the controls too; without, no figure is valid.")
    ] = True,
    face: options.Face = "largest",
    workers: Annotated[
        int, typer.Option(min=0, help="Clips at once; 0: one a core, as memory allows.", rich_help_panel="Machine")
    ] = 0,
    external: ExternalOptions,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    ui_options: console.UiOptions,
) -> None:
    """Measure videos against the truth, beside controls that show what each figure is worth.

    vast evaluate out.mp4 --reference truth.mp4 --report report/

    vast evaluate out/ --reference truth/ --json > figures.json
    """
    with ui_options.run() as ui:
        limits = dict(_limit(text) for text in fail_under or [])
        if report is not None:
            files.check_output_folder(report, overwrite=overwrite)
        from vast_cli.evaluate import engine, thresholds
        from vast_cli.evaluate.external.models import ExternalModelOptions

        pairs = inputs.find_pairs(output)
        cores = os.cpu_count() or 1
        settings = engine.Settings(
            seed=seed,
            threads=cores if len(pairs) == 1 else 1,
            controls=controls,
            styles=any(pair.style_reference for pair in pairs) and len(pairs) > 1,
            face_name=face,
            external=ExternalModelOptions(**dataclasses.asdict(external)),
        )
        thresholds.check_limits(limits)
        n_workers = min(workers or _fitting(cores), len(pairs))
        document = engine.evaluate(pairs, settings, workers=n_workers, progress=ui.progress)
        _finish(ui, document, report, overwrite=overwrite, missed=thresholds.missed_limits(document, limits))


def _finish(
    ui: console.Ui, document: dict[str, Any], report: Path | None, *, overwrite: bool, missed: Sequence[str]
) -> None:
    """Write the report, print the figures, and end with the right exit status."""
    paths = []
    if report is not None:
        from vast_cli.evaluate.report import write_report

        paths.append(write_report(document, report, overwrite=overwrite))
    if not ui.json:
        ui.stop()
        show(ui, document)
    ui.result(paths, document)
    failed = [clip for clip in document["clips"] if clip["error"]]
    for clip in failed:
        ui.err.print(f"error: {clip['id']}: {clip['error']['message']} [{clip['error']['code']}]", markup=False)
    if missed:
        ui.complain(VastError("vast_gate_failed", "; ".join(missed)))
        raise typer.Exit(int(Exit.GATE))
    if failed:
        raise typer.Exit(int(Exit.PARTIAL))


def _fitting(cores: int) -> int:
    """Number of processes that fit into half of the memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return min(cores, 4)
    return max(1, min(cores, memory // (2 * WORKER_BYTES)))


def _limit(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        if not sign:
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise VastError(
            "vast_option_invalid", f"`--fail-under {text}` is not understood", hint="for example ssim_mouth=0.8"
        ) from None


def show(ui: console.Ui, document: dict[str, Any]) -> None:
    """Print the measures as a table; those that cannot be measured, in one line per reason."""
    if ui.quiet:
        return
    from rich.table import Table

    about = document["set"]
    ui.note(f"{about['clips']} clips, {about['frames']} frames at {about['fps']} a second")
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("measure", "value", "95 %", "n", "floor", "ceiling", "skill", "")
    for title in columns:
        table.add_column(title, justify="left" if title in ("measure", "95 %", "") else "right")
    missing: dict[str, list[str]] = {}
    for name, entry in document["measures"].items():
        if entry["value"] is None:
            missing.setdefault(f"{entry['reason']}: {entry['hint']}", []).append(name)
        else:
            _add(table, name, entry)
    ui.err.print(table)
    for why, names in missing.items():
        ui.note(f"not measured: {', '.join(names)} ({why})")
    for clip in document["clips"]:
        for note in clip.get("notes", []) if len(document["clips"]) == 1 else []:
            ui.note(f"note: {note}")
    for clip in _worst(document["clips"]):
        for flag in clip["flags"]:
            ui.note(f"{flag['level']}: {clip['id']}: {flag['text']}")


def _worst(clips: list[dict[str, Any]], limit: int = 10) -> list[dict[str, Any]]:
    """The clips with most flags, failures first."""
    marked = [clip for clip in clips if clip["flags"]]

    def weight(clip: dict[str, Any]) -> tuple[int, int]:
        levels = [flag["level"] for flag in clip["flags"]]
        return -levels.count("fail"), -len(levels)

    return sorted(marked, key=weight)[:limit]


def _add(table: "Table", name: str, entry: dict[str, Any]) -> None:
    low, high = (short_number(end) for end in entry["ci95"] or (None, None))
    interval = "" if entry["ci95"] is None else f"{low} .. {high}"
    mark = {True: "", None: "unchecked", False: "[yellow]not valid here[/]"}[entry["valid"]]
    skill = "" if entry["skill"] is None else f"{entry['skill']:.2f}"
    unit = "" if entry["unit"] == "1" else f" {entry['unit']}"
    ends = short_number(entry["floor"]), short_number(entry["ceiling"])
    table.add_row(name, short_number(entry["value"]) + unit, interval, str(entry["n"]), *ends, skill, mark)

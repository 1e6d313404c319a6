"""`vast bench`: how fast this machine is, end to end and stage by stage."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options
from vast_cli.cli.parameters import expand

if TYPE_CHECKING:
    from vast_cli.batch.bench import BenchResult

STAGE_TEXTS = {
    "track": "the prompt's face",
    "listen": "audio to phones",
    "style": "the prompt's style",
    "predict": "phones to expression",
    "mesh": "expression to mesh images",
    "network": "mesh images to frames",
    "encode": "frames to video",
}


@expand
def bench(
    avatar: Annotated[
        str, typer.Option(envvar="VAST_AVATAR", help="Name of an avatar, or the path of a bundle.")
    ] = "obama",
    workers: Annotated[int, typer.Option(min=0, max=256, help="Jobs side by side; 0: one a core, one on a GPU.")] = 0,
    device: options.Device = "auto",
    dtype: options.DtypeOption = options.Dtype.auto,
    cache: Annotated[
        Path | None,
        typer.Option(envvar="VAST_CACHE", help="Folder whose `speed.json` keeps the result.", show_default=False),
    ] = None,
    *,
    ui_options: console.UiOptions,
) -> None:
    """Measure this machine with the shipped example, a minute on two cores. `vast plan` estimates with the result.

    vast bench
    """
    with ui_options.run() as ui:
        from vast_cli.batch.bench import run_bench
        from vast_cli.batch.planning import speeds
        from vast_cli.store.folders import cache_folder

        with tempfile.TemporaryDirectory(prefix="vast-bench-") as folder:
            result = run_bench(
                Path(folder), avatar=avatar, workers=workers, device=device, dtype=dtype.value, notify=ui.note
            )
        speeds.save_speeds(cache or cache_folder(), [result.speed])
        if result.busy is not None:
            ui.warn(f"the machine was busy before we began (load {result.busy:.1f} a core): it can do better than this")
        if ui.json:
            ui.result([], result.document())
        else:
            Console(highlight=False).print(*_tables(result), sep="\n")


def _tables(result: "BenchResult") -> list[Table]:
    machine = result.machine
    rates = Table(
        title=f"{machine.cpu}, {machine.cores} cores, {result.device}, vast {machine.vast}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    rates.add_column(f"avatar {result.avatar}, end to end")
    for name in ("frames/s", "x real time", "seconds"):
        rates.add_column(name, justify="right")
    length = f"{result.sound_s:.1f} s of audio"
    rates.add_row(f"cold: one worker from its start, {length}", *_rate(result.cold_fps), f"{result.cold_s:.1f}")
    rates.add_row("warm: one worker, one thread", *_rate(result.warm_fps), f"{result.warm_s:.1f}")
    if result.workers > 1:
        gain = f"{result.all_fps / result.warm_fps:.2f} x"
        rates.add_row(f"warm: {result.workers} workers together ({gain})", *_rate(result.all_fps), "")
    stages = Table(box=None, pad_edge=False)
    stages.add_column("each stage alone, one thread")
    stages.add_column("frames/s", justify="right")
    for name, rate in result.stages.items():
        stages.add_row(f"{name}: {STAGE_TEXTS[name]}", f"{rate:.0f}")
    return [rates, stages]


def _rate(fps: float) -> tuple[str, str]:
    from vast_cli.core import timebase

    return f"{fps:.1f}", f"{timebase.seconds(fps):.2f}"

"""`vast bench`: how fast this machine is, end to end and stage by stage."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from vast_cli.cli import console, options

if TYPE_CHECKING:
    from vast_cli.batch.bench import Bench

WHAT = {
    "track": "the prompt's face",
    "listen": "sound to phones",
    "style": "the prompt's manner",
    "predict": "phones to expression",
    "mesh": "expression to mesh images",
    "network": "mesh images to frames",
    "encode": "frames to video",
}


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
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure this machine with the shipped example, a minute on two cores. `vast plan` estimates with the result.

    vast bench
    """
    with console.run(json=json, quiet=quiet, verbose=verbose, debug=debug) as ui:
        from vast_cli.batch import bench as benching
        from vast_cli.batch.planning import speeds
        from vast_cli.store.cache import default_folder

        with tempfile.TemporaryDirectory(prefix="vast-bench-") as folder:
            result = benching.bench(
                Path(folder), avatar=avatar, workers=workers, device=device, dtype=dtype.value, tell=ui.note
            )
        speeds.save(cache or default_folder(), [result.speed])
        if result.busy is not None:
            ui.warn(f"the machine was busy before we began (load {result.busy:.1f} a core): it can do better than this")
        if json:
            ui.result([], result.document())
        else:
            Console(highlight=False).print(*_tables(result), sep="\n")


def _tables(result: "Bench") -> list[Table]:
    machine = result.machine
    whole = Table(
        title=f"{machine.cpu}, {machine.cores} cores, {result.device}, vast {machine.vast}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    whole.add_column(f"avatar {result.avatar}, end to end")
    for name in ("frames/s", "x real time", "seconds"):
        whole.add_column(name, justify="right")
    length = f"{result.sound_s:.1f} s of sound"
    whole.add_row(f"cold: one worker from its start, {length}", *_rate(result.cold_fps), f"{result.cold_s:.1f}")
    whole.add_row("warm: one worker, one thread", *_rate(result.warm_fps), f"{result.warm_s:.1f}")
    if result.workers > 1:
        gain = f"{result.all_fps / result.warm_fps:.2f} x"
        whole.add_row(f"warm: {result.workers} workers together ({gain})", *_rate(result.all_fps), "")
    stages = Table(box=None, pad_edge=False)
    stages.add_column("each stage alone, one thread")
    stages.add_column("frames/s", justify="right")
    for name, rate in result.stages.items():
        stages.add_row(f"{name}: {WHAT[name]}", f"{rate:.0f}")
    return [whole, stages]


def _rate(fps: float) -> tuple[str, str]:
    from vast_cli.core import timebase

    return f"{fps:.1f}", f"{fps / timebase.FPS:.2f}"

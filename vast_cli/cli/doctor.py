"""`vast doctor`: checks this machine: what will be used, what is missing."""

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from vast_cli import __version__
from vast_cli.cli import console, options
from vast_cli.core import devices
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.memory import free_disk
from vast_cli.core.text import human_size
from vast_cli.store import assets

PACKAGES = ["torch", "numpy", "safetensors", "av", "opencv-python-headless", "ai-edge-litert", "imageio-ffmpeg"]


def doctor(json: options.Json = False, debug: options.Debug = False) -> None:
    """Check this machine: versions, ffmpeg, weights, device, disk. Exit status 69 if something is missing.

    vast doctor
    """
    with console.run(json=json, debug=debug) as ui:
        problems: list[VastError] = []
        report: dict[str, Any] = {
            "vast": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **_packages(problems),
            "cores": devices.cores(),
        }
        with _collect(problems):
            compute = devices.choose()
            report |= {"device": str(compute.device), "dtype": str(compute.dtype), "why": compute.reason}
        with _collect(problems):
            from vast_cli.media import ffmpeg

            report["ffmpeg"] = ffmpeg.find_ffmpeg()
        report["weights"] = _weights(problems)
        report["free_disk"] = human_size(free_disk(Path.cwd()))
        report["problems"] = [problem.as_dict() for problem in problems]
        if json:
            ui.result([], report)
        else:
            _print(ui, report, problems)
        if problems:
            raise typer.Exit(int(Exit.UNAVAILABLE))


@contextmanager
def _collect(problems: list[VastError]) -> Iterator[None]:
    """Note an error and go on with the next check."""
    try:
        yield
    except VastError as error:
        problems.append(error)


def _packages(problems: list[VastError]) -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
            hint = f"`python -m pip install {package}`"
            problems.append(VastError("vast_asset_missing", f"package `{package}` is not installed", hint=hint))
    return versions


def _weights(problems: list[VastError]) -> dict[str, str]:
    weights: dict[str, str] = {}
    with _collect(problems):
        for name, asset in assets.index().items():
            try:
                assets.verify(asset)
                weights[name] = f"complete, {human_size(asset.path.stat().st_size)}"
            except VastError as error:
                weights[name] = error.message
                problems.append(error)
    return weights


def _print(ui: console.Ui, report: dict[str, Any], problems: list[VastError]) -> None:
    for key, value in report.items():
        if isinstance(value, dict):
            for name, state in value.items():
                typer.echo(f"{key} {name}: {state}")
        elif key != "problems":
            typer.echo(f"{key}: {value}")
    for problem in problems:
        ui.fail(problem)
    if not problems:
        typer.echo("all is well")

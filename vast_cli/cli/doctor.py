"""`vast doctor`: checks this machine: what will be used, what is missing."""

import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

import typer

from vast_cli import __version__
from vast_cli.cli import console, options
from vast_cli.core import devices
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.text import human_size
from vast_cli.store import assets

PACKAGES = ["torch", "numpy", "safetensors", "av", "opencv-python-headless", "ai-edge-litert", "imageio-ffmpeg"]


def doctor(json: options.Json = False, debug: options.Debug = False) -> None:
    """Check this machine: versions, ffmpeg, weights, device, disk. Exit status 69 if something is missing.

    vast doctor
    """
    with console.run(json=json, debug=debug) as ui:
        report: dict[str, Any] = {
            "vast": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        }
        problems: list[VastError] = []
        for package in PACKAGES:
            try:
                report[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                report[package] = None
                problems.append(
                    VastError(
                        "vast_asset_missing",
                        f"package `{package}` is not installed",
                        hint=f"`python -m pip install {package}`",
                    )
                )
        report["cores"] = devices.cores()
        try:
            compute = devices.choose()
            report |= {"device": str(compute.device), "dtype": str(compute.dtype), "why": compute.reason}
        except VastError as error:
            problems.append(error)
        try:
            from vast_cli.media import ffmpeg

            report["ffmpeg"] = ffmpeg.find_ffmpeg()
        except VastError as error:
            problems.append(error)
        weights: dict[str, str] = {}
        try:
            for name, asset in assets.index().items():
                try:
                    assets.verify(asset)
                    weights[name] = f"complete, {human_size(asset.path.stat().st_size)}"
                except VastError as error:
                    weights[name] = error.message
                    problems.append(error)
        except VastError as error:
            problems.append(error)
        report["weights"] = weights
        report["free_disk"] = human_size(shutil.disk_usage(Path.cwd()).free)
        report["problems"] = [problem.as_dict() for problem in problems]
        if json:
            ui.result([], report)
        else:
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
        if problems:
            raise typer.Exit(int(Exit.UNAVAILABLE))

"""Options that several commands share, and which value holds: explicit > preset > environment > default."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class ProgressMode(str, Enum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    lines = "lines"
    none = "none"


class Dtype(str, Enum):
    """Precision of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document instead of paths, also on failure.", rich_help_panel="Output"),
]
Progress = Annotated[
    ProgressMode,
    typer.Option(envvar="VAST_PROGRESS", help="Bars on a terminal, plain lines elsewhere.", rich_help_panel="Output"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.", rich_help_panel="Output")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.", rich_help_panel="Output")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and what ffmpeg said.", rich_help_panel="Output")]
LogFile = Annotated[Path | None, typer.Option(help="Write the log to this file too.", rich_help_panel="Output")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite/--no-overwrite", help="Replace an output that exists.", rich_help_panel="Output")
]
Device = Annotated[
    str, typer.Option(envvar="VAST_DEVICE", help="auto, cpu, cuda or cuda:N.", rich_help_panel="Machine")
]
DtypeOption = Annotated[
    Dtype,
    typer.Option(
        "--dtype", envvar="VAST_DTYPE", help="auto: the fastest that is safe here.", rich_help_panel="Machine"
    ),
]
Threads = Annotated[
    int, typer.Option(min=0, envvar="VAST_THREADS", help="CPU threads; 0: all cores.", rich_help_panel="Machine")
]
Seed = Annotated[
    int, typer.Option(min=0, envvar="VAST_SEED", help="Chooses among equally good results; same seed, same video.")
]
Face = Annotated[str, typer.Option(help="Which face of the video: largest, left, right or its number from the left.")]


@dataclass(frozen=True)
class Setting:
    """A value in force and where it came from."""

    value: Any
    source: str  # option, preset NAME, environment, default


def resolve(context: typer.Context, names: list[str], preset: dict[str, Any], preset_name: str) -> dict[str, Setting]:
    """Values of the parameters `names`: explicit > preset > environment > default."""
    settings = {}
    for name in names:
        given = context.get_parameter_source(name)
        source = given.name if given is not None else "DEFAULT"
        value = context.params[name]
        if source == "COMMANDLINE":
            settings[name] = Setting(value, "option")
        elif name in preset:
            settings[name] = Setting(preset[name], f"preset {preset_name}")
        elif source == "ENVIRONMENT":
            settings[name] = Setting(value, "environment")
        else:
            settings[name] = Setting(value, "default")
    return settings

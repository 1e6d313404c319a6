"""Options that several commands share, and which value holds: command line > preset > environment > default."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vast_cli.cli.parameters import Given


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


Avatar = Annotated[str, typer.Option(envvar="VAST_AVATAR", help="Name of an avatar, or the path of a bundle.")]
Prompt = Annotated[Path | None, typer.Option(help="Video whose style is imitated.")]
StyleName = Annotated[
    str | None,
    typer.Option(metavar="STYLE", help="Style instead of a prompt: a name (`vast styles list`) or a file."),
]
Preset = Annotated[
    str, typer.Option(envvar="VAST_PRESET", help="Named set of options: standard, draft, master, or yours.")
]


@dataclass(frozen=True)
class JobInputs:
    """What a manifest may leave to the command line, beside the options of a render."""

    prompt: Prompt = None
    style: StyleName = None
    avatar: Avatar = "obama"
    preset: Preset = "standard"


@dataclass(frozen=True)
class Setting:
    """A value in force and where it came from."""

    value: Any
    source: str  # option, preset NAME, environment, default


def resolve(given: Given, preset: Mapping[str, Any], preset_name: str) -> dict[str, Setting]:
    """Values of options: command line > preset > environment > default."""
    settings = {}
    for name, value in given.values.items():
        source = given.sources[name]
        if name in preset and source != "option":
            settings[name] = Setting(preset[name], f"preset {preset_name}")
        else:
            settings[name] = Setting(value, source)
    return settings

"""What a job may set: its options, the files it names, and how cells become text."""

import os
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vast_cli.core.text import suggest
from vast_cli.gates.options import GatedOptions
from vast_cli.pipeline.options import Effect, MachineOptions, ReportFault, check, effects

MAX_TEXT = 10_000  # characters of a cell
FILES = ("audio", "prompt", "style")
MACHINE = frozenset(
    (
        "device dtype threads workers cache offline executor shard state overwrite rerun_on force repair wait set "
        "retries jobs_per_worker max_failures fail_fast timeout events json progress quiet verbose debug log_file"
    ).split()
)


class JobOptions(GatedOptions):
    """Options of a render that a job of a batch may set."""

    redraw: Annotated[int, Effect()] = Field(
        default=0, ge=0, le=5, description="How often a result below a gate is rendered again with another seed."
    )


OPTIONS = tuple(JobOptions.model_fields)
PRESET_OPTIONS = (*OPTIONS, *MachineOptions.model_fields)  # what a preset may hold
ENVIRONMENT = {"avatar": "VAST_AVATAR", "preset": "VAST_PRESET"} | {
    name: what.env for name, what in effects(JobOptions).items() if what.env is not None
}
KEYS = ("id", *FILES, "avatar", "preset", "output", *OPTIONS)
BUILT_IN: Mapping[str, Any] = {name: info.default for name, info in JobOptions.model_fields.items()}


def key_of(name: str, keys: tuple[str, ...] = KEYS) -> str:
    """The key that `name` means; `-` is as good as `_`.

    Raises:
        ValueError: it is unknown; the nearest is named.
    """
    key = name.strip().replace("-", "_")
    if key in keys or re.fullmatch(r"x_[A-Za-z0-9_]{1,64}", key):
        return key
    if key in MACHINE:
        flag = key.replace("_", "-")
        raise ValueError(f"belongs on the command line (`--{flag}`): it is the machine's, not the job's")
    if key.startswith("x_"):
        raise ValueError("may hold only letters, digits and `_` after `x_`, 64 at most")
    raise ValueError(f"is unknown; {suggest(key, keys)}")


def as_text(value: Any) -> str | list[str] | None:
    """A cell, whatever it came from, as text without blanks around it; None for an empty one.

    Raises:
        ValueError: no single value, or text that no file name can hold.
    """
    if isinstance(value, str):
        text = value.strip()
    elif value is None:
        return None
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, Enum):
        return as_text(value.value)
    elif isinstance(value, (int, float, Path)):
        text = str(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return [str(item) for item in map(as_text, value) if item is not None] or None
    else:
        raise ValueError("holds a table where one value is expected")
    if not text:
        return None
    if len(text) > MAX_TEXT:
        raise ValueError(f"holds {len(text):,} characters; {MAX_TEXT:,} at most")
    if not text.isascii() and not _encodes(text):
        raise ValueError("holds half of a character (a lone surrogate)")
    if "\0" in text:
        raise ValueError("holds a NUL byte")
    return text


def _encodes(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def check_options(cells: Mapping[str, Any], report: ReportFault) -> dict[str, Any]:
    """The options among `cells` as values; faults go to `report` and are left out."""
    return check(JobOptions, cells, report)

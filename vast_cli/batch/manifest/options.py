"""What a job may set: its options with their ranges, the files it names, and how text becomes values."""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.gates import measure

MAX_TEXT = 10_000  # characters of a cell
FILES = ("audio", "prompt", "style")
ENVIRONMENT = {"avatar": "VAST_AVATAR", "preset": "VAST_PRESET", "seed": "VAST_SEED"}  # as `vast render`
MACHINE = frozenset(
    (
        "device dtype threads workers cache offline executor shard state overwrite rerun_on force repair wait set "
        "retries jobs_per_worker max_failures fail_fast timeout events json progress quiet verbose debug log_file"
    ).split()
)
Tell = Callable[[str, str], None]  # key, what is wrong with it


def _decimal_point(value: Any) -> Any:
    """`1,5` is what half of Europe's spreadsheets write for 1.5."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value):
        return value.replace(",", ".")
    return value


def _seconds(value: Any) -> Any:
    """`90`, `90s`, `1:30` and `1:00:00` are seconds."""
    if not isinstance(value, str):
        return value
    text = _decimal_point(value.strip().removesuffix("s").strip())
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise ValueError(f"`{value}` is no time; `90`, `90s` and `1:30` are")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _face(value: Any) -> Any:
    text = str(value)
    if text not in ("largest", "left", "right") and not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError(f"`{text}` is none of largest, left, right or a number from 0")
    return text


def _gates(value: Any) -> Any:
    """Text or a list of it to single gates; commas separate them too."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("is neither text nor a list of texts")
    found = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    _check_gates(found)
    return found


@functools.lru_cache(maxsize=1024)
def _check_gates(texts: tuple[str, ...]) -> None:
    try:
        measure.parse(texts)
    except VastError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


Decimal = Annotated[float, BeforeValidator(_decimal_point)]
TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Speed = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]


class Options(BaseModel):
    """Options of a render that a manifest may set; ranges and defaults are those of `vast render`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    style_strength: Decimal = Field(1.0, ge=0, le=3, description="0: the avatar's own manner, 1: the prompt's")
    max_exaggeration: Decimal = Field(1.0, ge=0.1, le=10, description="how far beyond the avatar's own range")
    crf: int = Field(18, ge=0, le=51, description="quality of the video, lower is better")
    encoder_preset: Speed = Field("fast", description="speed of the encoder")
    codec: Literal["h264", "h265"] = Field("h264", description="h264 plays everywhere, h265 is smaller")
    detail: Literal["full", "mesh"] = Field("full", description="mesh: without the network, for previews")
    face: Annotated[str, BeforeValidator(_face), WithJsonSchema({"type": ["string", "integer"]})] = Field(
        "largest", description="which face of the prompt: largest, left, right or its number from the left"
    )
    allow_silence: bool = Field(False, description="render sound without speech too")
    sidecar: bool = Field(False, description="write what the video was made from beside it")
    seed: int = Field(0, ge=0, description="same seed, same video")
    segment: Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": ["string", "number"]})] = Field(
        60.0, ge=5, le=3600, description="seconds of video that are finished and kept at once: 90, 90s or 1:30"
    )
    gate: Annotated[tuple[str, ...], BeforeValidator(_gates), WithJsonSchema(TEXTS)] = Field(
        (), description="limits that a result must reach: sync>=0.8,sharpness>=0.9"
    )
    redraw: int = Field(0, ge=0, le=5, description="how often a result below a gate is drawn with another seed")


OPTIONS = tuple(Options.model_fields)
KEYS = ("id", *FILES, "avatar", "preset", "output", *OPTIONS)
BUILT_IN: Mapping[str, Any] = {name: info.default for name, info in Options.model_fields.items()}


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


def check_options(cells: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """The options among `cells` as values; faults go to `tell` and are left out."""
    try:
        model = Options.model_validate(cells)
    except ValidationError as error:
        wrong = set()
        for key, text in explain(error):
            wrong.add(key)
            tell(key, text)
        return check_options({key: value for key, value in cells.items() if key not in wrong}, tell)
    return {name: getattr(model, name) for name in model.model_fields_set}


def explain(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Key and fault in our words."""
    for fault in error.errors(include_url=False):
        kind, context, value = fault["type"], fault.get("ctx", {}), fault["input"]
        shown = f"`{value}`" if isinstance(value, str) else "a list" if isinstance(value, list) else repr(value)
        if kind == "greater_than_equal":
            text = f"{value} is less than {context['ge']:g}"
        elif kind == "less_than_equal":
            text = f"{value} is more than {context['le']:g}"
        elif kind == "literal_error":
            text = f"{shown} is none of {context['expected'].replace(chr(39), '')}"
        elif kind.startswith("bool"):
            text = f"{shown} is neither yes nor no"
        elif kind.startswith("int"):
            text = f"{shown} is no whole number"
        elif kind.startswith(("float", "finite")):
            text = f"{shown} is no number"
        elif kind == "value_error":
            text = str(context["error"])
        else:
            text = fault["msg"]
        yield str(fault["loc"][0]), text

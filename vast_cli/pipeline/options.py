"""Options of a render: names, types, ranges, defaults, help, and what each one changes.

The command line, manifests, presets, the Python API, JSON Schemas, fingerprints and the keys of stored segments are all
made from these models. A new option is one field here, and the code that uses it.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

from vast_cli.core.errors import VastError
from vast_cli.core.formats import Codec
from vast_cli.core.text import suggest

ReportFault = Callable[[str, str], None]  # option, what is wrong with it
M = TypeVar("M", bound="OptionModel")


@dataclass(frozen=True)
class Effect:
    """What an option changes.

    Attributes:
        on: the first stage whose result it changes; None: the bytes of the video do not depend on it.
        needs: an input without which the option has no effect; `style` is met by a prompt too.
        in_segment_key: is part of the key of stored segments itself. The others are in it by what they result in:
            the style vector, the head's motion, the cuts.
        env: environment variable that the command line reads it from.
    """

    on: Literal["motion", "frames", "encoding"] | None = None
    needs: Literal["prompt", "style"] | None = None
    in_segment_key: bool = True
    env: str | None = None


def _decimal_point(value: Any) -> Any:
    """Accept `1,5` for 1.5: that is what half of Europe's spreadsheets write."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value):
        return value.replace(",", ".")
    return value


def _seconds(value: Any) -> Any:
    """Accept `90`, `90s`, `1:30` and `1:00:00`."""
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


def _device(value: Any) -> Any:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        raise ValueError(f"`{value}` is none of auto, cpu, cuda or cuda:N")
    return value


Decimal = Annotated[float, BeforeValidator(_decimal_point)]
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema({"type": ["string", "number"]})]
FaceName = Annotated[str, BeforeValidator(_face), WithJsonSchema({"type": ["string", "integer"]})]
EncoderPreset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]


class OptionModel(BaseModel):
    """Options as a frozen, checked record."""

    panel: ClassVar[str | None] = None  # title of the options in `--help`

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MotionOptions(OptionModel):
    """What shapes the motion of the face, beside audio, style and avatar: options of `vast predict`."""

    style_strength: Annotated[Decimal, Effect("motion", needs="style", in_segment_key=False)] = Field(
        default=1.0, ge=0, le=2, description="0: the avatar's own style, 1: the prompt's, above: more than that."
    )
    max_exaggeration: Annotated[Decimal, Effect("motion")] = Field(
        default=1.0, ge=0.1, le=10, description="How far motion may go beyond the avatar's footage; 1 is its own range."
    )
    allow_silence: Annotated[bool, Effect()] = Field(default=False, description="Render audio without speech too.")
    seed: Annotated[int, Effect("motion", env="VAST_SEED")] = Field(
        default=0, ge=0, description="Chooses among equally good results; same seed, same video."
    )


class RenderOptions(MotionOptions):
    """What shapes a video, beside audio, prompt and avatar."""

    crf: Annotated[int, Effect("encoding")] = Field(
        default=18, ge=0, le=51, description="Quality of the encoder, lower is better."
    )
    encoder_preset: Annotated[EncoderPreset, Effect("encoding")] = Field(
        default="fast", description="Speed of the encoder."
    )
    codec: Annotated[Codec, Effect("encoding")] = Field(
        default="h264", description="h264 plays everywhere; h265 is smaller."
    )
    detail: Annotated[Literal["full", "mesh"], Effect("frames")] = Field(
        default="full", description="full: with the network; mesh: textured mesh only, for previews."
    )
    head_motion: Annotated[Decimal, Effect("frames", needs="style", in_segment_key=False)] = Field(
        default=0.0,
        ge=0,
        le=2,
        description="How much of the prompt's head movement beyond the avatar's own is added; 0: none, 1: all of it, "
        "within what its footage shows. Avatars over footage ignore it.",
    )
    face: Annotated[FaceName, Effect("motion", needs="prompt", in_segment_key=False)] = Field(
        default="largest", description="Which face of the prompt: largest, left, right or its number from the left."
    )
    sidecar: Annotated[bool, Effect()] = Field(
        default=False, description="Write what the video was made from beside it."
    )
    segment: Annotated[Seconds, Effect("encoding", in_segment_key=False)] = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="Length after which a long video is cut, 90, 90s or 1:30; finished segments survive interruptions.",
    )


class MachineOptions(OptionModel):
    """How this machine computes. A preset may set them for `vast render`; a manifest may not."""

    panel: ClassVar[str | None] = "Machine"

    device: Annotated[str, BeforeValidator(_device), Effect(env="VAST_DEVICE")] = Field(
        default="auto", description="auto, cpu, cuda or cuda:N."
    )
    dtype: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Effect(env="VAST_DTYPE")] = Field(
        default="auto", description="auto: the fastest that is safe here."
    )
    threads: Annotated[int, Effect(env="VAST_THREADS")] = Field(
        default=0, ge=0, description="CPU threads; 0: all cores."
    )


def effect(field: FieldInfo) -> Effect:
    """What the option of a field changes."""
    return next(note for note in field.metadata if isinstance(note, Effect))


def effects(model: type[OptionModel]) -> dict[str, Effect]:
    """Options of a model by name, and what each changes."""
    return {name: effect(field) for name, field in model.model_fields.items()}


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values of an option that has a fixed few of them; empty for others."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


@functools.cache
def shaping(*, prompt: bool, style: bool) -> tuple[str, ...]:
    """Options that the bytes of a video depend on, when it has a prompt, a style file or neither."""
    missing = set() if prompt else {"prompt"} if style else {"prompt", "style"}
    return tuple(
        name for name, what in effects(RenderOptions).items() if what.on is not None and what.needs not in missing
    )


def check(model: type[M], values: Mapping[str, Any], report: ReportFault) -> dict[str, Any]:
    """Values of those options that are given, converted; faults go to `report` and are left out."""
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        wrong = set()
        for name, fault in explain(error):
            wrong.add(name)
            report(name, fault)
        return check(model, {name: value for name, value in values.items() if name not in wrong}, report)
    return {name: getattr(checked, name) for name in checked.model_fields_set}


def parse(model: type[M], values: Mapping[str, Any], *, spell: Callable[[str], str] = "`{}`".format) -> M:
    """The options that `values` give; the others have their defaults.

    Args:
        model: which options there are.
        values: by name.
        spell: how a name is written in a message.

    Raises:
        VastError: `vast_option_invalid`, with the nearest name for an option that does not exist.
    """
    for name in values:
        if name not in model.model_fields:
            raise VastError("vast_option_invalid", f"no option {spell(name)}", hint=suggest(name, model.model_fields))

    def refuse(name: str, fault: str) -> None:
        raise VastError("vast_option_invalid", f"{spell(name)}: {fault}")

    return model(**check(model, values, refuse))


def explain(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Option and fault in plain words."""
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

"""Names of outputs, `out/{x_lang|en}/{id}.mp4`: filled in, they never leave the folder before the first field.

    {id} {audio} {prompt} {style} {avatar} {preset} {hash} {ext} {x_ANYTHING}   text; files by their stem
    {index} {total} {seed}                                                      numbers
    {date}                                                                      now

A format as Python's may follow a colon (`{index:04d}`, `{hash:.8}`, `{date:%Y-%m-%d}`), then a value for jobs that have
none after `|`; `{{` and `}}` are braces. There is nothing else: no attributes, no indices, no calls.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest

SUFFIXES = (".mp4", ".m4v", ".mov")  # what the video writer writes
DEFAULT = "out/{id}.mp4"
TEXTS = ("id", "audio", "prompt", "style", "avatar", "preset", "hash", "ext")
NUMBERS = ("index", "total", "seed")
MAX_WIDTH = 200
MAX_TEMPLATE = 2000  # characters
MAX_FOLDER = 255  # bytes of a name on common file systems
MAX_NAME = MAX_FOLDER - len(".rejected") - len(".json")  # what may be put beside a video must have a name too
MAX_PATH = 4095  # bytes
Value = str | int | datetime | None

_FIELD = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::(?P<spec>[^|]*))?(?:\|(?P<default>.*))?", re.DOTALL | re.ASCII)
_TEXT_SPEC = re.compile(r"(?:.?[<>^])?(?P<width>\d*)(?:\.(?P<precision>\d+))?s?", re.ASCII)
_NUMBER_SPEC = re.compile(r"(?:.?[<>^=])?[+\- ]?0?(?P<width>\d*)[,_]?[dxXob]?", re.ASCII)
_DATE_SPEC = re.compile(r"(?:[^%]|%[YmdHMSjyBbAaUWVGuZpIf%])*")
_UNSAFE = re.compile("[/\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Field:
    """`{name:spec|default}`."""

    name: str
    spec: str
    default: str | None

    def fill(self, values: Mapping[str, Value]) -> str:
        """The value of a job as part of a name: without separators and control characters."""
        value = values.get(self.name)
        if value is None:
            value = self.default
            if value is None:
                raise _fault(f"the job has no `{self.name}`", f"`{{{self.name}|none}}` stands for `none` then")
            return _UNSAFE.sub("", value)
        try:
            if self.name.startswith("x_") and self.spec.endswith("d"):
                value = int(str(value))
            return _UNSAFE.sub("", format(value, self.spec))
        except ValueError:
            raise _fault(f"`{value}` cannot be written as `{self.spec}`") from None


Pieces = tuple[str | Field, ...]  # of one folder or file name


@dataclass(frozen=True)
class Template:
    """A parsed template: the fixed folder, and the names below it.

    Attributes:
        text: as it was given.
        base: the folder that results never leave, absolute.
        parts: names below it; the last is the file's.
        fields: names of the fields.
        needed: those of them that stand somewhere without a default.
    """

    text: str
    base: Path
    parts: tuple[Pieces, ...]
    fields: frozenset[str]
    needed: frozenset[str]

    def fill(self, values: Mapping[str, Value]) -> Path:
        """The path for a job.

        Args:
            values: of the fields; None or absent where the job has none. `x_` cells are text.

        Raises:
            VastError: `vast_option_invalid`: a value is missing or gives no name, a name is too long.
        """
        names = [_name(pieces, values) for pieces in self.parts]
        if not names[-1].lower().endswith(SUFFIXES):
            names[-1] += ".mp4"
        for name, limit in zip(names, [MAX_FOLDER] * (len(names) - 1) + [MAX_NAME], strict=True):
            if len(name) > limit // 4 and len(os.fsencode(name)) > limit:
                raise _fault(f"`{name[:40]}...` is {len(os.fsencode(name))} bytes long; a name has {limit} at most")
        path = os.path.join(self.base, *names)  # noqa: PTH118 - in a loop of 100,000
        if len(path) > MAX_PATH // 4 and len(os.fsencode(path)) > MAX_PATH:
            raise _fault(f"a path of {len(os.fsencode(path))} bytes; {MAX_PATH} at most")
        return Path(path)


def parse(text: str, folder: Path) -> Template:
    """Read a template; relative ones start at `folder`.

    One that ends in `/`, or names a folder that is there, means `{id}.mp4` in it.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if len(text) > MAX_TEMPLATE:
        raise _fault(f"{len(text)} characters; {MAX_TEMPLATE} at most")
    if "\0" in text or not text.strip():
        raise _fault("no file name")
    if os.path.isdir(os.path.join(folder, text)):  # noqa: PTH112, PTH118
        return Template(text, folder / text, ((Field("id", "", None), ".mp4"),), frozenset(["id"]), frozenset(["id"]))
    parts = _split(text if os.sep == "/" else text.replace(os.sep, "/"))
    first = next((i for i, part in enumerate(parts) if any(isinstance(piece, Field) for piece in part)), len(parts) - 1)
    fixed = ["".join(str(piece) for piece in part) for part in parts[:first]]
    base = folder / ("/".join(fixed) + "/" if fixed else "")
    below = [part for part in parts[first:-1] if part not in ((), (".",))]
    if ("..",) in below:
        raise _fault("`..` after a field would leave the output folder")
    last = parts[-1] or (Field("id", "", None), ".mp4")
    _check_suffix(last)
    every = [piece for part in (*below, last) for piece in part if isinstance(piece, Field)]
    return Template(
        text=text,
        base=base,
        parts=(*below, last),
        fields=frozenset(field.name for field in every),
        needed=frozenset(field.name for field in every if field.default is None),
    )


def _split(text: str) -> list[Pieces]:
    """Names between separators, as literal text and fields."""
    parts: list[list[str | Field]] = [[]]
    for match in re.finditer(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|/|[^{}/]+", text):
        token, inside = match.group(), match.group(1)
        if token == "/":
            parts.append([])
        elif token in ("{", "}"):
            raise _fault(
                f"a lone `{token}`", "braces stand in pairs; double ones, `{{` and `}}`, are braces themselves"
            )
        elif inside is not None:
            parts[-1].append(_field(inside))
        else:
            literal = {"{{": "{", "}}": "}"}.get(token, token)
            if parts[-1] and isinstance(parts[-1][-1], str):
                parts[-1][-1] += literal
            else:
                parts[-1].append(literal)
    return [tuple(part) for part in parts]


def _field(text: str) -> Field:
    match = _FIELD.fullmatch(text)
    if match is None:
        raise _fault(f"`{{{text}}}` is not understood", "`{name}`, `{name:format}`, `{name|default}`")
    name, spec, default = match["name"], match["spec"] or "", match["default"]
    if name not in (*TEXTS, *NUMBERS, "date") and not name.startswith("x_"):
        raise _fault(f"no field `{{{name}}}`; {suggest(name, (*TEXTS, *NUMBERS, 'date', 'x_...'))}")
    if default is not None and ":" in default:
        raise _fault(f"in `{{{text}}}` the format comes first", f"`{{{name}:FORMAT|{default.split(':')[0]}}}`")
    numeric = name in NUMBERS or (name.startswith("x_") and spec.endswith("d"))
    rule = _DATE_SPEC if name == "date" else _NUMBER_SPEC if numeric else _TEXT_SPEC
    known = rule.fullmatch(spec)
    bounds = [int(text[:9]) for text in known.groupdict().values() if text] if known else []
    if known is None or any(bound > MAX_WIDTH for bound in bounds):
        raise _fault(f"the format of `{{{text}}}` is not understood", "for instance `04d`, `.8`, `%Y-%m-%d`")
    if name == "date" and not spec:
        spec = "%Y-%m-%d"
    return Field(name, spec, default)


def _name(pieces: Pieces, values: Mapping[str, Value]) -> str:
    """One folder or file name. No value can make it hidden, empty or a step up."""
    name = "".join([piece if isinstance(piece, str) else piece.fill(values) for piece in pieces])
    if not name.lower().removesuffix(".mp4").strip(". "):
        shown = "".join(piece if isinstance(piece, str) else f"{{{piece.name}}}" for piece in pieces)
        raise _fault(f"`{shown}` gives no name for this job")
    hidden = isinstance(pieces[0], str) and pieces[0].startswith(".")  # asked for
    return name if hidden else name.lstrip(".")


def _check_suffix(last: Pieces) -> None:
    """A suffix that is written out must be one of a video."""
    tail = last[-1]
    if not isinstance(tail, str) or "." not in tail:
        return
    stem, _, suffix = tail.rpartition(".")
    if f".{suffix.lower()}" not in SUFFIXES:
        raise _fault(f"`.{suffix}` is no video that is written here; {', '.join(SUFFIXES)} are")
    if len(last) == 1 and not stem.strip("."):
        raise _fault("no file name before its suffix")


def _fault(text: str, hint: str | None = None) -> VastError:
    return VastError("vast_option_invalid", text, hint=hint)

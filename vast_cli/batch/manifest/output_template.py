"""Templates of output names, `out/{x_lang|en}/{id}.mp4`. Filled in, they never leave the folder before the first field.

    {id} {audio} {prompt} {style} {avatar} {preset} {hash} {ext} {x_ANYTHING}   text; files by their stem
    {index} {total} {seed}                                                      numbers
    {date}                                                                      now

A format as Python's may follow a colon (`{index:04d}`, `{hash:.8}`, `{date:%Y-%m-%d}`), then `|` and a default for jobs
without a value; `{{` and `}}` are braces. There is nothing else: no attributes, no indices, no calls.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.core.formats import CONTAINERS
from vast_cli.core.text import suggest

DEFAULT = "out/{id}.mp4"
TEXT_FIELDS = ("id", "audio", "prompt", "style", "avatar", "preset", "hash", "ext")
NUMBER_FIELDS = ("index", "total", "seed")
MAX_WIDTH = 200
MAX_TEMPLATE = 2000  # characters
MAX_FOLDER = 255  # bytes of a name on common file systems
MAX_NAME = MAX_FOLDER - len(".rejected") - len(".json")  # files beside a video must have a name too
MAX_PATH = 4095  # bytes
FieldValue = str | int | datetime | None

_FIELD = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::(?P<spec>[^|]*))?(?:\|(?P<default>.*))?", re.DOTALL | re.ASCII)
_TEXT_SPEC = re.compile(r"(?:.?[<>^])?(?P<width>\d*)(?:\.(?P<precision>\d+))?s?", re.ASCII)
_NUMBER_SPEC = re.compile(r"(?:.?[<>^=])?[+\- ]?0?(?P<width>\d*)[,_]?[dxXob]?", re.ASCII)
_DATE_SPEC = re.compile(r"(?:[^%]|%[YmdHMSjyBbAaUWVGuZpIf%])*")
_UNSAFE = re.compile("[/\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class TemplateField:
    """`{name:spec|default}`."""

    name: str
    spec: str
    default: str | None

    def fill(self, values: Mapping[str, FieldValue]) -> str:
        """The value of a job as part of a name: without separators and control characters."""
        value = values.get(self.name)
        if value is None:
            value = self.default
            if value is None:
                raise _template_error(
                    f"the job has no `{self.name}`", f"`{{{self.name}|none}}` gives `none` for such jobs"
                )
            return _UNSAFE.sub("", value)
        try:
            if self.name.startswith("x_") and self.spec.endswith("d"):
                value = int(str(value))
            return _UNSAFE.sub("", format(value, self.spec))
        except ValueError:
            raise _template_error(f"`{value}` cannot be written as `{self.spec}`") from None


NameParts = tuple[str | TemplateField, ...]  # of one folder or file name


@dataclass(frozen=True)
class OutputTemplate:
    """A parsed template: the fixed folder, and the names below it.

    Attributes:
        text: as it was given.
        base: the folder that results never leave, absolute.
        names: below it; the last is the file's.
        fields: names of the fields.
    """

    text: str
    base: Path
    names: tuple[NameParts, ...]
    fields: frozenset[str]

    def fill(self, values: Mapping[str, FieldValue]) -> Path:
        """The path for a job.

        Args:
            values: of the fields; None or missing where the job has none. `x_` cells are text.

        Raises:
            VastError: `vast_option_invalid`: a value is missing or gives no name, a name is too long.
        """
        names = [_fill_name(parts, values) for parts in self.names]
        if not names[-1].lower().endswith(tuple(CONTAINERS)):
            names[-1] += ".mp4"
        for name, limit in zip(names, [MAX_FOLDER] * (len(names) - 1) + [MAX_NAME], strict=True):
            if len(name) > limit // 4 and len(os.fsencode(name)) > limit:
                raise _template_error(
                    f"`{name[:40]}...` is {len(os.fsencode(name))} bytes long; a name has {limit} at most"
                )
        path = os.path.join(self.base, *names)  # noqa: PTH118 - in a loop of 100,000
        if len(path) > MAX_PATH // 4 and len(os.fsencode(path)) > MAX_PATH:
            raise _template_error(f"a path of {len(os.fsencode(path))} bytes; {MAX_PATH} at most")
        return Path(path)


def parse_template(text: str, folder: Path) -> OutputTemplate:
    """Parse a template; relative ones start at `folder`.

    One that ends in `/`, or names an existing folder, means `{id}.mp4` in it.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if len(text) > MAX_TEMPLATE:
        raise _template_error(f"{len(text)} characters; {MAX_TEMPLATE} at most")
    if "\0" in text or not text.strip():
        raise _template_error("no file name")
    id_name: NameParts = (TemplateField("id", "", None), ".mp4")
    if os.path.isdir(os.path.join(folder, text)):  # noqa: PTH112, PTH118
        return OutputTemplate(text, folder / text, (id_name,), frozenset(["id"]))
    names = _split(text if os.sep == "/" else text.replace(os.sep, "/"))
    first = next((i for i, name in enumerate(names) if _fields(name)), len(names) - 1)
    fixed = ["".join(str(part) for part in name) for name in names[:first]]
    base = folder / ("/".join(fixed) + "/" if fixed else "")
    folders = [name for name in names[first:-1] if name not in ((), (".",))]
    if ("..",) in folders:
        raise _template_error("`..` after a field would leave the output folder")
    file_name = names[-1] or id_name
    _check_suffix(file_name)
    fields = frozenset(field.name for name in (*folders, file_name) for field in _fields(name))
    return OutputTemplate(text, base, (*folders, file_name), fields)


def _fields(name: NameParts) -> list[TemplateField]:
    return [part for part in name if isinstance(part, TemplateField)]


def _split(text: str) -> list[NameParts]:
    """The names between separators, each as literal text and fields."""
    names: list[list[str | TemplateField]] = [[]]
    for match in re.finditer(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|/|[^{}/]+", text):
        token, inside = match.group(), match.group(1)
        if token == "/":
            names.append([])
        elif token in ("{", "}"):
            raise _template_error(
                f"a lone `{token}`", "braces come in pairs; write `{{` and `}}` for braces in the name"
            )
        elif inside is not None:
            names[-1].append(_parse_field(inside))
        else:
            literal = {"{{": "{", "}}": "}"}.get(token, token)
            if names[-1] and isinstance(names[-1][-1], str):
                names[-1][-1] += literal
            else:
                names[-1].append(literal)
    return [tuple(name) for name in names]


def _parse_field(text: str) -> TemplateField:
    match = _FIELD.fullmatch(text)
    if match is None:
        raise _template_error(f"`{{{text}}}` is not understood", "`{name}`, `{name:format}`, `{name|default}`")
    name, spec, default = match["name"], match["spec"] or "", match["default"]
    if name not in (*TEXT_FIELDS, *NUMBER_FIELDS, "date") and not name.startswith("x_"):
        known = (*TEXT_FIELDS, *NUMBER_FIELDS, "date", "x_...")
        raise _template_error(f"no field `{{{name}}}`; {suggest(name, known)}")
    if default is not None and ":" in default:
        raise _template_error(f"in `{{{text}}}` the format comes first", f"`{{{name}:FORMAT|{default.split(':')[0]}}}`")
    numeric = name in NUMBER_FIELDS or (name.startswith("x_") and spec.endswith("d"))
    rule = _DATE_SPEC if name == "date" else _NUMBER_SPEC if numeric else _TEXT_SPEC
    spec_match = rule.fullmatch(spec)
    bounds = [int(digits[:9]) for digits in spec_match.groupdict().values() if digits] if spec_match else []
    if spec_match is None or any(bound > MAX_WIDTH for bound in bounds):
        raise _template_error(f"the format of `{{{text}}}` is not understood", "for instance `04d`, `.8`, `%Y-%m-%d`")
    if name == "date" and not spec:
        spec = "%Y-%m-%d"
    return TemplateField(name, spec, default)


def _fill_name(parts: NameParts, values: Mapping[str, FieldValue]) -> str:
    """One folder or file name. No value can make it hidden, empty or a step up."""
    name = "".join([part if isinstance(part, str) else part.fill(values) for part in parts])
    if not name.lower().removesuffix(".mp4").strip(". "):
        shown = "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in parts)
        raise _template_error(f"`{shown}` gives no name for this job")
    hidden = isinstance(parts[0], str) and parts[0].startswith(".")  # as the template says
    return name if hidden else name.lstrip(".")


def _check_suffix(file_name: NameParts) -> None:
    """Refuse a literal suffix that is not that of a supported video."""
    tail = file_name[-1]
    if not isinstance(tail, str) or "." not in tail:
        return
    stem, _, suffix = tail.rpartition(".")
    if f".{suffix.lower()}" not in CONTAINERS:
        raise _template_error(f"`.{suffix}` is not a supported video format; there are {', '.join(CONTAINERS)}")
    if len(file_name) == 1 and not stem.strip("."):
        raise _template_error("no file name before its suffix")


def _template_error(text: str, hint: str | None = None) -> VastError:
    return VastError("vast_option_invalid", text, hint=hint)

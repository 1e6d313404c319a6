"""Writes docs/cli.md: every command with its options, exit statuses and error codes, from the code that defines them.

python -m vast_cli.cli.reference > docs/cli.md
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo

from vast_cli.cli.app import COMMANDS
from vast_cli.core.errors import ERROR_KINDS, Exit

HEAD = """# Command line

Made by `python -m vast_cli.cli.reference > docs/cli.md`; `vast COMMAND --help` says the same on a terminal.

Values come from the command line, else from the preset, else from the environment, else they are the defaults.
"""
COMMON = ("json", "progress", "quiet", "verbose", "debug", "log_file")  # options of most commands, described once


def page() -> str:
    """The page as Markdown."""
    commands = dict(_commands())
    parts = [HEAD, *(_section(name, command) for name, command in commands.items())]
    parts += [_common(commands["render"]), _statuses(), _codes()]
    return "\n".join(parts).rstrip() + "\n"


def _commands() -> Iterator[tuple[str, Callable[..., None]]]:
    for name, path in COMMANDS.items():
        module, attribute = path.split(":")
        target = getattr(importlib.import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            yield name, target
            continue
        for one in target.registered_commands:
            assert one.callback is not None
            yield f"{name} {one.name or one.callback.__name__.replace('_', '-')}", one.callback


def _parameters(command: Callable[..., None]) -> Iterator[tuple[inspect.Parameter, Any, OptionInfo | ArgumentInfo]]:
    """Parameters of a command that a user sees, with their types."""
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if get_origin(parameter.annotation) is Annotated:
            kind, *notes = get_args(parameter.annotation)
            info = next(note for note in notes if isinstance(note, (OptionInfo, ArgumentInfo)))
            if not info.hidden:
                yield parameter, kind, info


def _section(name: str, command: Callable[..., None]) -> str:
    about, *more = re.split(r"\n\s*\n", inspect.cleandoc(command.__doc__ or ""))
    lines = [f"## vast {name}", "", _plain(about), ""]
    for text in map(_plain, more):
        lines += [f"    {text}" if text.startswith("vast ") else text, ""]
    rows = [_row(*found) for found in _parameters(command) if found[0].name not in COMMON]
    return "\n".join([*lines, *_table(rows)])


def _common(command: Callable[..., None]) -> str:
    rows = [_row(*found) for found in _parameters(command) if found[0].name in COMMON]
    return "\n".join(["## Options of most commands", "", *_table(rows)])


def _table(rows: list[str]) -> list[str]:
    return ["| option | default | what |", "| --- | --- | --- |", *rows, ""] if rows else []


def _row(parameter: inspect.Parameter, kind: Any, info: OptionInfo | ArgumentInfo) -> str:
    flag = "--" + parameter.name.replace("_", "-")
    if isinstance(info, ArgumentInfo):
        names = [info.metavar or parameter.name.upper()]
    else:
        first = [info.default] if isinstance(info.default, str) else []  # typer takes `Option("--output", "-o")` so
        names = [*first, *(info.param_decls or ())] or ([f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag])
    required = parameter.default is inspect.Parameter.empty
    default = None if required else getattr(parameter.default, "value", parameter.default)
    shown = "" if default is None or default is False else "on" if default is True else f"`{default}`"
    about = [_plain(info.help or ""), _values(kind), _range(info.min, info.max)]
    if isinstance(info, OptionInfo) and info.envvar:
        about.append(f"Environment: `{info.envvar}`.")
    if required:
        about.append("Required.")
    return f"| {', '.join(f'`{name}`' for name in names)} | {shown} | {' '.join(filter(None, about))} |"


def _values(kind: Any) -> str:
    if get_origin(kind) is Literal:
        values = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        values = tuple(one.value for one in kind)
    else:
        return ""
    return f"One of {', '.join(f'`{value}`' for value in values)}."


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"At most {high:g}."
    return f"At least {low:g}." if high is None else f"{low:g} to {high:g}."


def _statuses() -> str:
    lines = ["## Exit statuses", "", "| status | name | error codes |", "| ---: | --- | --- |"]
    for status in Exit:
        codes = [f"`{code}`" for code, kind in ERROR_KINDS.items() if kind.exit == status]
        lines.append(f"| {int(status)} | {status.name.lower()} | {', '.join(codes)} |")
    return "\n".join([*lines, ""])


def _codes() -> str:
    lines = ["## Error codes", "", "| code | status | meaning | hint |", "| --- | ---: | --- | --- |"]
    for code, kind in ERROR_KINDS.items():
        lines.append(f"| `{code}` | {int(kind.exit)} | {kind.meaning} | {_plain(kind.hint)} |")
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")

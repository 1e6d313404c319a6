"""Turns records into options of commands: dataclasses and models of options, written once, used by many commands."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

from vast_cli.pipeline.options import OptionModel, choices, effect

Source = Literal["option", "environment", "default"]
SOURCES: dict[str, Source] = {"COMMANDLINE": "option", "ENVIRONMENT": "environment"}


@dataclass(frozen=True)
class Given:
    """Values of options as the command line has them, and where each came from."""

    values: Mapping[str, Any]
    sources: Mapping[str, Source]

    @property
    def explicit(self) -> dict[str, Any]:
        """Those that stand on the command line."""
        return {name: value for name, value in self.values.items() if self.sources[name] == "option"}


def expand(
    command: Callable[..., None] | None = None, *, panel: str | None = None, **given: Sequence[type]
) -> Callable[..., Any]:
    """Replace a command's records by the options that they stand for.

    A parameter annotated with a dataclass is replaced by its fields, and the command receives the dataclass. A
    parameter `Given` named here is replaced by the options of models and dataclasses, with their ranges, choices and
    help; the command receives their values and sources, unchecked beyond what the command line checks.

        @expand(given=[GatedOptions])
        def render(audio: Annotated[Path, typer.Option()], given: Given, *, ui_options: UiOptions) -> None: ...

    Options that have the name of a parameter of the command are left to the command.

    Args:
        command: what to expand; without, a decorator is returned.
        panel: title of the options of `given` in `--help`.
        given: parameter of the command -> models and dataclasses.
    """
    if command is None:
        return lambda wrapped: expand(wrapped, panel=panel, **given)
    own = inspect.signature(command, eval_str=True).parameters
    records: dict[str, Any] = {
        name: p.annotation for name, p in own.items() if is_dataclass(p.annotation) and name not in given
    }
    inserted: dict[str, list[inspect.Parameter]] = {}  # parameter of the command -> options that stand for it
    for name, parameter in own.items():
        if name in records:
            inserted[name] = _parameters(records[name])
        elif name in given:
            options = [one for source in given[name] for one in _parameters(source)]
            inserted[name] = [_in_panel(one, panel) for one in options if one.name not in own]
        else:
            inserted[name] = [parameter]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for ones in inserted.values() for one in ones]
    context = next((name for name, p in own.items() if p.annotation is typer.Context), None)
    if context is None:
        parameters.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))

    def run(**values: Any) -> None:
        here: typer.Context = values["context" if context is None else context]
        arguments: dict[str, Any] = {}
        for name, ones in inserted.items():
            names = [one.name for one in ones]
            if name in records:
                arguments[name] = records[name](**{one: values[one] for one in names})
            elif name in given:
                arguments[name] = Given({one: values[one] for one in names}, {one: _source(here, one) for one in names})
            else:
                arguments[name] = values[name]
        command(**arguments)

    run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__name__, run.__qualname__ = command.__name__, command.__qualname__
    run.__doc__, run.__module__ = command.__doc__, command.__module__
    return run


def _source(context: typer.Context, name: str) -> Source:
    source = context.get_parameter_source(name)
    return "default" if source is None else SOURCES.get(source.name, "default")


def _parameters(source: type) -> list[inspect.Parameter]:
    """Options that a model or a dataclass stands for."""
    if issubclass(source, OptionModel):
        return [_parameter(name, field, source.panel) for name, field in source.model_fields.items()]
    return list(inspect.signature(source, eval_str=True).parameters.values())


def _in_panel(parameter: inspect.Parameter, panel: str | None) -> inspect.Parameter:
    """The same option, under a title of `--help` unless it has one."""
    kind, *notes = get_args(parameter.annotation)
    option = copy(next(note for note in notes if isinstance(note, OptionInfo)))
    option.rich_help_panel = option.rich_help_panel or panel
    return parameter.replace(annotation=Annotated[kind, option])


def _parameter(name: str, field: FieldInfo, panel: str | None) -> inspect.Parameter:
    """The option of the command line that sets a field of a model."""
    kind: Any
    default, limits, flags = field.default, {}, []
    if field.annotation is bool:
        kind, flags = bool, [f"--{_flag(name)}/--no-{_flag(name)}"]
    elif get_origin(field.annotation) is tuple:
        kind, default = list[str] | None, None
    elif choices(field):
        kind = Literal[choices(field)]
    elif field.annotation in (int, float) and not _is_text(field):
        kind = field.annotation
        limits = {key: getattr(note, at) for note in field.metadata for at, key in BOUNDS.items() if hasattr(note, at)}
    else:
        kind, default = str, f"{default:g}" if isinstance(default, float) else default
    option = typer.Option(*flags, help=field.description, envvar=effect(field).env, rich_help_panel=panel, **limits)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


BOUNDS = {"ge": "min", "le": "max"}  # of pydantic -> of typer


def _is_text(field: FieldInfo) -> bool:
    """Whether a number has spellings of its own (`1:30`), which only the model reads."""
    return any("string" in (getattr(note, "json_schema", None) or {}).get("type", ()) for note in field.metadata)


def _flag(name: str) -> str:
    return name.replace("_", "-")


def spell_flag(name: str) -> str:
    """An option as it is written on the command line, for messages."""
    return f"`--{_flag(name)}`"

"""Render options for commands that take a manifest: written once in `vast render`, collected where they were given."""

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from vast_cli.batch.manifest import BUILT_IN, KEYS, OPTIONS
from vast_cli.cli.render import render

COLLECTED = "given"
PANEL = "Render"
NOT_COMMON = ("id", "audio", "output")  # a job's own; `-o` is the command's
# options that `vast render` lacks, or takes in fewer spellings
EXTRA: dict[str, Any] = {
    "segment": Annotated[str, typer.Option(help="Video that is finished and kept at once: 90, 90s or 1:30.")],
    "redraw": Annotated[
        int, typer.Option(min=0, max=5, help="How often a result below a gate is drawn with another seed.")
    ],
}
SHOWN: dict[str, Any] = {"segment": "60"}  # defaults as they are written


def with_render_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `vast render` that a manifest knows to a command.

    The command has a parameter `given: dict[str, Any]`; it receives what stands on the command line, by the manifest's
    keys, and nothing else: neither defaults nor environment, which `manifest.load` knows. Parameters of the command
    that have the name of an option stay the command's own, as do `-o` and the machine's options.

        @with_render_options
        def plan(path: Annotated[Path, typer.Argument()], given: dict[str, Any], json: options.Json = False) -> None:
            jobs = manifest.load(path, command_line=given)
    """
    own = inspect.signature(command, eval_str=True).parameters
    context = next((name for name, p in own.items() if p.annotation is typer.Context), None)
    added = {name: parameter for name, parameter in _options().items() if name not in own}
    kept = [parameter.replace(kind=parameter.KEYWORD_ONLY) for name, parameter in own.items() if name != COLLECTED]
    if context is None:
        kept.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))

    def run(**values: Any) -> None:
        here: typer.Context = values[context or "context"]
        given = {}
        for name in added:
            value = values.pop(name)
            source = here.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                given[name] = value
        if context is None:
            values.pop("context")
        command(**values, **{COLLECTED: given})

    return as_command(run, command, [*kept, *added.values()])


def as_command(
    run: Callable[..., None], command: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """`run` with the name and text of `command`, and the options that `parameters` are."""
    run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__name__, run.__qualname__ = command.__name__, command.__qualname__
    run.__doc__, run.__module__ = command.__doc__, command.__module__
    return run


def _options() -> dict[str, inspect.Parameter]:
    """Parameters of `render` that a manifest knows, and the others of a manifest."""
    hints = get_type_hints(render, include_extras=True)
    defaults = {name: parameter.default for name, parameter in inspect.signature(render).parameters.items()}
    found = {}
    for name in KEYS:
        if name in NOT_COMMON:
            continue
        if name in EXTRA:
            annotation, default = EXTRA[name], SHOWN.get(name, BUILT_IN[name])
        else:
            annotation, default = hints[name], defaults[name]
        found[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_in_panel(annotation)
        )
    return found


def _in_panel(annotation: Any) -> Any:
    """The same option, among its like in `--help`."""
    kind, *notes = get_args(annotation)
    info = copy(next(note for note in notes if isinstance(note, OptionInfo)))
    info.rich_help_panel = info.rich_help_panel or PANEL
    return Annotated[kind, info]


assert set(EXTRA) <= set(OPTIONS)

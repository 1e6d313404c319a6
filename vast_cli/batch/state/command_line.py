"""Keeps the command line of a run in the journal, so that `retry` and `status` need no options repeated.

Paths are stored relative to the manifest's folder, so that the folder can move.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vast_cli.batch.manifest.cells import has_separator, is_path, names_file
from vast_cli.batch.manifest.options import as_text
from vast_cli.batch.state.journal_lines import read_journal
from vast_cli.batch.state.journal_replay import find_journals


@dataclass(frozen=True)
class CommandLine:
    """What a command line says about all jobs. All values are text or lists of text.

    Attributes:
        output: template of the outputs' names.
        options: for all jobs, weaker than their own cells.
        overrides: `--set key=value`.
    """

    output: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, base: Path, *, output: str | None, options: Mapping[str, Any], overrides: Mapping[str, Any]
    ) -> "CommandLine":
        """A command line in the current folder, for a manifest in `base`."""
        here = relative_path(Path.cwd(), base)
        if output is not None and not os.path.isabs(output):  # noqa: PTH117 - a Path would drop the last slash
            output = output if here == "." else f"{_escape_braces(here)}/{output}"
        return cls(
            output,
            {key: _relative(key, value, base) for key, value in options.items()},
            {key: _relative(key, value, base) for key, value in overrides.items()},
        )

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "CommandLine":
        """From a line of the journal."""
        return cls(row.get("output"), row.get("given") or {}, row.get("overrides") or {})

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return {"output": self.output, "given": dict(self.options), "overrides": dict(self.overrides)}

    def completed_by(self, last: "CommandLine") -> "CommandLine":
        """This command line, with what it does not say taken from `last`."""
        return CommandLine(
            last.output if self.output is None else self.output,
            {**last.options, **self.options},
            {**last.overrides, **self.overrides},
        )

    def output_template(self, base: Path) -> str | None:
        """The template of the outputs, absolute."""
        if self.output is None or os.path.isabs(self.output):  # noqa: PTH117
            return self.output
        end = "/" if self.output.endswith("/") else ""
        return os.path.normpath(f"{_escape_braces(str(base))}/{self.output}") + end

    def absolute_options(self, base: Path) -> dict[str, Any]:
        """`options` with absolute paths."""
        return _absolute(self.options, base)

    def absolute_overrides(self, base: Path) -> dict[str, Any]:
        """`overrides` with absolute paths."""
        return _absolute(self.overrides, base)


def last_command_line(folder: Path) -> CommandLine:
    """The command line of the last run in a state folder, of any shard; an empty one if there was none.

    Raises:
        VastError: `vast_record_version`, `vast_input_unreadable`.
    """
    runs = [
        row
        for path in find_journals(folder)
        for row in read_journal(path).rows
        if row["event"] == "run_started" and isinstance(row.get("command"), dict)
    ]
    if not runs:
        return CommandLine()
    return CommandLine.from_dict(max(runs, key=lambda row: str(row["t"]))["command"])


def relative_path(path: Path, base: Path) -> str:
    """A path relative to the manifest's folder `base`; unchanged on another drive."""
    with contextlib.suppress(ValueError):
        return os.path.relpath(path, base)
    return str(path)


def _relative(key: str, value: Any, base: Path) -> Any:
    text = as_text(value)
    if not isinstance(text, str) or not names_file(_key(key), text):
        return text
    path = relative_path(Path(text).absolute(), base)
    return path if has_separator(path) else f"./{path}"  # without a separator it would be a name


def _absolute(cells: Mapping[str, Any], base: Path) -> dict[str, Any]:
    return {
        key: os.path.normpath(base / value) if isinstance(value, str) and is_path(_key(key), value) else value
        for key, value in cells.items()
    }


def _key(name: str) -> str:
    return name.strip().replace("-", "_")


def _escape_braces(text: str) -> str:
    """A folder's name as a template has it: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")

"""What was said beside the manifest, kept in the journal so that `retry` and `status` need not be told again.

Paths are kept by their way from the manifest, so that its folder can be moved.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vast_cli.batch import state
from vast_cli.batch.manifest.cells import has_separator
from vast_cli.batch.manifest.options import FILES, as_text
from vast_cli.batch.state import replay


@dataclass(frozen=True)
class Command:
    """Template of outputs, options for all jobs, `--set`. All values are text, or lists of it."""

    output: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, base: Path, *, output: str | None, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> "Command":
        """What is said now, in the current folder, of a manifest in `base`."""
        here = way_from(Path.cwd(), base)
        if output is not None and not os.path.isabs(output):  # noqa: PTH117 - a Path would drop the last slash
            output = output if here == "." else f"{_plain(here)}/{output}"
        return cls(
            output,
            {key: _kept(key, value, base) for key, value in given.items()},
            {key: _kept(key, value, base) for key, value in overrides.items()},
        )

    def over(self, last: "Command") -> "Command":
        """What is said now, completed by what was said last time."""
        return Command(
            last.output if self.output is None else self.output,
            {**last.given, **self.given},
            {**last.overrides, **self.overrides},
        )

    def template(self, base: Path) -> str | None:
        """The template of outputs, absolute."""
        if self.output is None or os.path.isabs(self.output):  # noqa: PTH117
            return self.output
        end = "/" if self.output.endswith("/") else ""
        return os.path.normpath(f"{_plain(str(base))}/{self.output}") + end

    def paths(self, which: Literal["given", "overrides"], base: Path) -> dict[str, Any]:
        """Options or `--set`, with absolute paths."""
        cells: Mapping[str, Any] = getattr(self, which)
        return {key: os.path.normpath(base / value) if _is_path(key, value) else value for key, value in cells.items()}


def last_command(folder: Path) -> Command:
    """What the last run of a state folder was told, of whichever shard; nothing if there was none.

    Raises:
        VastError: `vast_record_version`, `vast_input_unreadable`.
    """
    runs = [
        row
        for path in replay.find_journals(folder)
        for row in state.read(path).rows
        if row["event"] == "run_started" and isinstance(row.get("command"), dict)
    ]
    if not runs:
        return Command()
    said = max(runs, key=lambda row: str(row["t"]))["command"]
    return Command(said.get("output"), said.get("given") or {}, said.get("overrides") or {})


def _kept(key: str, value: Any, base: Path) -> Any:
    text = as_text(value)
    if not _is_path(key, text):
        return text
    way = way_from(Path(str(text)).absolute(), base)
    return way if has_separator(way) else f"./{way}"  # or it would be the name of an avatar


def _is_path(key: str, text: Any) -> bool:
    if not isinstance(text, str):
        return False
    key = key.strip().replace("-", "_")
    return key in FILES or (key == "avatar" and (has_separator(text) or text.endswith(".avatar")))


def way_from(path: Path, base: Path) -> str:
    """A path as it is kept: by its way from the manifest's folder `base`."""
    with contextlib.suppress(ValueError):  # another drive
        return os.path.relpath(path, base)
    return str(path)


def _plain(text: str) -> str:
    """A folder's name as a template has it: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")

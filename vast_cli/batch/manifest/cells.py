"""Cells of a manifest and words of the command line to values: paths made whole, templates parsed, options checked."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vast_cli.batch.manifest import template
from vast_cli.batch.manifest.ids import check_id
from vast_cli.batch.manifest.options import FILES, OPTIONS, Tell, as_text, check_options, key_of
from vast_cli.core.errors import VastError

Values = dict[str, Any]


class Cleaner:
    """Turns cells into values; templates are parsed once."""

    def __init__(self) -> None:
        self._template = functools.lru_cache(maxsize=None)(template.parse)

    def __call__(self, cells: Mapping[str, Any], folder: Path, tell: Tell) -> Values:
        """Values of `cells`; faults go to `tell` and are left out. Paths start at `folder`."""
        values: Values = {}
        options: dict[str, Any] = {}
        for key, cell in cells.items():
            try:
                text = as_text(cell)
                if text is None or key.startswith("?"):  # a column whose name is a fault already
                    continue
                if key in OPTIONS:
                    options[key] = text
                elif isinstance(text, list):
                    raise ValueError("holds a list where one value is expected")
                else:
                    values[key] = self._value(key, text, folder)
            except VastError as error:
                tell(key, f"`{text}`: {error.message}" + (f"; {error.hint}" if "braces" in error.hint else ""))
            except ValueError as error:
                tell(key, str(error))
        if options:
            values |= check_options(options, tell)
        if "prompt" in values and "style" in values:
            tell("style", "`prompt` and `style` exclude each other")
        return values

    def _value(self, key: str, text: str, folder: Path) -> Any:
        if key in FILES or (key == "avatar" and (has_separator(text) or text.endswith(".avatar"))):
            return os.path.join(folder, text)  # noqa: PTH118 - 100,000 of them
        if key == "output":
            return self._template(text, folder)
        return check_id(text) if key == "id" else text

    def strictly(self, cells: Mapping[str, Any], folder: Path, say: Any) -> Values:
        """Values of what the command line or the environment says; the first fault is raised.

        Raises:
            VastError: `vast_option_invalid`.
        """

        def tell(key: str, text: str) -> None:
            raise VastError("vast_option_invalid", f"{say(key)}: {text}")

        known: dict[str, Any] = {}
        for name, cell in cells.items():
            try:
                known[key_of(name)] = cell
            except ValueError as error:
                tell(name, str(error))
        if known.get("id") is not None:
            tell("id", "is the name of one job and cannot be set")
        return self(known, folder, tell)


def has_separator(text: str) -> bool:
    return "/" in text or os.sep in text

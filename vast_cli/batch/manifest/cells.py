"""Parses the cells of a manifest and the values of the command line: absolute paths, templates, checked options."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vast_cli.batch.manifest.ids import check_id
from vast_cli.batch.manifest.options import FILES, OPTIONS, as_text, check_options, key_of
from vast_cli.batch.manifest.output_template import parse_template
from vast_cli.core.errors import VastError
from vast_cli.pipeline.options import ReportFault
from vast_cli.store import styles

Values = dict[str, Any]


class CellParser:
    """Turns cells into values; parses each template and looks for each style once."""

    def __init__(self) -> None:
        self._parse_template = functools.lru_cache(maxsize=None)(parse_template)
        self._find_style = functools.lru_cache(maxsize=None)(lambda text, folder: str(styles.find(text, folder=folder)))

    def parse(self, cells: Mapping[str, Any], folder: Path, report_fault: ReportFault) -> Values:
        """The values of `cells`, without those that are faults. Relative paths start at `folder`."""
        values: Values = {}
        options: dict[str, Any] = {}
        for key, cell in cells.items():
            try:
                text = as_text(cell)
                if text is None or key.startswith("?"):  # the name of the column was reported already
                    continue
                if key in OPTIONS:
                    options[key] = text
                elif isinstance(text, list):
                    raise ValueError("holds a list where one value is expected")
                else:
                    values[key] = self._value(key, text, folder)
            except VastError as error:
                report_fault(key, f"`{text}`: {error.message}" + (f"; {error.hint}" if "braces" in error.hint else ""))
            except ValueError as error:
                report_fault(key, str(error))
        if options:
            values |= check_options(options, report_fault)
        if "style" in values:
            self._resolve_style(values, folder, report_fault)
        return values

    def _resolve_style(self, values: Values, folder: Path, report_fault: ReportFault) -> None:
        """Replace a style, which may be a name, by its path; a fault is left out."""
        text = values.pop("style")
        if "prompt" in values:
            report_fault("style", "`prompt` and `style` exclude each other")
            return
        try:
            values["style"] = self._find_style(text, folder)
        except VastError as error:
            report_fault("style", f"{error.message}; {error.hint}")

    def _value(self, key: str, text: str, folder: Path) -> Any:
        if key != "style" and is_path(key, text):
            return os.path.join(folder, text)  # noqa: PTH118 - 100,000 of them
        if key == "output":
            return self._parse_template(text, folder)
        return check_id(text) if key == "id" else text

    def parse_strictly(self, cells: Mapping[str, Any], folder: Path, label: Callable[[str], str]) -> Values:
        """The values of a command line or of the environment; the first fault is raised.

        Args:
            cells: key -> value.
            folder: where relative paths start.
            label: what users call a key, for messages.

        Raises:
            VastError: `vast_option_invalid`.
        """

        def raise_fault(key: str, text: str) -> None:
            raise VastError("vast_option_invalid", f"{label(key)}: {text}")

        known: dict[str, Any] = {}
        for name, cell in cells.items():
            try:
                known[key_of(name)] = cell
            except ValueError as error:
                raise_fault(name, str(error))
        if known.get("id") is not None:
            raise_fault("id", "is the name of one job and cannot be set")
        return self.parse(known, folder, raise_fault)


def is_path(key: str, text: str) -> bool:
    """Whether the value of a key can only be a path: an avatar or a style may be a name, too."""
    if key == "style":
        return styles.is_path(text)
    return key in FILES or (key == "avatar" and (has_separator(text) or text.endswith(".avatar")))


def names_file(key: str, text: str) -> bool:
    """Whether the value of a key means a file, seen from the current folder: a file goes before the name of a style."""
    return is_path(key, text) or (key == "style" and os.path.isfile(text))  # noqa: PTH113 - never raises


def has_separator(text: str) -> bool:
    """Whether a text is a path of more than one part."""
    return "/" in text or os.sep in text

"""Collects all faults of a manifest, so that one error reports them in the order of its rows."""

import re
from pathlib import Path

from vast_cli.core.errors import VastError

MAX_PRINTED = 50
MAX_KEPT = 10_000  # a file of another kind has a fault in every cell
MAX_LINE = 500


class Faults:
    """Collects faults while a manifest is read.

    Args:
        noun: what a key of the manifest is called: `column` or `key`.
    """

    def __init__(self, noun: str = "key") -> None:
        self.noun = noun
        self._orders: dict[str, int] = {}  # line -> its order

    def __bool__(self) -> bool:
        return bool(self._orders)

    def add(self, where: str, text: str, *, key: str | None = None, order: int = 0) -> None:
        """Add a fault.

        Args:
            where: its place: `row 12`, or empty.
            text: what is wrong.
            key: in which key.
            order: faults are printed in this order; 0 comes first.
        """
        place = ", ".join(part for part in (where, f"{self.noun} {key}" if key else "") if part)
        if len(self._orders) < MAX_KEPT:
            self._orders.setdefault(_printable(f"{place}: {text}" if place else text), order)

    def check(self, path: Path | None) -> None:
        """Raise if there is any fault.

        Raises:
            VastError: `vast_manifest_invalid` with a line for each.
        """
        if not self._orders:
            return
        lines = sorted(self._orders, key=self._orders.__getitem__)
        more = len(lines) - MAX_PRINTED
        if more > 0:
            at_least = "at least " if len(lines) == MAX_KEPT else ""
            lines = [*lines[:MAX_PRINTED], f"and {at_least}{more} more"]
        raise manifest_error(path, "\n".join(lines))


def manifest_error(path: Path | None, text: str) -> VastError:
    """The error of a manifest; `path` is None for standard input."""
    return VastError("vast_manifest_invalid", text, where="standard input" if path is None else str(path))


def _printable(text: str) -> str:
    """One line without control characters, whatever a cell holds."""
    text = text if len(text) <= MAX_LINE else text[:MAX_LINE] + "..."
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: ascii(match.group())[1:-1], text)
    return text.encode(errors="backslashreplace").decode()

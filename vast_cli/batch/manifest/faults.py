"""Every fault of a manifest at once, in the order of its rows."""

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
        self._found: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, where: str, text: str, *, key: str | None = None, order: int = 0) -> None:
        """A fault: where it is (`row 12`, or nothing), in which key, and what is wrong.

        Args:
            order: faults are printed by it; 0 comes first.
        """
        place = ", ".join(part for part in (where, f"{self.noun} {key}" if key else "") if part)
        if len(self._found) < MAX_KEPT:
            self._found.setdefault(_printable(f"{place}: {text}" if place else text), order)

    def check(self, path: Path | None) -> None:
        """Raise if there is any fault.

        Raises:
            VastError: `vast_manifest_invalid` with a line for each.
        """
        if not self._found:
            return
        lines = [text for text, _ in sorted(self._found.items(), key=lambda item: item[1])]
        more = len(lines) - MAX_PRINTED
        if more > 0:
            atleast = "at least " if len(lines) == MAX_KEPT else ""
            lines = [*lines[:MAX_PRINTED], f"and {atleast}{more} more"]
        raise VastError(
            "vast_manifest_invalid", "\n".join(lines), where="standard input" if path is None else str(path)
        )


def _printable(text: str) -> str:
    """One line of text that no terminal obeys, whatever a cell holds."""
    text = text if len(text) <= MAX_LINE else text[:MAX_LINE] + "..."
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: ascii(match.group())[1:-1], text)
    return text.encode(errors="backslashreplace").decode()

"""What a lip reader reads: word and character error rates, with a program that the user brings (`--lip-reader`).

Rates are sums of errors over sums of words, never means of rates; they may exceed 1.
"""

import importlib.util
import unicodedata
from math import sqrt
from pathlib import Path
from typing import NamedTuple

from vast_cli.evaluate.external.command import TIMEOUT_S, Program

Z_95 = 1.959963984540054


class Errors(NamedTuple):
    """Substitutions, deletions and insertions, and how much was said."""

    errors: int
    total: int  # words, or characters, of the transcript


class LipReader(Program):
    """A program that prints what the lips in a video say."""

    def read(self, video: Path, *, timeout_s: float = TIMEOUT_S) -> str:
        """The text read off a video; empty if it read nothing.

        Raises:
            VastError: `vast_timeout`, `vast_worker_died`, `vast_record_invalid`.
        """
        return self._command.ask(video, timeout_s=timeout_s)


def available() -> bool:
    """Whether errors can be counted: jiwer, of the extra `vast-avatar[evaluate]`, is installed."""
    return importlib.util.find_spec("jiwer") is not None


def normalise(text: str) -> str:
    """NFKC, lower case, without punctuation, one space between words."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c for c in plain if not unicodedata.category(c).startswith("P")).split())


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Errors in words of what was read against what was said; needs `available()`."""
    said, read = normalise(reference), normalise(hypothesis)
    if not said:
        return Errors(len(read.split()), 0)
    import jiwer

    found = jiwer.process_words(said, read)
    return Errors(found.substitutions + found.deletions + found.insertions, len(said.split()))


def character_errors(reference: str, hypothesis: str) -> Errors:
    """Errors in characters, spaces between words included; needs `available()`."""
    said, read = normalise(reference), normalise(hypothesis)
    if not said:
        return Errors(len(read), 0)
    import jiwer

    found = jiwer.process_characters(said, read)
    return Errors(found.substitutions + found.deletions + found.insertions, len(said))


def wilson(errors: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None where errors outnumber the total: then it is no share."""
    if total <= 0 or not 0 <= errors <= total:
        return None
    share, z2 = errors / total, Z_95**2 / total
    middle = (share + z2 / 2) / (1 + z2)
    half = sqrt(share * (1 - share) * z2 + z2 * z2 / 4) / (1 + z2)
    return max(middle - half, 0.0), min(middle + half, 1.0)

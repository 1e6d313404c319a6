"""Word and character error rates of a lip reader, a program that the user brings (`--lip-reader`).

Rates are sums of errors over sums of words, never means of rates; they may exceed 1.
"""

import importlib.util
import unicodedata
from math import sqrt
from pathlib import Path
from typing import NamedTuple

from vast_cli.evaluate.external.command import TIMEOUT_S, Program

Z_95 = 1.959963984540054


class ErrorCount(NamedTuple):
    """Substitutions, deletions and insertions, and the length of the transcript."""

    errors: int
    total: int  # words or characters


class LipReader(Program):
    """A program that prints the words it reads off the lips in a video."""

    def read(self, video: Path, *, timeout_s: float = TIMEOUT_S) -> str:
        """The text read off a video; empty if the program reads nothing.

        Raises:
            VastError: `vast_timeout`, `vast_worker_died`, `vast_record_invalid`.
        """
        return self._command.run(video, timeout_s=timeout_s)


def available() -> bool:
    """Whether errors can be counted: jiwer, of the extra `vast-avatar[evaluate]`, is installed."""
    return importlib.util.find_spec("jiwer") is not None


def normalise(text: str) -> str:
    """NFKC, lower case, without punctuation, one space between words."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c for c in plain if not unicodedata.category(c).startswith("P")).split())


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Word errors of `hypothesis`, the text read, against the transcript; needs `available()`."""
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    if not reference:
        return ErrorCount(len(hypothesis.split()), 0)
    import jiwer

    result = jiwer.process_words(reference, hypothesis)
    return ErrorCount(result.substitutions + result.deletions + result.insertions, len(reference.split()))


def character_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Character errors, spaces between words included; needs `available()`."""
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    if not reference:
        return ErrorCount(len(hypothesis), 0)
    import jiwer

    result = jiwer.process_characters(reference, hypothesis)
    return ErrorCount(result.substitutions + result.deletions + result.insertions, len(reference))


def wilson(errors: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None where the errors outnumber the total, so that it is no share."""
    if total <= 0 or not 0 <= errors <= total:
        return None
    share, z2 = errors / total, Z_95**2 / total
    middle = (share + z2 / 2) / (1 + z2)
    half = sqrt(share * (1 - share) * z2 + z2 * z2 / 4) / (1 + z2)
    return max(middle - half, 0.0), min(middle + half, 1.0)

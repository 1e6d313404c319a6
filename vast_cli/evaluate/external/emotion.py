"""The emotion a face shows, by a program that the user brings (`--emotion-model`)."""

import json
import math
from pathlib import Path

from vast_cli.core.errors import VastError
from vast_cli.evaluate.external.command import TIMEOUT_S, Program

SUM_TOLERANCE = 0.02  # printed probabilities are rounded


class EmotionModel(Program):
    """A program that prints one JSON object of label to probability about a video."""

    def probabilities(self, video: Path, *, timeout_s: float = TIMEOUT_S) -> dict[str, float]:
        """Probability of each emotion, by label, summing to 1.

        Raises:
            VastError: `vast_timeout`, `vast_worker_died`, `vast_record_invalid` (no such object).
        """
        line = self._command.run(video, timeout_s=timeout_s)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._invalid(video, f"no JSON: {error}") from error
        if not isinstance(answer, dict) or not answer:
            raise self._invalid(video, "no JSON object of labels")
        for label, value in answer.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise self._invalid(video, f"no probability for `{label[:40]}`")
        total = math.fsum(answer.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise self._invalid(video, f"probabilities that sum to {total:.3f}")
        return {label: value / total for label, value in answer.items()}

    def _invalid(self, video: Path, problem: str) -> VastError:
        message = f"`{self.command}` printed {problem} about `{video}`"
        return VastError(
            "vast_record_invalid", message, hint='it must print one line such as {"happy": 0.9, "sad": 0.1}'
        )

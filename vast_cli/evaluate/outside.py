"""Judges that are not ours and do not ship: they answer when their user supplies them, and only then."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the user supplied."""

    syncnet_weights: Path | None = None
    inception_weights: Path | None = None
    lip_reader: str | None = None  # command with {video}
    emotion_model: str | None = None  # command with {video}

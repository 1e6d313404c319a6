"""What a video was made from: a JSON file beside it and tags in its container. Every output is marked as synthetic."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli import __version__
from vast_cli.core import files, timebase
from vast_cli.store import assets

FORMAT_VERSION = 1


def tags(avatar: str, *, fingerprint: str | None = None) -> dict[str, str]:
    """Metadata tags of a video's container."""
    marks = {"comment": f"synthetic video made by vast {__version__}, avatar {avatar}", "synthetic": "true"}
    return marks if fingerprint is None else marks | {"fingerprint": fingerprint}


def path_of(video: Path) -> Path:
    """Path of the sidecar of `video`."""
    return video.with_name(video.name + ".json")


@dataclass(frozen=True)
class Provenance:
    """What a video was made from.

    Attributes:
        fingerprint: of the batch job that made it.
        inputs: role -> name and SHA-256 of a file that went in.
        options: options that shaped the result.
        avatar_card: card of the avatar, for subject, licence and consent.
        limited_share: share of frames limited to the avatar's range.
        warnings: shown to the user.
    """

    fingerprint: str | None
    inputs: Mapping[str, tuple[str, str]]
    options: Mapping[str, Any]
    avatar_card: Mapping[str, Any]
    limited_share: float
    warnings: Sequence[str]

    def document(self, name: str, *, sha256: str, n_frames: int, n_samples: int) -> dict[str, Any]:
        """The sidecar of a finished video (schema: `vast schema sidecar`).

        Args:
            name: the video's final name, without its folder.
            sha256: hash of its bytes.
            n_frames: frames of the video.
            n_samples: 16 kHz samples of its audio.
        """
        return {
            "format": "vast.sidecar",
            "format_version": FORMAT_VERSION,
            "producer": f"vast {__version__}",
            "synthetic": True,
            "fingerprint": self.fingerprint,
            "output": {
                "file": name,
                "sha256": sha256,
                "n_frames": n_frames,
                "duration_s": timebase.audio_seconds(n_samples),
                "fps": timebase.FPS,
            },
            "inputs": {role: {"name": file, "sha256": digest} for role, (file, digest) in self.inputs.items()},
            "avatar": {key: self.avatar_card.get(key) for key in ("name", "subject", "licence", "consent")},
            "models": {asset_name: asset.sha256 for asset_name, asset in assets.index().items()},
            "options": dict(self.options),
            "limited_share": self.limited_share,
            "warnings": list(self.warnings),
        }


def write(video: Path, content: Mapping[str, Any]) -> Path:
    """Write the `document` of a video beside it.

    Raises:
        VastError: as `files.atomic_write`.
    """
    target = path_of(video)
    with files.atomic_write(target) as part:
        part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target

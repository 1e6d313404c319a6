"""What a video was made from: a JSON file beside it and tags inside it. Every output says that it is synthetic."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vast_cli import __version__, assets, files, timebase

FORMAT_VERSION = 1


def tags(avatar: str) -> dict[str, str]:
    """Metadata tags of a video's container."""
    return {"comment": f"synthetic video made by vast {__version__}, avatar {avatar}", "synthetic": "true"}


def path_of(video: Path) -> Path:
    """Where the sidecar of `video` lies."""
    return video.with_name(video.name + ".json")


def write(
    video: Path,
    *,
    inputs: Mapping[str, Path],
    options: Mapping[str, Any],
    avatar_card: Mapping[str, Any],
    n_frames: int,
    n_samples: int,
    limited_share: float,
    warnings: list[str],
) -> Path:
    """Write the sidecar of a finished video (schema: `vast schema sidecar`).

    Args:
        video: the finished file; it is hashed.
        inputs: role -> file that went in.
        options: options that shaped the result.
        avatar_card: card of the avatar, for subject, licence and consent.
        n_frames: frames of the video.
        n_samples: 16 kHz samples of its sound.
        limited_share: share of frames the limiter touched.
        warnings: what the user was told.
    """
    document = {
        "format": "vast.sidecar",
        "format_version": FORMAT_VERSION,
        "producer": f"vast {__version__}",
        "synthetic": True,
        "output": {
            "file": video.name,
            "sha256": files.sha256(video),
            "n_frames": n_frames,
            "duration_s": n_samples / timebase.SAMPLE_RATE,
            "fps": timebase.FPS,
        },
        "inputs": {role: {"name": path.name, "sha256": files.sha256(path)} for role, path in inputs.items()},
        "avatar": {key: avatar_card.get(key) for key in ("name", "subject", "licence", "consent")},
        "models": {name: asset.sha256 for name, asset in assets.index().items()},
        "options": dict(options),
        "limited_share": limited_share,
        "warnings": warnings,
    }
    target = path_of(video)
    with files.atomic_write(target) as part:
        part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return target

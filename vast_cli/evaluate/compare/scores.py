"""Documents of `vast evaluate --json`: read, and matched with the videos they speak of."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent

# what is shown under a video unless told otherwise, the first that were measured
SHOWN = (
    "ssim_mouth", "lmd_mouth", "lmd_mouth_corr", "lip_gain", "cpbd_ratio", "lagsync_lag", "lagsync_margin",
    "lip_audio_lag", "dvt_x", "identity_dist",
)  # fmt: skip
N_SHOWN = 8
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Clip:
    """One clip of a document."""

    id: str
    output: Path
    speaker: str | None
    values: dict[str, float | None]
    controls: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Document:
    """What `vast evaluate --json` wrote."""

    path: Path
    clips: list[Clip]
    better: dict[str, str]  # measure -> which way is good, where the document says so

    @property
    def measures(self) -> list[str]:
        """Names of all measures, in the document's order."""
        return list(dict.fromkeys(name for clip in self.clips for name in clip.values))


def read_document(path: Path) -> Document:
    """Read an evaluation.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    files.check_input(path)
    if path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is larger than any evaluation")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("clips"), list):
            raise TypeError("it has no list `clips`")
        clips = [_clip(clip) for clip in found["clips"]]
        better = {
            str(name): str(entry["better"])
            for name, entry in dict(found.get("measures") or {}).items()
            if isinstance(entry, Mapping) and entry.get("better")
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise VastError(
            "vast_record_invalid",
            f"`{path}` is no evaluation: {error}",
            hint="`vast evaluate ... --json > FILE` writes one",
        ) from error
    return Document(path, clips, better)


def _clip(clip: Mapping[str, Any]) -> Clip:
    output = Path(str(clip["output"]))
    measures = clip["measures"]
    speaker = clip.get("speaker")
    return Clip(
        id=str(clip.get("id") or output.stem),
        output=output,
        speaker=None if speaker is None else str(speaker),
        values={str(name): _number(entry.get("value")) for name, entry in measures.items()},
        controls={
            str(name): {str(key): _number(value) for key, value in (entry.get("controls") or {}).items()}
            for name, entry in measures.items()
        },
    )


def _number(value: object) -> float | None:
    """A finite number; None for null and for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def read_scores(
    documents: Sequence[Path], videos: Sequence[Path], *, shown: Sequence[str] | None = None
) -> list[dict[str, float | None]]:
    """Scores of videos out of evaluations, the same measures in the same order for all.

    A clip belongs to the video that its output is, else to the only one of its stem: two folders often hold clips of
    the same names, and the figures of one must never stand under the other.

    Args:
        documents: files of `vast evaluate --json`.
        videos: of the comparison.
        shown: measures to show; the first `N_SHOWN` of `SHOWN` that any video has if not given.

    Returns:
        One dict a video; empty for a video that no document has.

    Raises:
        VastError: `vast_record_invalid`, `vast_option_invalid` if no video or not one such measure is known.
    """
    clips = [clip for path in documents for clip in read_document(path).clips]
    found = _matched(clips, videos)
    if not any(found):
        raise VastError(
            "vast_option_invalid",
            f"{', '.join(f'`{path}`' for path in documents)} speaks of none of the videos",
            hint="evaluate them, or name them as they were evaluated",
        )
    return _chosen(found, shown)


def measure_scores(
    videos: Sequence[Path],
    *,
    reference: Path | None = None,
    shown: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[dict[str, float | None]]:
    """Evaluate the videos here and now; as `read_scores` otherwise.

    Args:
        videos: of the comparison.
        reference: the true video that all of them are held against.
        shown: measures to show.
        seed: of the evaluation.
        progress: told of the videos.

    Raises:
        VastError: of videos that cannot be read; `vast_option_invalid` of an unknown measure.
    """
    from vast_cli.evaluate import engine
    from vast_cli.evaluate.observation.clip import Pair

    pairs = [Pair(str(index), video, reference) for index, video in enumerate(videos)]
    document = engine.evaluate(pairs, engine.Settings(seed=seed), progress=progress)
    for clip in document["clips"]:
        if clip["error"]:
            raise VastError(clip["error"]["code"], clip["error"]["message"], hint=clip["error"]["hint"])
    return _chosen([_clip(clip) for clip in document["clips"]], shown)


def _chosen(found: Sequence[Clip | None], shown: Sequence[str] | None) -> list[dict[str, float | None]]:
    """The measures to show of each video."""
    values = [clip.values for clip in found if clip is not None]
    known = {name for one in values for name in one}
    if shown is None:
        measured = {name for one in values for name, value in one.items() if value is not None}
        listed = [name for name in SHOWN if name in measured]
        shown = (listed or [name for name in values[0] if name in measured])[:N_SHOWN]
    for name in shown:
        if name not in known:
            raise VastError("vast_option_invalid", f"no measure `{name}`", hint=f"there are {', '.join(sorted(known))}")
    return [{} if clip is None else {name: clip.values.get(name) for name in shown} for clip in found]


def _matched(clips: Sequence[Clip], videos: Sequence[Path]) -> list[Clip | None]:
    """The clip of each video: by path first, then what is left by stem where that can mean only one."""
    found: list[Clip | None] = []
    for video in videos:
        same = [clip for clip in clips if clip.output.absolute() == video.absolute()]
        found.append(same[-1] if same else None)
    taken = {id(clip) for clip in found}
    for k, video in enumerate(videos):
        alike = [clip for clip in clips if clip.output.stem == video.stem and id(clip) not in taken]
        rivals = [other for other in videos if other.stem == video.stem]
        if found[k] is None and len(alike) == 1 and len(rivals) == 1:
            found[k] = alike[0]
    return found

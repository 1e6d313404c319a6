"""Reads documents of `vast evaluate --json` and matches their clips with videos."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent

# measures shown by default, in this order
DEFAULT_MEASURES = (
    "ssim_mouth", "lmd_mouth", "lmd_mouth_corr", "lip_gain", "cpbd_ratio", "lagsync_lag", "lagsync_margin",
    "lip_audio_lag", "dvt_x", "identity_dist",
)  # fmt: skip
N_SHOWN = 8  # of them, under a video
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class EvaluatedClip:
    """One clip of an evaluation."""

    id: str
    output: Path
    speaker: str | None
    values: dict[str, float | None]
    controls: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Evaluation:
    """A document of `vast evaluate --json`."""

    path: Path
    clips: list[EvaluatedClip]
    better: dict[str, str]  # measure -> good direction, where the document has one

    @property
    def measures(self) -> list[str]:
        """Names of all measures, in the document's order."""
        return list(dict.fromkeys(name for clip in self.clips for name in clip.values))


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    files.check_input(path)
    if path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is too large for an evaluation")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("clips"), list):
            raise TypeError("it has no list `clips`")
        clips = [_parse_clip(clip) for clip in document["clips"]]
        better = {
            str(name): str(entry["better"])
            for name, entry in dict(document.get("measures") or {}).items()
            if isinstance(entry, Mapping) and entry.get("better")
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise VastError(
            "vast_record_invalid",
            f"`{path}` is no evaluation: {error}",
            hint="`vast evaluate ... --json > FILE` writes one",
        ) from error
    return Evaluation(path, clips, better)


def _parse_clip(clip: Mapping[str, Any]) -> EvaluatedClip:
    output = Path(str(clip["output"]))
    measures = clip["measures"]
    speaker = clip.get("speaker")
    return EvaluatedClip(
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
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def read_scores(
    documents: Sequence[Path], videos: Sequence[Path], *, shown: Sequence[str] | None = None
) -> list[dict[str, float | None]]:
    """Scores of videos from evaluations, the same measures in the same order for all.

    A clip belongs to the video with the path of its output, else to the only video with its stem: two folders often
    hold clips of the same names, and the scores of one must never be shown under the other.

    Args:
        documents: files of `vast evaluate --json`.
        videos: of the comparison.
        shown: measures to show; by default the first `N_SHOWN` of `DEFAULT_MEASURES` that any video has.

    Returns:
        One dict a video; empty for a video that no document mentions.

    Raises:
        VastError: `vast_record_invalid`, `vast_option_invalid` if no document mentions any of the videos or has such
            a measure.
    """
    clips = [clip for path in documents for clip in read_evaluation(path).clips]
    matched = _match_clips(clips, videos)
    if not any(matched):
        raise VastError(
            "vast_option_invalid",
            f"{', '.join(f'`{path}`' for path in documents)} mentions none of the videos",
            hint="evaluate them, or give the same paths as in the evaluation",
        )
    return _choose_measures(matched, shown)


def measure_scores(
    videos: Sequence[Path],
    *,
    reference: Path | None = None,
    shown: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[dict[str, float | None]]:
    """Evaluate the videos now; otherwise as `read_scores`.

    Args:
        videos: of the comparison.
        reference: the true video that all of them are compared with.
        shown: measures to show.
        seed: of the evaluation.
        progress: called with the number of videos done.

    Raises:
        VastError: that of a video that cannot be evaluated; `vast_option_invalid` for an unknown measure.
    """
    from vast_cli.evaluate import engine
    from vast_cli.evaluate.observation.clip import Pair

    pairs = [Pair(str(index), video, reference) for index, video in enumerate(videos)]
    document = engine.evaluate(pairs, engine.Settings(seed=seed), progress=progress)
    for clip in document["clips"]:
        if clip["error"]:
            raise VastError(clip["error"]["code"], clip["error"]["message"], hint=clip["error"]["hint"])
    return _choose_measures([_parse_clip(clip) for clip in document["clips"]], shown)


def _choose_measures(
    matched: Sequence[EvaluatedClip | None], shown: Sequence[str] | None
) -> list[dict[str, float | None]]:
    """Values of the measures to show of each video."""
    values = [clip.values for clip in matched if clip is not None]
    known = {name for of_clip in values for name in of_clip}
    if shown is None:
        measured = {name for of_clip in values for name, value in of_clip.items() if value is not None}
        listed = [name for name in DEFAULT_MEASURES if name in measured]
        shown = (listed or [name for name in values[0] if name in measured])[:N_SHOWN]
    for name in shown:
        if name not in known:
            raise VastError("vast_option_invalid", f"no measure `{name}`", hint=f"there are {', '.join(sorted(known))}")
    return [{} if clip is None else {name: clip.values.get(name) for name in shown} for clip in matched]


def _match_clips(clips: Sequence[EvaluatedClip], videos: Sequence[Path]) -> list[EvaluatedClip | None]:
    """The clip of each video: by path first, the rest by stem where the stem is unique on both sides."""
    matched: list[EvaluatedClip | None] = []
    for video in videos:
        same = [clip for clip in clips if clip.output.absolute() == video.absolute()]
        matched.append(same[-1] if same else None)
    taken = {id(clip) for clip in matched}
    for k, video in enumerate(videos):
        same_stem = [clip for clip in clips if clip.output.stem == video.stem and id(clip) not in taken]
        rivals = [other for other in videos if other.stem == video.stem]
        if matched[k] is None and len(same_stem) == 1 and len(rivals) == 1:
            matched[k] = same_stem[0]
    return matched

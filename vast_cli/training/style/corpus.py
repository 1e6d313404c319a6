"""Clips for the style model: tracks and posteriorgrams of the video corpus.

Nothing of split `val` is read. A few train speakers are held out as *dev*: they choose the checkpoint.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli import records
from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Int64
from vast_cli.core.errors import VastError
from vast_cli.expression.nonautoregressive import SILENCE, speech_input
from vast_cli.face import FaceModel
from vast_cli.records import N_PHONES, Posteriorgram
from vast_cli.style.moments import MomentSpace
from vast_cli.training.corpora import audio_offset_s, read_index
from vast_cli.training.tracks import cached_track

log = logging.getLogger(__name__)

# the first eight: train speakers whose audio the acoustic model was not trained on (they have no labels), as it is
# with real users; the others are expressive, to choose settings of the style by
DEV_SPEAKERS = (
    "fi13", "fi16", "fi25", "fi36", "fi50", "fi56", "fi61", "fi65",
    "panel_l", "ad_healthcare_f", "vv_right", "pyfeat_langer", "lia_vox3", "lp_d10", "happyenglish",
)  # fmt: skip
DEV_GRID = 12  # train clips of grid_s1 held out besides
SHARES = {"talk": 0.52, "grid_s1": 0.12, "grid": 0.04, "mead": 0.12, "lrcar": 0.06, "style": 0.14}


@dataclass
class StyleClip:
    """One clip with everything that training needs of it."""

    path: str
    set: str
    group: tuple[str, ...]  # clips of one group show one person in one style
    expression: Float32  # [n, 233]
    weight: Float32  # [n], 0 where no face was found
    identity: Float32  # [478, 3]
    ppgs: list[Float32]  # posteriorgrams [T, 40] of the audio, then of augmented copies; empty without audio
    in_sync: bool  # audio and video fit well enough to learn lips from
    shift: int = 0  # PPG frames by which the speech is taken later than the video
    person: Float32 = field(default_factory=lambda: np.zeros(records.N_EXPRESSION, np.float32))
    # the person's part of the expression as tracked, which was taken out (`remove_person`)

    @property
    def n_frames(self) -> int:
        return len(self.expression)

    def as_tracked(self, part: slice) -> Float32:
        """Expression of the frames `part` with the person's part, [n, 233]."""
        return self.expression[part] + self.person

    def remove_person(self, space: MomentSpace) -> None:
        """Take the person's part out of the expression."""
        tracked = self.as_tracked(slice(None))
        _, _, self.person = space.split(space.measure(tracked, self.weight > 0))
        self.expression = tracked - self.person

    def speech(self, start: int, stop: int, *, copy: int = 0) -> Float32:
        """Decoder input at video frames start .. stop - 1, corrected for the offset of the audio: [n, 200]."""
        return speech_input(shift_frames(self.ppgs[copy], self.shift), start, stop)


def shift_frames(values: Float32, shift: int) -> Float32:
    """Posteriorgram whose frame j is frame j + shift of `values`; silence beyond the ends."""
    if shift == 0:
        return values
    silence = np.zeros((abs(shift), N_PHONES), np.float32)
    silence[:, SILENCE] = 1
    if shift > 0:
        return np.concatenate([values[shift:], silence[: len(values)]])
    return np.concatenate([silence, values])[: len(values)]


def load_clips(
    corpus: Path,
    tracks: Path,
    *,
    face: FaceModel,
    posteriorgrams: Callable[[Path], list[Posteriorgram]],
    weights: Path | None = None,
    split: str = "train",
    sets: tuple[str, ...] = tuple(SHARES),
) -> list[StyleClip]:
    """Read the clips of a split.

    Args:
        corpus: folder with `index.csv`.
        tracks: folder of `.track` files; missing ones are tracked and written there.
        face: the face model of the tracks.
        posteriorgrams: from a clip's file to its posteriorgrams, that of the unchanged audio first.
        weights: folder of the tracker's networks; those that ship with vast if not given.
        split: `train` or `val`.
        sets: sets of the corpus.
    """
    clips = []
    for row in read_index(corpus):
        if row.split != split or row.set not in sets:
            continue
        try:
            track = cached_track(row, tracks, face=face, weights=weights)
        except VastError as error:
            log.warning("left out %s: %s", row.name, error)
            continue
        if track.valid.mean() < 0.5:
            log.warning("left out %s: face lost", row.name)
            continue
        ppgs = [p.values for p in posteriorgrams(row.path)] if row.has_audio else []
        clips.append(
            StyleClip(
                path=row.name,
                set=row.set,
                group=(row.set, row.speaker, row.emotion),
                expression=track.expression,
                weight=track.valid.astype(np.float32),
                identity=track.identity,
                ppgs=ppgs,
                # grid and grid_s1 are in sync as a whole (pooled lip closures); single short clips cannot be measured
                in_sync=bool(ppgs) and (bool(row.sync_ok) or row.set in ("grid", "grid_s1", "lrcar")),
                shift=round(timebase.to_ppg(audio_offset_s(row))),
            )
        )
    return clips


def split_dev(clips: list[StyleClip]) -> tuple[list[StyleClip], list[StyleClip]]:
    """Training clips and the dev clips held out from them."""
    grid = [c.path for c in clips if c.set == "grid_s1"][:: max(1, sum(c.set == "grid_s1" for c in clips) // DEV_GRID)][
        :DEV_GRID
    ]
    dev = [c for c in clips if c.group[1] in DEV_SPEAKERS or c.path in grid]
    chosen = {c.path for c in dev}
    return [c for c in clips if c.path not in chosen and c.group[1] not in DEV_SPEAKERS], dev


def mirror_matrix(face: FaceModel, pairs: Int64) -> Float32:
    """[233, 233] that turns an expression into that of the mirrored face. `pairs` [478]: vertex on the other side."""
    flipped = face.basis.reshape(-1, records.N_VERTICES, 3)[:, pairs] * np.array([-1, 1, 1], np.float32)
    zero = np.zeros((records.N_VERTICES, 3), np.float32)
    result: Float32 = face.encode(flipped + zero, zero).astype(np.float32)
    return result


def person_directions(clips: list[StyleClip], *, count: int = 12, styles: int = 4) -> Float32:
    """Directions in which the mean expressions of persons differ, each as long as its sd between them: [count, 233].

    The directions in which the clips of one person differ (smile, frown) are taken out: they are style, which a style
    code must not learn to ignore.
    """
    persons: dict[tuple[str, str], list[Float32]] = {}
    for clip in clips:
        mean = np.average(clip.expression, axis=0, weights=clip.weight + 1e-6)
        persons.setdefault((clip.set, clip.group[1]), []).append(mean)
    means = np.stack([np.mean(m, 0) for m in persons.values()])
    acted = [np.stack(m) - np.mean(m, 0) for (name, _), m in persons.items() if name == "mead"]
    _, _, within = np.linalg.svd(np.concatenate(acted or [means]), full_matrices=False)
    means = means - means.mean(0)
    means = means - means @ within[:styles].T @ within[:styles]
    _, size, rows = np.linalg.svd(means, full_matrices=False)
    result: Float32 = (rows[:count] * (size[:count] / np.sqrt(max(len(means) - 1, 1)))[:, None]).astype(np.float32)
    return result


def at_pace(values: Float32, start: int, n: int, pace: float) -> Float32:
    """Rows start, start + pace, ... of `values` [N, C], interpolated: [n, C]."""
    if pace == 1.0:
        return values[start : start + n]
    return interpolate_rows(values, start + pace * np.arange(n), outside=None)


def interpolate_rows(values: Float32, position: NDArray[np.floating[Any]], *, outside: int | None = SILENCE) -> Float32:
    """Rows of `values` [N, C] at real positions, interpolated; beyond the ends unit vector `outside`, or the end."""
    last = len(values) - 1
    inside = (position >= -0.5) & (position <= last + 0.5)
    position = np.clip(position, 0, last)
    left = np.minimum(position.astype(np.int64), max(last - 1, 0))
    share = (position - left).astype(np.float32)[:, None]
    rows: Float32 = values[left] * (1 - share) + values[np.minimum(left + 1, last)] * share
    if outside is not None:
        rows[~inside] = np.eye(values.shape[1], dtype=np.float32)[outside]
    return rows


def halves(clips: list[StyleClip]) -> Iterator[tuple[StyleClip, slice, slice]]:
    """Each clip twice: (clip, prompt frames, target frames), one half driving the other."""
    for clip in clips:
        middle = clip.n_frames // 2
        yield clip, slice(0, middle), slice(middle, clip.n_frames)
        yield clip, slice(middle, clip.n_frames), slice(0, middle)

"""Clips for the style model: tracks and posteriorgrams of the video corpus, and the batches drawn from them.

Nothing of split `val` is read. A few train speakers are held out as *dev*: they choose the checkpoint.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli import media, records
from vast_cli.core import timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.expression.nonautoregressive import SILENCE, speech_input
from vast_cli.face import FaceModel, track_video
from vast_cli.records import N_PHONES, FaceTrack, Posteriorgram
from vast_cli.training import corpora
from vast_cli.training.corpora import read_index, sound_offset_s

log = logging.getLogger(__name__)

# train speakers whose sound the acoustic model was not trained on (they have no labels), as it is with real users
DEV_SPEAKERS = ("fi13", "fi16", "fi25", "fi36", "fi50", "fi56", "fi61", "fi65")
DEV_GRID = 12  # train clips of grid_s1 held out besides
SHARES = {"talk": 0.52, "grid_s1": 0.12, "grid": 0.04, "mead": 0.12, "lrcar": 0.06, "style": 0.14}


@dataclass
class Clip:
    """One clip as training sees it."""

    path: str
    set: str
    group: tuple[str, ...]  # clips of one group show one person in one manner
    expression: Float32  # [n, 233]
    weight: Float32  # [n], 0 where no face was seen
    identity: Float32  # [478, 3]
    values: list[Float32]  # posteriorgrams [T, 40] of the sound, then of changed copies; empty without sound
    in_step: bool  # the sound fits the picture well enough to learn lips from
    shift: int = 0  # PPG frames by which the speech is taken later than the picture

    @property
    def n_frames(self) -> int:
        return len(self.expression)

    def speech(self, start: int, stop: int, *, copy: int = 0) -> Float32:
        """Decoder input at video frames start .. stop - 1, corrected for the offset of the sound: [n, 200]."""
        return speech_input(shifted(self.values[copy], self.shift), start, stop)


def shifted(values: Float32, shift: int) -> Float32:
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
) -> list[Clip]:
    """Read the clips of a split.

    Args:
        corpus: folder with `index.csv`.
        tracks: folder of `.track` files; what is missing there is tracked and put there.
        face: the face model of the tracks.
        posteriorgrams: sound of a clip to its posteriorgrams, of the unchanged sound first.
        weights: folder of the tracker's networks; those that ship with vast if not given.
        split: `train` or `val`.
        sets: sets of the corpus.
    """
    clips = []
    for row in read_index(corpus):
        if row.split != split or row.set not in sets:
            continue
        try:
            track = track_of(row, tracks, face=face, weights=weights)
        except VastError as error:
            log.warning("left out %s: %s", row.name, error)
            continue
        if track.valid.mean() < 0.5:
            log.warning("left out %s: face lost", row.name)
            continue
        sound = [p.values for p in posteriorgrams(row.path)] if row.has_audio else []
        clips.append(
            Clip(
                path=row.name,
                set=row.set,
                group=(row.set, row.speaker, row.emotion),
                expression=track.expression,
                weight=track.valid.astype(np.float32),
                identity=track.identity,
                values=sound,
                # grid and grid_s1 are in step as a whole (pooled lip closures); single short clips cannot be measured
                in_step=bool(sound) and (bool(row.sync_ok) or row.set in ("grid", "grid_s1", "lrcar")),
                shift=round(sound_offset_s(row) * timebase.PPG_RATE),
            )
        )
    return clips


def track_of(clip: corpora.Clip, tracks: Path, *, face: FaceModel, weights: Path | None = None) -> FaceTrack:
    """Track of a clip of the corpus: from the folder, or made now and put there.

    Raises:
        VastError: `vast_no_face`, `vast_face_lost`, `vast_model_mismatch`.
    """
    path = tracks / f"{clip.key}.track"
    if not path.exists():
        with media.VideoReader(clip.path) as video:
            track = track_video(video, model=face, source=clip.path.name, weights=weights)
        track.save(path)
    return records.load(FaceTrack, path, model_hash=face.hash)


def split_dev(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Training clips and the dev clips held out from them."""
    grid = [c.path for c in clips if c.set == "grid_s1"][:: max(1, sum(c.set == "grid_s1" for c in clips) // DEV_GRID)][
        :DEV_GRID
    ]
    dev = [c for c in clips if (c.set == "talk" and c.group[1] in DEV_SPEAKERS) or c.path in grid]
    chosen = {c.path for c in dev}
    return [c for c in clips if c.path not in chosen and c.group[1] not in DEV_SPEAKERS], dev


def mirror_matrix(face: FaceModel, pairs: np.ndarray) -> Float32:
    """[233, 233] that turns an expression into that of the mirrored face. `pairs` [478]: vertex on the other side."""
    flipped = face.basis.reshape(-1, records.N_VERTICES, 3)[:, pairs] * np.array([-1, 1, 1], np.float32)
    zero = np.zeros((records.N_VERTICES, 3), np.float32)
    result: Float32 = face.encode(flipped + zero, zero).astype(np.float32)
    return result


def person_directions(clips: list[Clip], *, count: int = 12, manners: int = 4) -> Float32:
    """Directions in which the mean expressions of persons differ, each as long as its sd between them: [count, 233].

    The directions in which the clips of one person differ (smile, frown) are taken out: they are manner, and a style
    must not learn to ignore them.
    """
    people: dict[tuple[str, str], list[Float32]] = {}
    for clip in clips:
        mean = np.average(clip.expression, axis=0, weights=clip.weight + 1e-6)
        people.setdefault((clip.set, clip.group[1]), []).append(mean)
    means = np.stack([np.mean(m, 0) for m in people.values()])
    acted = [np.stack(m) - np.mean(m, 0) for (name, _), m in people.items() if name == "mead"]
    _, _, manner = np.linalg.svd(np.concatenate(acted or [means]), full_matrices=False)
    means = means - means.mean(0)
    means = means - means @ manner[:manners].T @ manner[:manners]
    _, size, rows = np.linalg.svd(means, full_matrices=False)
    result: Float32 = (rows[:count] * (size[:count] / np.sqrt(max(len(means) - 1, 1)))[:, None]).astype(np.float32)
    return result


def at_pace(values: Float32, start: int, n: int, pace: float) -> Float32:
    """Rows start, start + pace, ... of `values` [N, C], interpolated: [n, C]."""
    return values[start : start + n] if pace == 1.0 else between(values, start + pace * np.arange(n), outside=None)


def between(values: Float32, position: np.ndarray, *, outside: int | None = SILENCE) -> Float32:
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


def halves(clips: list[Clip]) -> Iterator[tuple[Clip, slice, slice]]:
    """Each clip twice: (clip, prompt frames, target frames), one half driving the other."""
    for clip in clips:
        middle = clip.n_frames // 2
        yield clip, slice(0, middle), slice(middle, clip.n_frames)
        yield clip, slice(middle, clip.n_frames), slice(0, middle)

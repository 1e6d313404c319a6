"""Clips and models for `benchmarks/style.py`: people that a style model never saw, their halves, and what it predicts.

A split is `val` (people that nothing was trained on), `dev` (train speakers held out by `training.style.corpus`, so
that settings can be chosen without looking at val) or `train` (seen people: how much is learned at all).
"""

import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import style_figures as figures

from vast_cli import media, records
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.expression import ExpressionModel, load_expression_model, predict
from vast_cli.face import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.records import FaceTrack, Posteriorgram
from vast_cli.speech import extract_ppg, load_acoustic_model
from vast_cli.speech.acoustic import AcousticModel
from vast_cli.store import assets
from vast_cli.style import StyleModel, encode_style, load_style_model
from vast_cli.training.corpora import CorpusClip, audio_offset_s, read_index
from vast_cli.training.style.corpus import shift_frames, split_dev
from vast_cli.training.tracks import cached_track

log = logging.getLogger(__name__)

SETS = ("talk", "style", "mead", "grid_s1")
LEAST_FRAMES = 75  # of a half: prompts of 3 s
BEFORE, AFTER = 25, 12  # frames of audio around what is measured
TRAIN_PEOPLE, TRAIN_GRID = 48, 20  # of split `train`: people, clips of grid_s1


@dataclass(frozen=True)
class Models:
    """The models under test."""

    face: FaceModel
    style: StyleModel
    expression: ExpressionModel

    @classmethod
    def load(cls, style: Path | None) -> "Models":
        return cls(FaceModel.load(), load_style_model(style), load_expression_model(style))

    @functools.cached_property
    def measures(self) -> dict[str, figures.Array]:
        """Measures of the face as directions, `figures.face_measures`."""
        return figures.face_measures(self.face)

    @functools.cached_property
    def lips(self) -> list[int]:
        """Vertices of the lips."""
        sets = Topology.load().sets
        return sorted({*sets["lips_inner"].tolist(), *sets["lips_outer"].tolist()})


@dataclass(frozen=True)
class Clip:
    """A clip of one person."""

    row: CorpusClip
    track: FaceTrack
    raw_ppg: Posteriorgram | None = None  # as the file has it; None without audio

    @functools.cached_property
    def ppg(self) -> Posteriorgram | None:
        """Speech moved to fit the video, by the corpus' constant offset of the clip."""
        if self.raw_ppg is None:
            return None
        moved = shift_frames(self.raw_ppg.values, round(50 * audio_offset_s(self.row)))
        return replace(self.raw_ppg, values=np.ascontiguousarray(moved))

    @property
    def n(self) -> int:
        return self.track.n_frames

    @property
    def halves(self) -> tuple[slice, slice]:
        return slice(0, self.n // 2), slice(self.n // 2, self.n)

    def expression(self, part: slice | None = None) -> Float32:
        """Tracked expression of the frames that are valid."""
        part = part or slice(0, self.n)
        result: Float32 = self.track.expression[part][self.track.valid[part]]
        return result

    @property
    def in_sync(self) -> bool:
        """Lips can be measured: speech that belongs to the picture."""
        return self.ppg is not None and (bool(self.row.sync_ok) or self.row.set == "grid_s1")


# --- loading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listed:
    """What `split_dev` asks of a clip."""

    path: str
    set: str
    group: tuple[str, ...]


def rows_of_split(corpus: Path, split: str, *, everyone: bool = False) -> list[CorpusClip]:
    """Rows of the index that belong to `val`, `dev` or `train` (of that some people only, unless `everyone`)."""
    rows = [row for row in read_index(corpus) if row.set in SETS]
    if split == "val":
        return [row for row in rows if row.split == "val"]
    rows = [row for row in rows if row.split == "train"]
    listed = [_Listed(row.name, row.set, (row.set, row.speaker, row.emotion)) for row in rows]
    seen, held_out = split_dev(listed)  # type: ignore[arg-type, type-var]
    names = {clip.path for clip in (held_out if split == "dev" else seen)}
    rows = [row for row in rows if row.name in names]
    return rows if everyone or split == "dev" else _some_people(rows)


def acted_rows(corpus: Path) -> list[CorpusClip]:
    """Rows of all splits that show one named emotion."""
    return [row for row in read_index(corpus) if row.set in ("mead", "style") and row.emotion not in ("", "mixed")]


def _some_people(rows: list[CorpusClip]) -> list[CorpusClip]:
    """Clips of every n-th person who speaks, and all acted ones."""
    people = sorted({row.speaker for row in rows if row.set in ("talk", "style")})
    chosen = set(people[:: max(1, len(people) // TRAIN_PEOPLE)]) | {row.speaker for row in rows if row.set == "mead"}
    grid = [row for row in rows if row.set == "grid_s1"][:TRAIN_GRID]
    return [row for row in rows if row.speaker in chosen] + grid


def load_tracked(rows: list[CorpusClip], tracks: Path, face: FaceModel, *, tracked_only: bool = True) -> list[Clip]:
    """Clips with their tracks and without speech; those in which the face is lost are left out.

    Args:
        rows: of the index.
        tracks: folder of `.track` files.
        face: the face model.
        tracked_only: leave out clips without a track, else track them.
    """
    clips = []
    for row in rows:
        if tracked_only and not (tracks / f"{row.key}.track").exists():
            continue
        try:
            track = cached_track(row, tracks, face=face)
        except VastError as error:
            log.warning("left out %s: %s", row.name, error)
            continue
        if track.valid.mean() >= 0.5:
            clips.append(Clip(row, track))
    return clips


def with_speech(clips: list[Clip], cache: Path) -> list[Clip]:
    """The clips with the posteriorgrams of those that have audio.

    Args:
        clips: from `load_tracked`.
        cache: folder `style/` of the training's work folder; posteriorgrams it lacks are kept beside its own.
    """
    acoustic = load_acoustic_model(assets.find("acoustic"))
    return [
        replace(clip, raw_ppg=_posteriorgram(clip.row, cache, acoustic)) if clip.row.has_audio else clip
        for clip in clips
    ]


def _posteriorgram(row: CorpusClip, cache: Path, acoustic: AcousticModel) -> Posteriorgram:
    """Of the clean audio: the training's if it is there, else of a cache of its own."""
    of_training = cache / "ppg" / acoustic.hash / f"{row.key}.clean.ppg"
    path = of_training if of_training.exists() else cache / "ppg-clean" / acoustic.hash / f"{row.key}.ppg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        extract_ppg([media.load_audio(row.path)], acoustic).save(path)
    return records.load(Posteriorgram, path)


def choose_people(clips: list[Clip]) -> list[Clip]:
    """The longest clip of each person whose halves both have 3 s of face."""
    chosen: dict[str, Clip] = {}
    for clip in clips:
        if clip.row.set not in ("talk", "style") or clip.row.style == "expressions":
            continue
        if min(int(clip.track.valid[half].sum()) for half in clip.halves) < LEAST_FRAMES:
            continue
        best = chosen.get(clip.row.speaker)
        if best is None or clip.n > best.n:
            chosen[clip.row.speaker] = clip
    return list(chosen.values())


def choose_audio(clips: list[Clip], *, n_frames: int, count: int) -> list[Clip]:
    """Speech of different people, long enough; the longest clips first."""
    chosen: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda c: (-c.n, c.row.name)):
        if clip.row.set == "talk" and clip.ppg is not None and clip.ppg.n_frames >= n_frames:
            chosen.setdefault(clip.row.speaker, clip)
    return list(chosen.values())[:count]


# --- predicting ------------------------------------------------------------------------------------------------------


def encode(clip: Clip, models: Models, part: slice | None = None) -> Float32:
    """Style vector of some frames of a clip, with its speech where it has any."""
    part = part or slice(0, clip.n)
    ppg = None if clip.ppg is None else cut(clip.ppg, part)
    return encode_style(clip.track.at_frames(part), models.style, ppg=ppg).vector


def cut(ppg: Posteriorgram, part: slice) -> Posteriorgram:
    """Speech of some video frames."""
    values = ppg.values[2 * part.start : 2 * part.stop]
    return replace(ppg, values=np.ascontiguousarray(values), n_samples=640 * (part.stop - part.start))


def fill(ppg: Posteriorgram, n: int) -> Posteriorgram:
    """Speech of n video frames; shorter speech is repeated."""
    values = np.tile(ppg.values, (-(-2 * n // len(ppg.values)), 1))[: 2 * n]
    return replace(ppg, values=np.ascontiguousarray(values), n_samples=640 * n)


def speak(ppg: Posteriorgram, vector: Float32, models: Models, n: int, *, seed: int = 1) -> Float32:
    """Predicted expression of the first n frames: [n, 233]."""
    return np.concatenate(list(predict(fill(ppg, n), vector, models.expression, seed=seed)))


def speak_part(ppg: Posteriorgram, vector: Float32, models: Models, part: slice, n: int) -> Float32:
    """Predicted expression of some frames of speech of n frames, heard with what is before and after."""
    around = slice(max(0, part.start - BEFORE), min(n, part.stop + AFTER))
    made = speak(cut(fill(ppg, n), around), vector, models, around.stop - around.start)
    return made[part.start - around.start : part.stop - around.start]

"""Styles of the people of the video corpus, each person under each label: what named styles are made from.

All clips of a person under a label are joined and encoded as one prompt. Only split `train` is read.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import media, records
from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.expression.nonautoregressive import SILENCE
from vast_cli.face import FaceModel
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.speech import extract_ppg, load_acoustic_model
from vast_cli.speech.acoustic import AcousticModel
from vast_cli.store import assets
from vast_cli.style import StyleModel, encode_style, mix_styles
from vast_cli.training.corpora import CorpusClip, audio_offset_s, read_index
from vast_cli.training.style.corpus import interpolate_rows
from vast_cli.training.tracks import cached_track

log = logging.getLogger(__name__)

EMOTION, GENRE = "emotion", "genre"  # kinds: emotions differ more than genres
LEAST_FRAMES = 25  # with a face, of a person under a label
UNUSED_SETS = ("avatar",)  # shows recordings of other sets again
SILENT = ("expressions", "silent")  # genres in which nobody speaks


@dataclass(frozen=True)
class Label:
    """A style that the corpus may have.

    Attributes:
        kind: `EMOTION` or `GENRE`.
        words: in the columns `emotion` or `manner` of the index.
        description: for the card.
    """

    kind: str
    words: tuple[str, ...]
    description: str


LABELS: Mapping[str, Label] = {
    "neutral": Label(EMOTION, ("neutral",), "sentences read without expression"),
    "happy": Label(EMOTION, ("happy",), "joy, most of it acted"),
    "sad": Label(EMOTION, ("sad",), "acted sadness"),
    "angry": Label(EMOTION, ("angry",), "acted anger"),
    "surprised": Label(EMOTION, ("surprised",), "acted surprise"),
    "fearful": Label(EMOTION, ("fear",), "acted fear"),
    "disgusted": Label(EMOTION, ("disgusted",), "acted disgust"),
    "contemptuous": Label(EMOTION, ("contempt",), "acted contempt"),
    "address": Label(GENRE, ("address",), "a politician to the camera"),
    "interview": Label(GENRE, ("interview",), "answers in an interview"),
    "lecture": Label(GENRE, ("lecture", "presentation", "speech"), "a talk to an audience"),
    "lesson": Label(GENRE, ("lesson",), "a teacher who speaks clearly, of lip reading or a language"),
    "news": Label(GENRE, ("news",), "a news anchor"),
    "talk-show": Label(GENRE, ("talkshow",), "a guest of a talk or panel show"),
    "vlog": Label(GENRE, ("vlog",), "a private person to a webcam"),
}


@dataclass(frozen=True)
class Sample:
    """One person under one label.

    Attributes:
        person: name in the corpus.
        label: key of `LABELS`.
        clips: that were joined.
        style: of the joined clips.
    """

    person: str
    label: str
    clips: tuple[CorpusClip, ...]
    style: Style


def label_of(clip: CorpusClip) -> str | None:
    """The style that a clip shows: its emotion, if it has one of ours, else its genre; None for neither."""
    if clip.style in SILENT or clip.emotion == "mixed":
        return None
    kind, word = (EMOTION, clip.emotion) if clip.emotion else (GENRE, clip.style)
    return next((name for name, label in LABELS.items() if label.kind == kind and word in label.words), None)


def encode_samples(corpus: Path, work: Path, model: StyleModel) -> list[Sample]:
    """Everybody of split `train` under each label.

    Args:
        corpus: folder with `index.csv`.
        work: work folder of the training: tracks (made where missing) and posteriorgrams (read where present).
        model: the style model.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`, `vast_model_mismatch`.
    """
    face, acoustic = FaceModel.load(), load_acoustic_model(assets.find("acoustic"))
    groups: dict[tuple[str, str], list[tuple[CorpusClip, FaceTrack]]] = {}
    for clip in read_index(corpus):
        label = label_of(clip)
        if clip.split != "train" or clip.set in UNUSED_SETS or label is None:
            continue
        try:
            track = cached_track(clip, work / "tracks", face=face)
        except VastError as error:
            log.warning("left out %s: %s", clip.name, error)
            continue
        if track.valid.mean() >= 0.5:
            groups.setdefault((clip.speaker, label), []).append((clip, track))
    samples = []
    for (person, label), members in groups.items():
        if sum(int(track.valid.sum()) for _, track in members) >= LEAST_FRAMES:
            style = _encode(members, work / "style" / "ppg", model, acoustic)
            samples.append(Sample(person, label, tuple(clip for clip, _ in members), style))
    return samples


def _encode(
    members: Sequence[tuple[CorpusClip, FaceTrack]], cache: Path, model: StyleModel, acoustic: AcousticModel
) -> Style:
    """The style of clips of one person, joined: those with and those without audio each, then their mean."""
    parts = []
    for has_audio in (True, False):
        some = [(clip, track) for clip, track in members if clip.has_audio is has_audio]
        if some:
            track = _join_tracks([track for _, track in some])
            ppg = _join_speech(some, cache, acoustic) if has_audio else None
            parts.append(encode_style(track, model, ppg=ppg))
    return mix_styles(parts, [part.n_frames for part in parts])


def _join_tracks(tracks: Sequence[FaceTrack]) -> FaceTrack:
    names = [name for name, dims in FaceTrack.SHAPES.items() if dims[0] == "n"]
    joined: dict[str, Any] = {name: np.concatenate([getattr(track, name) for track in tracks]) for name in names}
    joined["segment"] = np.concatenate([np.full(track.n_frames, k, np.int16) for k, track in enumerate(tracks)])
    return dataclasses.replace(tracks[0], **joined)


def _join_speech(
    members: Iterable[tuple[CorpusClip, FaceTrack]], cache: Path, acoustic: AcousticModel
) -> Posteriorgram:
    """Speech of clips on the time axis of their joined tracks, corrected for the offsets of their audio."""
    values = []
    for clip, track in members:
        ppg = _speech(clip, cache, acoustic)
        shift = round(timebase.to_ppg(audio_offset_s(clip)))
        position = np.arange(timebase.ppg_at(track.n_frames), dtype=np.float64) + shift
        values.append(interpolate_rows(ppg.values, position, outside=SILENCE))
    joined = np.concatenate(values)
    return Posteriorgram(joined, n_samples=timebase.ppg_samples(len(joined)), model_hash=acoustic.hash)


def _speech(clip: CorpusClip, cache: Path, acoustic: AcousticModel) -> Posteriorgram:
    """The posteriorgram that the training of the style model left, else a new one."""
    path = cache / acoustic.hash / f"{clip.key}.clean.ppg"
    if path.is_file():
        return records.load(Posteriorgram, path, model_hash=acoustic.hash)
    return extract_ppg([media.load_audio(clip.path)], acoustic)

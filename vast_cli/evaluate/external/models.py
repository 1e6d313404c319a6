"""Judges that are not ours and do not ship: they answer when their user supplies them, and only then."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli import media
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.external import lip_reader
from vast_cli.evaluate.external.emotion import EmotionModel
from vast_cli.evaluate.external.inception import Inception, load_inception
from vast_cli.evaluate.external.lip_reader import LipReader
from vast_cli.evaluate.external.syncnet import SyncNet, SyncScore, load_syncnet
from vast_cli.evaluate.external.syncnet_crops import large_enough
from vast_cli.evaluate.observation.crop import CropBox
from vast_cli.evaluate.observation.tracking import LOST_SHARE, SpeechAudio, TrackedVideo

BATCH = 16  # crops given to Inception at once


@dataclass(frozen=True)
class ExternalModelOptions:
    """What the user supplied."""

    syncnet_weights: Path | None = None
    inception_weights: Path | None = None
    lip_reader: str | None = None  # command with {video}
    emotion_model: str | None = None  # command with {video}


@dataclass(frozen=True)
class ExternalModels:
    """The same, loaded."""

    syncnet: SyncNet | None = None
    inception: Inception | None = None
    lip_reader: LipReader | None = None
    emotion_model: EmotionModel | None = None

    @classmethod
    def load(cls, options: ExternalModelOptions) -> "ExternalModels":
        """Load what was supplied.

        Raises:
            VastError: `vast_input_missing`, `vast_record_invalid`, `vast_option_invalid`, `vast_extra_missing`.
        """
        if options.lip_reader is not None and not lip_reader.available():
            raise VastError("vast_extra_missing", "word errors are counted by `jiwer`, which is not installed")
        return cls(
            syncnet=None if options.syncnet_weights is None else load_syncnet(options.syncnet_weights),
            inception=None if options.inception_weights is None else load_inception(options.inception_weights),
            lip_reader=None if options.lip_reader is None else LipReader(options.lip_reader),
            emotion_model=None if options.emotion_model is None else EmotionModel(options.emotion_model),
        )

    def names(self) -> dict[str, str]:
        """What judged: part of the results' names."""
        found = {}
        for name, network in (("syncnet", self.syncnet), ("inception", self.inception)):
            if network is not None:
                found[name] = f"{name}@{network.sha256[:8]}"
        for name, program in (("lip_reader", self.lip_reader), ("emotion_model", self.emotion_model)):
            if program is not None:
                found[name] = program.command + (f" ({program.version})" if program.version else "")
        return found


@dataclass(frozen=True)
class ExternalResults:
    """What they said of one clip; `made` and `truth` (or `prompt`) where each was asked."""

    sync: dict[str, SyncScore] = field(default_factory=dict)
    sync_reason: str | None = None  # why SyncNet could not be asked
    inception: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # [n, 2048]
    words: dict[str, tuple[lip_reader.Errors, lip_reader.Errors]] = field(default_factory=dict)  # words, letters
    emotion: dict[str, dict[str, float]] = field(default_factory=dict)


def ask(
    outside: ExternalModels,
    sights: dict[str, TrackedVideo],
    sounds: dict[str, SpeechAudio | None],
    box: CropBox | None,
    more: dict[str, Any],
) -> ExternalResults:
    """Ask all judges about one clip.

    Args:
        outside: the judges.
        sights: `made` and, where there is one, `truth`.
        sounds: of the same names.
        box: crop box, for pictures.
        more: `transcript` and `prompt`, a video, or None.

    Raises:
        VastError: `vast_timeout`, `vast_worker_died`, `vast_record_invalid` of programs.
    """
    sync: dict[str, SyncScore] = {}
    reason = None
    if outside.syncnet is not None:
        reason = _unfit(sights["made"], sounds.get("made"))
        for name, sight in sights.items():
            sound = sounds.get(name)
            score = None if sound is None or _unfit(sight, sound) else _sync(outside.syncnet, sight, sound)
            if score is not None:
                sync[name] = score
            elif name == "made" and reason is None:
                reason = "too_short"
    pictures = {}
    if outside.inception is not None and box is not None:
        pictures = {name: _features(outside.inception, sight, box) for name, sight in sights.items()}
    words = {}
    if outside.lip_reader is not None and more.get("transcript"):
        said = more["transcript"]
        for name, sight in sights.items():
            read = outside.lip_reader.read(sight.path)
            words[name] = lip_reader.word_errors(said, read), lip_reader.character_errors(said, read)
    emotion = {}
    if outside.emotion_model is not None:
        videos = {name: sight.path for name, sight in sights.items()}
        if more.get("prompt") is not None:
            videos["prompt"] = more["prompt"]
        emotion = {name: outside.emotion_model.probabilities(path) for name, path in videos.items()}
    return ExternalResults(sync, reason, pictures, words, emotion)


def _unfit(sight: TrackedVideo, sound: SpeechAudio | None) -> str | None:
    """Why SyncNet cannot judge a video: it knows 25 frames a second and a face in every one."""
    if sound is None:
        return "no_speech"
    if abs(sight.source_fps - FPS) > 0.01:
        return "not_25fps"
    return "no_face" if sight.lost > LOST_SHARE else None


def _sync(network: SyncNet, sight: TrackedVideo, sound: SpeechAudio) -> SyncScore | None:
    """SyncNet on boxes around the mesh: the authors' face detector is not part of this."""
    seen = np.flatnonzero(sight.present)
    mesh = sight.mesh[seen][..., :2].astype(np.float64)
    corners = np.concatenate([mesh.min(1), mesh.max(1)], axis=1)
    frames = np.arange(sight.n_frames)
    boxes = np.stack([np.interp(frames, seen, column) for column in corners.T], axis=1)
    samples = np.clip(np.rint(sound.samples * 32768), -32768, 32767).astype(np.int16)
    if not large_enough(boxes):
        return None
    with media.VideoReader(sight.path) as reader:
        return network.judge(itertools.islice(reader, len(boxes)), boxes, samples)


def _features(network: Inception, sight: TrackedVideo, box: CropBox) -> NDArray[np.float32]:
    def batches() -> Iterator[Image]:
        held: list[Image] = []
        with media.VideoReader(sight.path) as reader:
            for frame in reader:
                held.append(box.cut(frame))
                if len(held) == BATCH:
                    yield np.stack(held)
                    held = []
        if held:
            yield np.stack(held)

    return np.concatenate([network.features(batch) for batch in batches()])

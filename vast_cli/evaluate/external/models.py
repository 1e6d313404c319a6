"""External models: networks and programs of others that do not ship; they run only where the user brings them."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vast_cli import media
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.external import lip_reader
from vast_cli.evaluate.external.emotion import EmotionModel
from vast_cli.evaluate.external.inception import Inception, load_inception
from vast_cli.evaluate.external.lip_reader import ErrorCount, LipReader
from vast_cli.evaluate.external.syncnet import SyncNet, SyncScore, load_syncnet
from vast_cli.evaluate.external.syncnet_crops import large_enough
from vast_cli.evaluate.observation.audio import SpeechAudio
from vast_cli.evaluate.observation.crop import CropBox
from vast_cli.evaluate.observation.tracking import LOST_SHARE, TrackedVideo

BATCH = 16  # crops given to Inception at once


@dataclass(frozen=True)
class ExternalModelOptions:
    """External models as the user names them."""

    syncnet_weights: Path | None = None
    inception_weights: Path | None = None
    lip_reader: str | None = None  # command with {video}
    emotion_model: str | None = None  # command with {video}


@dataclass(frozen=True)
class ExternalModels:
    """External models, loaded; None where the user brings none."""

    syncnet: SyncNet | None = None
    inception: Inception | None = None
    lip_reader: LipReader | None = None
    emotion_model: EmotionModel | None = None

    @classmethod
    def load(cls, options: ExternalModelOptions) -> "ExternalModels":
        """Load what the user brings.

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
        """Model -> its hash, or its command and version."""
        names = {}
        for name, network in (("syncnet", self.syncnet), ("inception", self.inception)):
            if network is not None:
                names[name] = f"{name}@{network.sha256[:8]}"
        for name, program in (("lip_reader", self.lip_reader), ("emotion_model", self.emotion_model)):
            if program is not None:
                names[name] = program.command + (f" ({program.version})" if program.version else "")
        return names


@dataclass(frozen=True)
class ExternalInputs:
    """What external models get of one clip.

    Attributes:
        videos: `made` and, where there is one, `truth`.
        audio: of the same names.
        box: crop box for Inception.
        transcript: words spoken, for the lip reader.
        prompt: the style prompt, for the emotion model.
    """

    videos: Mapping[str, TrackedVideo]
    audio: Mapping[str, SpeechAudio | None]
    box: CropBox | None
    transcript: str | None
    prompt: Path | None


@dataclass(frozen=True)
class ExternalResults:
    """Results of the external models on one clip, by `made`, `truth` or `prompt`.

    Attributes:
        sync: SyncNet's scores.
        sync_reason: why SyncNet has no score of the output.
        inception: features [n, 2048].
        words: errors in words and in characters.
        emotion: probability of each emotion.
    """

    sync: dict[str, SyncScore] = field(default_factory=dict)
    sync_reason: str | None = None
    inception: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    words: dict[str, tuple[ErrorCount, ErrorCount]] = field(default_factory=dict)
    emotion: dict[str, dict[str, float]] = field(default_factory=dict)


def run_external_models(models: ExternalModels, inputs: ExternalInputs) -> ExternalResults:
    """Run all external models on one clip.

    Raises:
        VastError: `vast_timeout`, `vast_worker_died`, `vast_record_invalid` of programs.
    """
    sync, sync_reason = ({}, None) if models.syncnet is None else _sync(models.syncnet, inputs)
    return ExternalResults(
        sync=sync,
        sync_reason=sync_reason,
        inception={} if models.inception is None else _inception(models.inception, inputs),
        words={} if models.lip_reader is None else _words(models.lip_reader, inputs),
        emotion={} if models.emotion_model is None else _emotion(models.emotion_model, inputs),
    )


def _sync(network: SyncNet, inputs: ExternalInputs) -> tuple[dict[str, SyncScore], str | None]:
    """Scores of the videos, and why there is none of the output."""
    scores: dict[str, SyncScore] = {}
    reason = _sync_obstacle(inputs.videos["made"], inputs.audio.get("made"))
    for name, video in inputs.videos.items():
        audio = inputs.audio.get(name)
        score = None if audio is None or _sync_obstacle(video, audio) else _sync_score(network, video, audio)
        if score is not None:
            scores[name] = score
        elif name == "made" and reason is None:
            reason = "too_short"
    return scores, reason


def _sync_obstacle(video: TrackedVideo, audio: SpeechAudio | None) -> str | None:
    """Why SyncNet cannot score a video: it needs 25 frames a second and a face in every one."""
    if audio is None:
        return "no_speech"
    if abs(video.source_fps - FPS) > 0.01:
        return "not_25fps"
    return "no_face" if video.lost_share > LOST_SHARE else None


def _sync_score(network: SyncNet, video: TrackedVideo, audio: SpeechAudio) -> SyncScore | None:
    """SyncNet on boxes around the mesh: the authors' face detector is not part of this."""
    with_face = np.flatnonzero(video.present)
    mesh = video.mesh[with_face][..., :2].astype(np.float64)
    corners = np.concatenate([mesh.min(1), mesh.max(1)], axis=1)
    frames = np.arange(video.n_frames)
    boxes = np.stack([np.interp(frames, with_face, column) for column in corners.T], axis=1)
    samples = np.clip(np.rint(audio.samples * 32768), -32768, 32767).astype(np.int16)
    if not large_enough(boxes):
        return None
    with media.VideoReader(video.path) as reader:
        return network.score_video(itertools.islice(reader, len(boxes)), boxes, samples)


def _inception(network: Inception, inputs: ExternalInputs) -> dict[str, NDArray[np.float32]]:
    """Features of every frame's crop: {name: [n, 2048]}."""
    box = inputs.box
    if box is None:
        return {}
    return {
        name: np.concatenate([network.features(batch) for batch in _crops(video, box)])
        for name, video in inputs.videos.items()
    }


def _crops(video: TrackedVideo, box: CropBox) -> Iterator[Image]:
    """Batches of crops [up to BATCH, 256, 256, 3]."""
    batch: list[Image] = []
    with media.VideoReader(video.path) as reader:
        for frame in reader:
            batch.append(box.cut(frame))
            if len(batch) == BATCH:
                yield np.stack(batch)
                batch = []
    if batch:
        yield np.stack(batch)


def _words(reader: LipReader, inputs: ExternalInputs) -> dict[str, tuple[ErrorCount, ErrorCount]]:
    if not inputs.transcript:
        return {}
    errors = {}
    for name, video in inputs.videos.items():
        text = reader.read(video.path)
        errors[name] = (
            lip_reader.word_errors(inputs.transcript, text),
            lip_reader.character_errors(inputs.transcript, text),
        )
    return errors


def _emotion(model: EmotionModel, inputs: ExternalInputs) -> dict[str, dict[str, float]]:
    videos = {name: video.path for name, video in inputs.videos.items()}
    if inputs.prompt is not None:
        videos["prompt"] = inputs.prompt
    return {name: model.probabilities(path) for name, path in videos.items()}

"""One clip to evaluate: what is given, and everything observed of it that measures read."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vast_cli import face, sync
from vast_cli.core.arrays import Float64
from vast_cli.evaluate.external.models import ExternalResults
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.observation.audio import SpeechAudio
from vast_cli.evaluate.observation.crop import CropBox
from vast_cli.evaluate.observation.frames import FrameMeasurements
from vast_cli.evaluate.observation.tracking import LOST_SHARE, TrackedVideo


@dataclass(frozen=True)
class Pair:
    """One clip to evaluate and what it is compared with.

    Attributes:
        id: names the clip in documents.
        output: the video to evaluate.
        reference: the true video: same words, same frames.
        audio: the audio spoken; the output's own if None.
        style_reference: the prompt.
        footage: real footage of the person; the reference if None.
        transcript: the words spoken.
        speaker: groups clips for intervals.
        avatar: name of the avatar.
        style_differs: the output speaks in another style than the reference.
        other_audio: audio of another clip, for the control of that name.
        footage_statistics: of the avatar's own footage, used where neither footage nor reference is given.
        limited_share: from the render's result; from the sidecar if None.
    """

    id: str
    output: Path
    reference: Path | None = None
    audio: Path | None = None
    style_reference: Path | None = None
    footage: Path | None = None
    transcript: str | None = None
    speaker: str | None = None
    avatar: str | None = None
    style_differs: bool = False
    other_audio: Path | None = None
    footage_statistics: FootageStatistics | None = None
    limited_share: float | None = None


@dataclass(frozen=True)
class ObservedVideo:
    """One video with the measurements of its frames and its audio; None where there is no face or no audio."""

    video: TrackedVideo
    frames: FrameMeasurements | None = None
    audio: SpeechAudio | None = None


@dataclass(frozen=True)
class Mismatch:
    """Why output and truth cannot be compared frame by frame: a reason of `spec.REASONS` and a hint."""

    reason: str
    hint: str | None = None


@dataclass(frozen=True)
class Observation:
    """Everything observed of one clip; measures read from it.

    Attributes:
        pair: what was given.
        model: the face model.
        seed: of everything random.
        output: the video to evaluate; its audio is the audio spoken.
        truth: the true video, with its own audio.
        reencoded: the truth through our encoder, a control.
        footage: real footage of the person.
        prompt: the style prompt.
        box: the output's crop box; that of the truth where both are of one size.
        mismatch: why output and truth cannot be compared frame by frame; None if they can.
        no_audio: why the output has no audio.
        n_own_samples: 16 kHz samples of the output's own audio.
        other_audio: audio of another clip.
        ssim: measure -> control or `made` -> SSIM.
        lagsync: the network that scores lip sync.
        has_descriptor: whether the face descriptor is installed.
        external: results of external models.
        models: names and versions of the networks and programs that were used.
        style: style codes of `made` and `prompt`.
        expressions: cache of `expression`.
    """

    pair: Pair
    model: face.FaceModel
    seed: int
    output: ObservedVideo
    truth: ObservedVideo | None = None
    reencoded: ObservedVideo | None = None
    footage: ObservedVideo | None = None
    prompt: TrackedVideo | None = None
    box: CropBox | None = None
    mismatch: Mismatch | None = None
    no_audio: str | None = None
    n_own_samples: int | None = None
    other_audio: SpeechAudio | None = None
    ssim: dict[str, dict[str, float]] = field(default_factory=dict)
    lagsync: sync.LagSync | None = None
    has_descriptor: bool = False
    external: ExternalResults = field(default_factory=ExternalResults)
    models: dict[str, str] = field(default_factory=dict)
    style: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    expressions: dict[Path, Float64] = field(default_factory=dict)

    def faces_in_both(self) -> NDArray[np.bool_]:
        """[n], n the frames that output and truth share: whether both show a face."""
        assert self.truth is not None
        output, truth = self.output.video, self.truth.video
        n = min(output.n_frames, truth.n_frames)
        both: NDArray[np.bool_] = output.present[:n] & truth.present[:n]
        return both

    @property
    def face_mismatch(self) -> str | None:
        """Why the faces of output and truth cannot be compared; their sizes may differ, their lengths not."""
        if self.truth is None:
            return "no_reference"
        if abs(self.output.video.n_frames - self.truth.video.n_frames) > 1:
            return "length_mismatch"
        return "no_face" if 1 - self.faces_in_both().mean() > LOST_SHARE else None

    @property
    def real(self) -> ObservedVideo | None:
        """Real footage of the person: `--footage`, else the truth; None without either or without a face in it."""
        if self.footage is not None and self.footage.frames is not None:
            return self.footage
        if self.truth is not None and self.truth.frames is not None:
            return dataclasses.replace(self.truth, audio=self.truth.audio or self.output.audio)
        return None

    def expression(self, video: TrackedVideo) -> Float64 | None:
        """[n, 233] in units of the training corpus' standard deviation, not smoothed; gaps are bridged linearly.

        None where more than 5 % of the frames show no face.
        """
        if video.lost_share > LOST_SHARE:
            return None
        if video.path not in self.expressions:
            self.expressions[video.path] = self._expression(video)
        return self.expressions[video.path]

    def _expression(self, video: TrackedVideo) -> Float64:
        with_face = np.flatnonzero(video.present)
        mesh = video.mesh[with_face]
        identity = self.model.neutral(mesh)
        stabilised, _ = self.model.stabilise(mesh, identity)
        values = self.model.encode(stabilised, identity) / self.model.sd
        frames = np.arange(video.n_frames)
        return np.stack([np.interp(frames, with_face, column) for column in values.T.astype(np.float64)], axis=1)

"""Observes a clip: tracks its videos, measures their frames, loads its audio and runs external models."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vast_cli import media, sync
from vast_cli.core.arrays import Float64, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.external.models import ExternalInputs, ExternalModels, ExternalResults, run_external_models
from vast_cli.evaluate.measures.bands import band80
from vast_cli.evaluate.observation import comparison
from vast_cli.evaluate.observation.audio import SpeechAudio, load_speech
from vast_cli.evaluate.observation.cache import ObservationCache
from vast_cli.evaluate.observation.clip import Mismatch, Observation, ObservedVideo, Pair
from vast_cli.evaluate.observation.crop import CropBox, luma
from vast_cli.evaluate.observation.frames import (
    PARTS,
    SAMPLE_EVERY,
    FrameMeasurements,
    FrameObserver,
    FrameRequest,
    ObserverNetworks,
    mouth_square,
    observe_frames,
)
from vast_cli.evaluate.observation.tracking import LOST_SHARE, TrackedVideo, track_video
from vast_cli.pipeline.extract import encode_prompt
from vast_cli.pipeline.models import Models

T = TypeVar("T")

CRF, PRESET = 18, "fast"  # our encoder's settings, for the control `reencoded`
REENCODED = "reencoded.mp4"


@dataclass(frozen=True)
class Tools:
    """Networks and settings that all clips share.

    Attributes:
        models: networks of the pipeline.
        networks: networks that measure frames.
        threads: videos observed at once.
        external: networks and programs that the user brings.
        controls: measure the controls too.
        cache: observations that clips share.
        styles: encode the styles of the rendered videos.
        face_name: which face, as `--face`.
        parts: what to measure of the output's frames; if empty, its frames are not read at all.
    """

    models: Models
    networks: ObserverNetworks
    threads: int = 2
    external: ExternalModels = field(default_factory=ExternalModels)
    controls: bool = True
    cache: ObservationCache = field(default_factory=ObservationCache)
    styles: bool = False
    face_name: str = "largest"
    parts: frozenset[str] = PARTS

    def track(
        self, path: Path, *, on_frame: Callable[[Image], None] | None = None, progress: Progress = silent
    ) -> TrackedVideo:
        """Track a video with the face model."""
        return track_video(path, self.models.face_model, face_name=self.face_name, on_frame=on_frame, progress=progress)


def load_networks(*, descriptor: bool = True) -> ObserverNetworks:
    """The networks that ship, and the face descriptor where its package is installed."""
    from vast_cli.evaluate.external.descriptor import load_descriptor

    return ObserverNetworks(sync.load_lagsync(), load_descriptor() if descriptor else None)


def observe(pair: Pair, tools: Tools, *, seed: int = 0, progress: Progress = silent) -> Observation:
    """Observe the videos and the audio of one clip.

    Raises:
        VastError: files that are missing or no media; what merely cannot be measured raises nothing.
    """
    with tempfile.TemporaryDirectory(prefix="vast-evaluate-") as folder, ThreadPoolExecutor(tools.threads) as pool:
        tracked = _track(pair, tools, Path(folder), pool, seed=seed, progress=progress)
        output_audio = pool.submit(_audio_of, pair.audio, tracked.output, tools)
        truth_audio = None if tracked.truth is None else pool.submit(_audio_of, None, tracked.truth, tools)
        frames, ssim = _measure_frames(tracked, tools, pool, seed=seed, progress=progress)
        audio, no_audio = output_audio.result()
        output = ObservedVideo(tracked.output, frames.get("made"), audio)
        truth = None
        if tracked.truth is not None:
            truth = ObservedVideo(tracked.truth, frames.get("truth"), truth_audio.result()[0] if truth_audio else None)
        lagsync = tools.networks.lagsync
        return Observation(
            pair=pair,
            model=tools.models.face_model,
            seed=seed,
            output=output,
            truth=truth,
            reencoded=_observed(tracked.reencoded, frames.get("reencoded")),
            footage=tracked.footage,
            prompt=tracked.prompt,
            box=tracked.box,
            mismatch=tracked.mismatch,
            no_audio=no_audio,
            n_own_samples=_n_own_samples(pair, output),
            other_audio=_other_audio(pair, tools),
            ssim=ssim,
            lagsync=lagsync,
            has_descriptor=tools.networks.descriptor is not None,
            external=_run_external(pair, tools, output, truth, tracked.box),
            models=({} if lagsync is None else {"lagsync": lagsync.name}) | tools.external.names(),
            style=_styles(pair, tools) if tools.styles else {},
        )


def _observed(video: TrackedVideo | None, frames: FrameMeasurements | None) -> ObservedVideo | None:
    return None if video is None else ObservedVideo(video, frames)


# --- tracking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tracked:
    """The videos of a clip after the first pass, and whether they can be compared."""

    output: TrackedVideo
    truth: TrackedVideo | None
    reencoded: TrackedVideo | None
    footage: ObservedVideo | None
    prompt: TrackedVideo | None

    @property
    def mismatch(self) -> Mismatch | None:
        """Why output and truth cannot be compared frame by frame."""
        return _mismatch(self.output, self.truth)

    @property
    def truth_box(self) -> CropBox | None:
        """Crop box of the truth."""
        return None if self.truth is None else self.truth.crop_box()

    @property
    def box(self) -> CropBox | None:
        """Crop box of the output: that of the truth where both are of one size."""
        output, truth = self.output, self.truth
        same_size = truth is not None and (output.width, output.height) == (truth.width, truth.height)
        truth_box = self.truth_box
        return truth_box if same_size and truth_box is not None else output.crop_box()


def _track(
    pair: Pair, tools: Tools, folder: Path, pool: ThreadPoolExecutor, *, seed: int, progress: Progress
) -> _Tracked:
    """Track all videos of a clip, as many at once as the pool has threads."""
    output = pool.submit(tools.track, pair.output, progress=progress)
    prompt: Future[TrackedVideo] | None = None
    if pair.style_reference is not None:
        prompt = pool.submit(_track_prompt, pair.style_reference, tools)
    footage: Future[ObservedVideo] | None = None
    if pair.footage is not None:
        controls = pair.reference is None and tools.controls
        footage = pool.submit(_observe_footage, pair.footage, tools, controls=controls, seed=seed)
    truth: Future[tuple[TrackedVideo, TrackedVideo | None]] | None = None
    if pair.reference is not None:
        truth = pool.submit(_track_truth, pair.reference, folder, tools)
    tracked_output = output.result()
    tracked_truth, reencoded = (None, None) if truth is None else truth.result()
    return _Tracked(tracked_output, tracked_truth, reencoded, _result(footage), _result(prompt))


def _result(future: "Future[T] | None") -> T | None:
    return None if future is None else future.result()


def _track_prompt(path: Path, tools: Tools) -> TrackedVideo:
    return tools.cache.get(("prompt", path), lambda: tools.track(path))


def _track_truth(path: Path, folder: Path, tools: Tools) -> tuple[TrackedVideo, TrackedVideo | None]:
    """The truth, and with controls the truth through our encoder."""
    if not tools.controls:
        return tools.track(path), None
    reencoded = folder / REENCODED
    with _encoder(path, reencoded) as write:
        truth = tools.track(path, on_frame=write)
    return truth, tools.track(reencoded)


@contextmanager
def _encoder(source: Path, target: Path) -> Iterator[Callable[[Image], None]]:
    with media.VideoReader(source) as reader:
        width, height = reader.width, reader.height
    with media.VideoWriter(target, media.VideoFormat(width, height, crf=CRF, preset=PRESET)) as writer:
        yield writer.write


def _observe_footage(path: Path, tools: Tools, *, controls: bool, seed: int) -> ObservedVideo:
    """Real footage with frames and audio; the same for all clips of a set."""

    def observe_it() -> ObservedVideo:
        video = tools.track(path)
        box = video.crop_box()
        frames = None
        if box is not None:
            request = FrameRequest(video, box, controls=controls, seed=seed)
            frames = observe_frames(FrameObserver(request, tools.networks))
        return ObservedVideo(video, frames, _audio_of(None, video, tools)[0])

    return tools.cache.get(("footage", path, controls), observe_it)


def _mismatch(output: TrackedVideo, truth: TrackedVideo | None) -> Mismatch | None:
    if truth is None:
        return Mismatch("no_reference")
    if abs(output.n_frames - truth.n_frames) > 1:
        hint = f"the output has {output.n_frames} frames, the reference {truth.n_frames}"
        return Mismatch("length_mismatch", hint)
    if (output.width, output.height) != (truth.width, truth.height):
        sizes = f"{output.width} x {output.height}, the reference {truth.width} x {truth.height}"
        return Mismatch("length_mismatch", f"the output is {sizes} pixels")
    n = min(output.n_frames, truth.n_frames)
    if 1 - (output.present[:n] & truth.present[:n]).mean() > LOST_SHARE:
        lost = {name: 1 - float(v.present[:n].mean()) for name, v in (("output", output), ("reference", truth))}
        hint = ", ".join(f"the {name} shows none in {100 * share:.0f} %" for name, share in lost.items())
        return Mismatch("no_face", hint)
    return None


# --- frames ---------------------------------------------------------------------------------------------------------


def _measure_frames(
    tracked: _Tracked, tools: Tools, pool: ThreadPoolExecutor, *, seed: int, progress: Progress
) -> tuple[dict[str, FrameMeasurements], dict[str, dict[str, float]]]:
    """Measurements of the frames of `made`, `truth` and `reencoded`, and SSIM of the output where it can be compared.

    Each video is decoded once: the comparison reads the crops that the observers hand on.
    """
    observers = _frame_observers(tracked, tools, seed=seed, progress=progress)
    truth, truth_box = tracked.truth, tracked.truth_box
    ssim: dict[str, dict[str, float]] = {}
    if truth is not None and truth_box is not None and tracked.mismatch is None:
        ssim = comparison.compare(tracked.output, truth, truth_box, observers)
        frames = {name: observer.measurements() for name, observer in observers.items()}
    else:
        frames = dict(zip(observers, pool.map(observe_frames, observers.values()), strict=True))
    if truth is not None and truth_box is not None and tools.controls:
        bands = frames["truth"].bands | _still_bands(truth, truth_box)
        frames["truth"] = dataclasses.replace(frames["truth"], bands=bands)
    return frames, ssim


def _frame_observers(tracked: _Tracked, tools: Tools, *, seed: int, progress: Progress) -> dict[str, FrameObserver]:
    """An observer for each video of the clip whose frames are measured."""
    truth, box, truth_box = tracked.truth, tracked.box, tracked.truth_box
    observers = {}
    if box is not None and tools.parts:
        mouth_points = truth.points if truth is not None and tracked.mismatch is None else None
        request = FrameRequest(tracked.output, box, mouth_points, parts=tools.parts)
        observers["made"] = FrameObserver(request, tools.networks, progress=progress)
    if truth is not None and truth_box is not None:
        request = FrameRequest(truth, truth_box, controls=tools.controls, seed=seed)
        observers["truth"] = FrameObserver(request, tools.networks)
        if tracked.reencoded is not None:
            request = FrameRequest(tracked.reencoded, truth_box, truth.points)
            observers["reencoded"] = FrameObserver(request, ObserverNetworks(None, None))
    return observers


def _still_bands(truth: TrackedVideo, box: CropBox) -> dict[str, Float64]:
    """Bands of a still frame in place of the video, a control."""
    points = box.points(truth.points)
    sampled = [k for k in range(0, truth.n_frames, SAMPLE_EVERY) if truth.present[k]]
    with media.VideoReader(truth.path) as reader:
        first = next(iter(reader))
    stills = {"static_mean": truth.mean_frame, "static_first": first}
    return {
        name: np.array([band80(luma(box.cut(still)), mouth_square(points[k])) for k in sampled])
        for name, still in stills.items()
    }


# --- audio ----------------------------------------------------------------------------------------------------------


def _audio_of(audio: Path | None, video: TrackedVideo, tools: Tools) -> tuple[SpeechAudio | None, str | None]:
    """The audio file's speech, else the video's own; or why there is none."""
    if audio is not None:
        return _speech_or_reason(audio, tools)
    if not video.has_audio:
        return None, f"`{video.path.name}` has no audio; give it with `--audio`"
    return _speech_or_reason(video.path, tools, start_s=video.start_s)


def _speech_or_reason(
    path: Path, tools: Tools, *, start_s: float | None = None
) -> tuple[SpeechAudio | None, str | None]:
    try:
        return load_speech(path, tools.models, start_s=start_s), None
    except VastError as error:
        if error.code not in ("vast_no_audio", "vast_audio_too_short"):
            raise
        return None, error.message


def _other_audio(pair: Pair, tools: Tools) -> SpeechAudio | None:
    if pair.other_audio is None:
        return None
    with suppress(VastError):  # the other clip's own evaluation reports it
        return _speech_or_reason(pair.other_audio, tools)[0]
    return None


def _n_own_samples(pair: Pair, output: ObservedVideo) -> int | None:
    if not output.video.has_audio:
        return None
    if pair.audio is None and output.audio is not None:
        return len(output.audio.samples)
    return sum(len(block) for block in media.read_audio(pair.output, start_s=output.video.start_s))


# --- external models and styles -------------------------------------------------------------------------------------


def _run_external(
    pair: Pair, tools: Tools, output: ObservedVideo, truth: ObservedVideo | None, box: CropBox | None
) -> ExternalResults:
    videos, audio = {"made": output.video}, {"made": output.audio}
    if truth is not None:
        videos["truth"], audio["truth"] = truth.video, truth.audio
    inputs = ExternalInputs(videos, audio, box, pair.transcript, pair.style_reference)
    return run_external_models(tools.external, inputs)


def _styles(pair: Pair, tools: Tools) -> dict[str, NDArray[np.float32]]:
    """Style codes of the rendered video and of the prompt; without those of a video with too few faces."""
    codes = {}
    for name, path in (("made", pair.output), ("prompt", pair.style_reference)):
        if path is None:
            continue
        try:
            codes[name] = _style(path, tools, shared=name == "prompt")
        except VastError as error:
            if error.code not in ("vast_no_face", "vast_face_lost"):
                raise
    return codes


def _style(path: Path, tools: Tools, *, shared: bool) -> NDArray[np.float32]:
    def encode() -> NDArray[np.float32]:
        return encode_prompt(path, tools.models, face_name=tools.face_name)[0].vector

    return tools.cache.get(("style", path), encode) if shared else encode()

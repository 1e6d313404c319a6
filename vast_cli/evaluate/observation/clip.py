"""Everything that measures need to know of one clip: the output, the truth, its controls, and what is heard."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vast_cli import face, media, sync
from vast_cli.core.arrays import Float64, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.external.models import ExternalModels, ExternalResults, ask
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.measures.bands import band80
from vast_cli.evaluate.observation import comparison
from vast_cli.evaluate.observation.cache import ObservationCache
from vast_cli.evaluate.observation.crop import CropBox, luma
from vast_cli.evaluate.observation.frames import (
    EVERY,
    PARTS,
    FrameMeasurements,
    FrameObserver,
    ObserverNetworks,
    mouth_square,
    watch,
)
from vast_cli.evaluate.observation.tracking import LOST_SHARE, SpeechAudio, TrackedVideo, hear, look
from vast_cli.pipeline.extract import encode_prompt
from vast_cli.pipeline.models import Models

CRF, PRESET = 18, "fast"  # our encoder's settings, for the control `reencoded`
LOSSY_NAME = "reencoded.mp4"


@dataclass(frozen=True)
class Pair:
    """One clip to evaluate and what it is held against."""

    id: str
    output: Path
    reference: Path | None = None  # the truth: same words, same picture
    audio: Path | None = None  # the sound spoken; the output's own if not given
    style_reference: Path | None = None  # the prompt
    footage: Path | None = None  # real footage of the avatar; the reference if not given
    transcript: str | None = None
    speaker: str | None = None
    avatar: str | None = None
    style_differs: bool = False  # the output speaks in another manner than the reference
    other_audio: Path | None = None  # sound of another clip, for the control of that name
    footage_statistics: FootageStatistics | None = (
        None  # what an avatar keeps of its own footage; where neither of those is given
    )
    limited_share: float | None = None  # as the render told; from the sidecar if not given


@dataclass(frozen=True)
class Observation:
    """One clip, seen and heard; measures read from it."""

    pair: Pair
    model: face.FaceModel
    seed: int
    made: TrackedVideo
    truth: TrackedVideo | None
    reencoded: TrackedVideo | None
    footage: TrackedVideo | None
    prompt: TrackedVideo | None
    box: CropBox | None  # that cut the output; the truth's where both are of one size
    unpaired: str | None  # why output and truth cannot be compared picture by picture
    unpaired_hint: str | None
    sound: SpeechAudio | None
    no_sound: str | None  # why there is none
    own_samples: int | None  # 16 kHz samples of the output's own sound
    footage_sound: SpeechAudio | None
    truth_sound: SpeechAudio | None
    other_sound: SpeechAudio | None
    portraits: dict[str, FrameMeasurements]  # made, truth, reencoded, footage
    ssim: dict[str, dict[str, float]]
    lagsync: sync.LagSync | None
    has_descriptor: bool
    verdicts: ExternalResults
    models: dict[str, str]  # names of the networks and programs that judged
    style: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # made, prompt: style codes
    expressions: dict[Path, Float64] = field(default_factory=dict)  # what `expression` found so far

    @property
    def n_paired(self) -> int:
        """Frames that output and truth share."""
        return min(self.made.n_frames, self.truth.n_frames) if self.truth is not None else 0

    def paired_faces(self) -> NDArray[np.bool_]:
        """[n_paired], both show a face."""
        assert self.truth is not None
        both: NDArray[np.bool_] = self.made.present[: self.n_paired] & self.truth.present[: self.n_paired]
        return both

    @property
    def unpaired_faces(self) -> str | None:
        """Why the faces of output and truth cannot be compared; sizes may differ, lengths not."""
        if self.truth is None:
            return "no_reference"
        if abs(self.made.n_frames - self.truth.n_frames) > 1:
            return "length_mismatch"
        return "no_face" if 1 - self.paired_faces().mean() > LOST_SHARE else None

    @property
    def real(self) -> tuple[TrackedVideo, FrameMeasurements, SpeechAudio | None] | None:
        """Real footage of the person: `--footage`, else the truth; None without either or without a face in it."""
        if self.footage is not None and "footage" in self.portraits:
            return self.footage, self.portraits["footage"], self.footage_sound
        if self.truth is not None and "truth" in self.portraits:
            return self.truth, self.portraits["truth"], self.truth_sound or self.sound
        return None

    def expression(self, sight: TrackedVideo) -> Float64 | None:
        """[n, 233] in units of the training corpus' standard deviation, not smoothed; gaps are bridged linearly.

        None where more than 5 % of the frames show no face.
        """
        if sight.lost > LOST_SHARE:
            return None
        if sight.path not in self.expressions:
            self.expressions[sight.path] = self._expression(sight)
        return self.expressions[sight.path]

    def _expression(self, sight: TrackedVideo) -> Float64:
        seen = np.flatnonzero(sight.present)
        mesh = sight.mesh[seen]
        identity = self.model.neutral(mesh)
        stabilised, _ = self.model.stabilise(mesh, identity)
        values = self.model.encode(stabilised, identity) / self.model.sd
        frames = np.arange(sight.n_frames)
        return np.stack([np.interp(frames, seen, column) for column in values.T.astype(np.float64)], axis=1)


@dataclass(frozen=True)
class Tools:
    """Networks, loaded once for all clips."""

    models: Models
    networks: ObserverNetworks
    threads: int = 2
    external: ExternalModels = field(default_factory=ExternalModels)
    controls: bool = True
    shelf: ObservationCache = field(default_factory=ObservationCache)
    styles: bool = False  # extract style codes from the rendered videos
    which: str = "largest"
    parts: frozenset[str] = PARTS  # of the output's portrait; without any it is not watched at all


def observe(pair: Pair, tools: Tools, *, seed: int = 0, progress: Progress = silent) -> Observation:
    """Look at and listen to everything that belongs to one clip.

    Raises:
        VastError: files that are missing or no media; what merely cannot be measured raises nothing.
    """
    with tempfile.TemporaryDirectory(prefix="vast-evaluate-") as folder, ThreadPoolExecutor(tools.threads) as pool:
        return _observe(pair, tools, Path(folder), pool, seed=seed, progress=progress)


def _observe(
    pair: Pair, tools: Tools, folder: Path, pool: ThreadPoolExecutor, *, seed: int, progress: Progress
) -> Observation:
    model = tools.models.face_model

    made_soon = pool.submit(look, pair.output, model, which=tools.which, progress=progress)
    prompt_soon = None
    if pair.style_reference is not None:
        prompt_soon = pool.submit(_shared_look, pair.style_reference, tools)
    footage_soon = None
    if pair.footage is not None:
        footage_soon = pool.submit(_footage, pair.footage, tools, controls=pair.reference is None, seed=seed)
    truth_soon = None if pair.reference is None else pool.submit(_look_twice, pair.reference, folder, model, tools)
    made = made_soon.result()
    truth, reencoded = (None, None) if truth_soon is None else truth_soon.result()
    footage, footage_portrait, footage_sound = (None, None, None) if footage_soon is None else footage_soon.result()
    prompt = None if prompt_soon is None else prompt_soon.result()
    unpaired, hint = _unpaired(made, truth)
    same_size = truth is not None and (made.width, made.height) == (truth.width, truth.height)
    truth_box = None if truth is None else truth.box()
    box = truth_box if same_size and truth_box is not None else made.box()

    heard = pool.submit(_sound_of, pair.audio, made, tools)
    truth_heard = None if truth is None else pool.submit(_sound_of, None, truth, tools)

    squares = truth.points if truth is not None and unpaired is None else None
    watchers = {}
    if box is not None and tools.parts:
        watchers["made"] = FrameObserver(
            made, box, tools.networks, progress=progress, squares=squares, parts=tools.parts
        )
    if truth is not None and truth_box is not None:
        watchers["truth"] = FrameObserver(truth, truth_box, tools.networks, controls=tools.controls, seed=seed)
        if reencoded is not None:
            watchers["reencoded"] = FrameObserver(
                reencoded, truth_box, ObserverNetworks(None, None), squares=truth.points
            )
    if truth is not None and truth_box is not None and unpaired is None:
        ssim = comparison.compare(made, truth, truth_box, watchers)
        portraits = {name: watcher.portrait() for name, watcher in watchers.items()}
    else:
        ssim = {}
        portraits = dict(zip(watchers, pool.map(watch, watchers.values()), strict=True))
    sound, no_sound = heard.result()
    truth_sound = None if truth_heard is None else truth_heard.result()[0]
    if footage_portrait is not None:
        portraits["footage"] = footage_portrait
    if truth is not None and truth_box is not None and tools.controls and "truth" in portraits:
        portraits["truth"].bands.update(_still_bands(truth, truth_box))
    return Observation(
        pair=pair,
        model=model,
        seed=seed,
        made=made,
        truth=truth,
        reencoded=reencoded,
        footage=footage,
        prompt=prompt,
        box=box,
        unpaired=unpaired,
        unpaired_hint=hint,
        sound=sound,
        no_sound=no_sound,
        own_samples=_own_samples(pair, made, sound),
        footage_sound=footage_sound,
        truth_sound=truth_sound,
        other_sound=_other_sound(pair, tools),
        portraits=portraits,
        ssim=ssim,
        lagsync=tools.networks.lagsync,
        has_descriptor=tools.networks.descriptor is not None,
        verdicts=ask(
            tools.external,
            {"made": made} | ({} if truth is None else {"truth": truth}),
            {"made": sound, "truth": truth_sound},
            box,
            {"transcript": pair.transcript, "prompt": pair.style_reference},
        ),
        models=({} if tools.networks.lagsync is None else {"lagsync": tools.networks.lagsync.name})
        | tools.external.names(),
        style=_styles(pair, tools) if tools.styles else {},
    )


def _shared_look(path: Path, tools: Tools) -> TrackedVideo:
    return tools.shelf.get(("sight", path), lambda: look(path, tools.models.face_model, which=tools.which))


def _footage(
    path: Path, tools: Tools, *, controls: bool, seed: int
) -> tuple[TrackedVideo, FrameMeasurements | None, SpeechAudio | None]:
    """Real footage, seen and heard; the same for all clips of a set."""

    def observe_it() -> tuple[TrackedVideo, FrameMeasurements | None, SpeechAudio | None]:
        sight = look(path, tools.models.face_model, which=tools.which)
        box = sight.box()
        portrait = None
        if box is not None:
            portrait = watch(FrameObserver(sight, box, tools.networks, controls=controls and tools.controls, seed=seed))
        return sight, portrait, _sound_of(None, sight, tools)[0]

    return tools.shelf.get(("footage", path, controls), observe_it)


def _look_twice(
    path: Path, folder: Path, model: face.FaceModel, tools: Tools
) -> tuple[TrackedVideo, TrackedVideo | None]:
    """The truth, and the truth through our encoder."""
    if not tools.controls:
        return look(path, model, which=tools.which), None
    again = folder / LOSSY_NAME
    with _encoder(path, again) as write:
        truth = look(path, model, which=tools.which, also=write)
    return truth, look(again, model, which=tools.which)


@contextmanager
def _encoder(source: Path, target: Path) -> Iterator[Callable[[Image], None]]:
    with media.VideoReader(source) as reader:
        width, height = reader.width, reader.height
    with media.VideoWriter(target, width=width, height=height, crf=CRF, preset=PRESET) as writer:
        yield writer.write


def _unpaired(made: TrackedVideo, truth: TrackedVideo | None) -> tuple[str | None, str | None]:
    if truth is None:
        return "no_reference", None
    if abs(made.n_frames - truth.n_frames) > 1:
        return "length_mismatch", f"the output has {made.n_frames} frames, the reference {truth.n_frames}"
    if (made.width, made.height) != (truth.width, truth.height):
        sizes = f"{made.width} x {made.height}, the reference {truth.width} x {truth.height}"
        return "length_mismatch", f"the output is {sizes} pixels"
    n = min(made.n_frames, truth.n_frames)
    lost = {name: 1 - float(sight.present[:n].mean()) for name, sight in (("output", made), ("reference", truth))}
    if 1 - (made.present[:n] & truth.present[:n]).mean() > LOST_SHARE:
        return "no_face", ", ".join(f"the {name} shows none in {100 * share:.0f} %" for name, share in lost.items())
    return None, None


def _sound_of(audio: Path | None, sight: TrackedVideo, tools: Tools) -> tuple[SpeechAudio | None, str | None]:
    if audio is not None:
        return _heard(audio, tools)
    if not sight.has_audio:
        return None, f"`{sight.path.name}` has no sound; give it with `--audio`"
    return _heard(sight.path, tools, start_s=sight.start_s)


def _heard(path: Path, tools: Tools, *, start_s: float | None = None) -> tuple[SpeechAudio | None, str | None]:
    try:
        return hear(path, tools.models, start_s=start_s), None
    except VastError as error:
        if error.code not in ("vast_no_audio", "vast_audio_too_short"):
            raise
        return None, error.message


def _other_sound(pair: Pair, tools: Tools) -> SpeechAudio | None:
    if pair.other_audio is None:
        return None
    with suppress(VastError):  # another clip's fault is told there
        return _heard(pair.other_audio, tools)[0]
    return None


def _own_samples(pair: Pair, made: TrackedVideo, sound: SpeechAudio | None) -> int | None:
    if not made.has_audio:
        return None
    if pair.audio is None and sound is not None:
        return len(sound.samples)
    return sum(len(block) for block in media.read_audio(pair.output, start_s=made.start_s))


def _still_bands(truth: TrackedVideo, box: CropBox) -> dict[str, Float64]:
    """Features of a still picture in place of the video."""
    points = box.points(truth.points)
    chosen = [k for k in range(0, truth.n_frames, EVERY) if truth.present[k]]
    with media.VideoReader(truth.path) as reader:
        first = next(iter(reader))
    pictures = {"static_mean": truth.mean_picture, "static_first": first}
    return {
        name: np.array([band80(luma(box.cut(picture)), mouth_square(points[k])) for k in chosen])
        for name, picture in pictures.items()
    }


def _styles(pair: Pair, tools: Tools) -> dict[str, NDArray[np.float32]]:
    """Style codes, extracted again from the rendered video, and of the prompt."""
    found = {}
    for name, path in (("made", pair.output), ("prompt", pair.style_reference)):
        if path is None:
            continue
        try:
            found[name] = _style(path, tools, shared=name == "prompt")
        except VastError as error:
            if error.code not in ("vast_no_face", "vast_face_lost"):
                raise
    return found


def _style(path: Path, tools: Tools, *, shared: bool) -> NDArray[np.float32]:
    def encode() -> NDArray[np.float32]:
        return encode_prompt(path, tools.models, face_name=tools.which)[0].vector

    return tools.shelf.get(("style", path), encode) if shared else encode()


def load_networks(*, descriptor: bool = True) -> ObserverNetworks:
    """The networks that ship, and the face descriptor where its package is installed."""
    from vast_cli.evaluate.external.descriptor import load_descriptor

    return ObserverNetworks(sync.load_lagsync(), load_descriptor() if descriptor else None)

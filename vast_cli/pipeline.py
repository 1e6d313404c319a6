"""The main job in one page: what the paper's Fig. 2 shows.

    prompt -> track (Phi) -> style s (E^p, E^v) ┐
    audio  -> posteriorgram A ------------------┴-> expression (D) -> mesh images (Phi') -> frames (G) -> video

Stages do not know each other; they meet here through records. Everything after the posteriorgram streams: memory does
not grow with the length of the sound.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vast_cli import (
    assets,
    devices,
    expression,
    face,
    files,
    media,
    records,
    renderer,
    sidecar,
    speech,
    style,
    timebase,
)
from vast_cli.cache import NO_CACHE, Cache
from vast_cli.errors import Exit, VastError
from vast_cli.records import Array, FaceTrack, Motion, Posteriorgram, Style
from vast_cli.streams import prefetch

log = logging.getLogger(__name__)
T = TypeVar("T")

Frame = NDArray[np.uint8]  # RGB [H, W, 3]
Progress = Callable[[str, int, int | None], None]  # stage, done, total
NOT_OPTIONS = frozenset({"output", "overwrite", "sidecar", "avatar", "fingerprint"})  # fields of a request
MIN_SAMPLES = timebase.PPG_WINDOW  # 0.04 s: one window of the filter bank, one video frame


def silent(_stage: str, _done: int, _total: int | None) -> None:
    """The progress of nobody watching."""


class Models:
    """All shared networks, each loaded once when first asked for."""

    @functools.cached_property
    def face_model(self) -> face.FaceModel:
        """Phi and Phi'."""
        return face.FaceModel.load(assets.find("face_model"))

    @functools.cached_property
    def acoustic_model(self) -> speech.AcousticModel:
        """Sound to posteriorgram."""
        return speech.load_acoustic_model(assets.find("acoustic"))

    @functools.cached_property
    def style_model(self) -> style.StyleModel:
        """E^p and E^v."""
        return style.load_style_model(assets.find("style"))

    @functools.cached_property
    def expression_model(self) -> expression.ExpressionModel:
        """D^ar and D^nar."""
        return expression.load_expression_model(assets.find("style"))

    @functools.cached_property
    def rasteriser(self) -> face.MeshRasteriser:
        """Mesh to mesh images."""
        return face.MeshRasteriser()


@dataclass(frozen=True)
class RenderRequest:
    """One render: what goes in, where it goes, how. Fields below `fingerprint` are the options of `vast render`.

    Attributes:
        fingerprint: written into the video, so that a batch knows its own work again.
        segment: seconds after which a long sound is cut (whole runs of the prediction, 3.84 s each); finished
            segments survive an interruption. It shapes the encoded bytes, not the pictures.
        batch: frames through the network at once; halved when memory runs out.
    """

    audio: Path
    avatar: str
    output: Path
    prompt: Path | None = None
    style: Path | None = None
    overwrite: bool = False
    fingerprint: str | None = None
    style_strength: float = 1.0
    max_exaggeration: float = 1.0
    crf: int = 18
    encoder_preset: str = "fast"
    codec: str = "h264"
    detail: str = "full"
    face: str = "largest"
    segment: float = 60.0
    allow_silence: bool = False
    sidecar: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    batch: int = 8


@dataclass(frozen=True)
class RenderResult:
    """What a render made."""

    output: Path
    n_frames: int
    duration_s: float
    seconds: float
    limited_share: float
    stages: dict[str, float]  # wall seconds until each stage was done
    warnings: list[str] = field(default_factory=list)
    taken_up: int = 0  # segments that an interrupted render had left
    sidecar: dict[str, Any] | None = None  # what the video was made from, if asked for

    def document(self) -> dict[str, Any]:
        """The result as JSON."""
        rows = {key: value for key, value in asdict(self).items() if key != "sidecar"}
        return rows | {"output": str(self.output), "real_time_factor": self.seconds / self.duration_s}


def extract_track(video: Path, models: Models, *, which: str = "largest", progress: Progress = silent) -> FaceTrack:
    """Phi: face parameters of a video.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`, `vast_no_face`, `vast_face_lost`.
    """
    files.check_input(video)
    with media.VideoReader(video) as reader:
        frames = _counted(reader, "track", reader.n_frames, progress)
        return face.track_video(
            prefetch(frames, depth=8), model=models.face_model, source=video.name, face=face_choice(which)
        )


def extract_speech(audio: Path, models: Models, *, progress: Progress = silent) -> Posteriorgram:
    """Posteriorgram of a sound or of a video's sound.

    Raises:
        VastError: `vast_input_missing`, `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`.
    """
    files.check_input(audio)
    blocks = _heard(media.read_audio(audio), progress)
    ppg = speech.extract_ppg(blocks, models.acoustic_model, where=audio.name)
    if ppg.n_samples < MIN_SAMPLES:
        raise VastError(
            "vast_audio_too_short", f"`{audio}` holds {1000 * ppg.n_samples / timebase.SAMPLE_RATE:.0f} ms of sound"
        )
    return ppg


def face_choice(text: str) -> face.FaceChoice:
    """The option `--face`: largest, left, right, or a number from the left, from 0."""
    named: dict[str, face.FaceChoice] = {"largest": "largest", "left": "left", "right": "right"}
    if text in named:
        return named[text]
    if text.isdecimal():
        return int(text)
    raise VastError(
        "vast_option_invalid", f"`--face {text}` is not understood", hint="largest, left, right or a number from 0"
    )


def speech_share(ppg: Posteriorgram) -> float:
    """Share of frames that hold speech."""
    return speech.speech_share(ppg)


def plot_speech(audio: Path, ppg: Posteriorgram, target: Path, *, overwrite: bool = False) -> bool:
    """Draw what is heard under the waveform as PNG; gives whether all of the sound is on it (5 minutes at most).

    Raises:
        VastError: as `extract_speech` for the sound; `vast_output_exists`, `vast_write_failed` ... for the picture.
    """
    blocks, n = [], 0
    for block in media.read_audio(audio):
        blocks.append(block)
        n += len(block)
        if n >= speech.DRAWN_S * timebase.SAMPLE_RATE:
            break
    media.write_png(target, speech.draw_posteriorgram(ppg, np.concatenate(blocks)), overwrite=overwrite)
    return len(ppg.values) <= speech.DRAWN_S * timebase.PPG_RATE


def encode_prompt(
    prompt: Path, models: Models, *, which: str = "largest", progress: Progress = silent
) -> tuple[Style, list[str]]:
    """E^p and E^v: the manner of a prompt, and what its user should know about it.

    `prompt` is a video or a track that `vast extract` wrote. A prompt without sound is ordinary: its speech is unknown.
    """
    files.check_input(prompt)
    warnings: list[str] = []
    ppg = None
    if prompt.suffix == ".track":
        track = records.load(FaceTrack, prompt, model_hash=models.face_model.hash)
    else:
        track = extract_track(prompt, models, which=which, progress=progress)
        if media.probe(prompt).has_audio:
            ppg = _speech_of_prompt(prompt, models)
    lost = 1 - float(track.valid.mean())
    if lost > 0.05:
        warnings.append(f"{100 * lost:.0f} % of `{prompt.name}` shows no face that can be trusted; the rest was used")
    return style.encode_style(track, models.style_model, ppg=ppg), warnings


def _speech_of_prompt(prompt: Path, models: Models) -> Posteriorgram | None:
    """The prompt's speech from its first picture on; a sound that cannot be used is as good as none."""
    network = models.acoustic_model
    with media.VideoReader(prompt) as reader:
        start_s = reader.start_s
    try:
        return speech.extract_ppg(media.read_audio(prompt, start_s=start_s), network, where=prompt.name)
    except VastError as error:
        if error.exit != Exit.DATA:  # a prompt may lack usable sound, the machine may not lack anything
            raise
        log.info("the sound of `%s` is not used: %s", prompt, error.message)
        return None


def write_preview(
    video: Path, track: FaceTrack, output: Path, models: Models, *, overwrite: bool, progress: Progress = silent
) -> None:
    """The video with the tracked mesh drawn over it."""
    with (
        media.VideoReader(video) as reader,
        media.VideoWriter(
            output, width=reader.width, height=reader.height, audio=None, n_frames=track.n_frames, overwrite=overwrite
        ) as writer,
    ):
        for index, frame in enumerate(_counted(reader, "preview", track.n_frames, progress)):
            writer.write(
                face.draw_preview(frame, track, index, model=models.face_model, topology=models.rasteriser.topology)
            )


def check_speech(ppg: Posteriorgram, audio: Path, *, allow_silence: bool) -> None:
    """Refuse a sound without speech unless the user insists."""
    if not allow_silence and not speech.is_speech_present(ppg):
        raise VastError("vast_no_speech", f"`{audio}` holds no speech")


def style_vector(manner: Style | None, avatar: renderer.Avatar, models: Models, *, strength: float) -> Array:
    """s at the strength asked for, on the line from the avatar's own manner to the prompt's."""
    neutral = avatar.neutral_style(models.style_model.hash)
    if neutral is None:
        neutral = np.zeros(models.style_model.config.d_style, np.float32)  # the prior's mean
    return neutral if manner is None else style.interpolate(neutral, manner.vector, strength)


def expressions(
    ppg: Posteriorgram, vector: Array, avatar: renderer.Avatar, models: Models, *, max_exaggeration: float, seed: int
) -> Iterator[tuple[Array, int]]:
    """D: predicted expression [n, 233] in runs, kept inside the avatar's range, and how many frames that touched."""
    for run in expression.predict(ppg, vector, models.expression_model, seed=seed):
        if not np.isfinite(run).all():
            raise VastError("vast_non_finite", "the expression decoder gave values that are not numbers")
        limited, touched = renderer.limit_expression(run, avatar.expression_range, max_exaggeration=max_exaggeration)
        yield limited, int(touched.sum())


def predict_motion(
    audio: Path,
    models: Models,
    *,
    style: Path | None,
    avatar: str,
    style_strength: float = 1.0,
    max_exaggeration: float = 1.0,
    allow_silence: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Motion:
    """Expression only: what `vast predict` writes."""
    bundle = load_avatar(avatar, models)
    manner = None if style is None else records.load(Style, style, model_hash=models.style_model.hash)
    ppg = extract_speech(audio, models, progress=progress)
    check_speech(ppg, audio, allow_silence=allow_silence)
    vector = style_vector(manner, bundle, models, strength=style_strength)
    runs, touched = zip(
        *expressions(ppg, vector, bundle, models, max_exaggeration=max_exaggeration, seed=seed), strict=True
    )
    return Motion(
        expression=np.concatenate(runs),
        n_samples=ppg.n_samples,
        avatar=bundle.name,
        limited_share=sum(touched) / ppg.n_frames,
        face_model_hash=models.face_model.hash,
        model_hash=models.style_model.hash,
    )


def load_avatar(name: str, models: Models) -> renderer.Avatar:
    """The bundle `name`, made for the face model in use.

    Raises:
        VastError: `vast_avatar_unknown`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_model_mismatch`.
    """
    avatar = renderer.Avatar.load(renderer.find_avatar(name))
    if avatar.face_model_hash != models.face_model.hash:
        raise VastError(
            "vast_model_mismatch",
            f"avatar `{name}` was fitted with another face model",
            hint="fit it again: `vast fit-renderer`",
        )
    return avatar


def render(
    request: RenderRequest,
    *,
    models: Models | None = None,
    cache: Cache = NO_CACHE,
    parts: Path | None = None,
    progress: Progress = silent,
    write_sidecar: bool = True,
) -> RenderResult:
    """Audio + prompt + avatar to a talking video (paper 3, steps 1-7).

    Args:
        request: what is wanted.
        models: loaded networks, to use them again.
        cache: of tracks, styles and posteriorgrams.
        parts: folder where finished segments of a long sound are kept until the video is whole; a later call takes
            them up, and the result is the same byte for byte.
        progress: told of work done.
        write_sidecar: whether `request.sidecar` writes it; without, the caller finds it in the result.

    Raises:
        VastError: whatever the stages raise; nothing is left behind then.
    """
    started = time.monotonic()
    stages: dict[str, float] = {}
    models = models or Models()
    for path in filter(None, (request.audio, request.prompt, request.style)):
        files.check_input(path)
    files.check_output(request.output, overwrite=request.overwrite)
    compute = devices.choose(request.device, dtype=request.dtype, threads=request.threads)
    avatar = load_avatar(request.avatar, models)

    ppg = extract_speech(request.audio, models, progress=progress)
    check_speech(ppg, request.audio, allow_silence=request.allow_silence)
    stages["listen"] = time.monotonic() - started

    manner: Style | None = None
    warnings: list[str] = []
    if request.style is not None:
        manner = records.load(Style, request.style, model_hash=models.style_model.hash)
    elif request.prompt is not None:
        manner, warnings = encode_prompt(request.prompt, models, which=request.face, progress=progress)
    vector = style_vector(manner, avatar, models, strength=request.style_strength)
    stages["style"] = time.monotonic() - started

    touched = 0

    def runs() -> Iterator[Array]:
        nonlocal touched
        for run, n_touched in expressions(
            ppg, vector, avatar, models, max_exaggeration=request.max_exaggeration, seed=request.seed
        ):
            touched += n_touched
            yield run

    painter = renderer.Renderer(
        avatar,
        face=models.face_model,
        rasteriser=models.rasteriser,
        compute=compute,
        detail=request.detail,
        seed=request.seed,
    )
    frames = _paint(painter, prefetch(runs()), ppg)
    with media.VideoWriter(
        request.output,
        width=painter.width,
        height=painter.height,
        audio=request.audio,
        n_frames=ppg.n_frames,
        n_samples=ppg.n_samples,
        overwrite=request.overwrite,
        crf=request.crf,
        preset=request.encoder_preset,
        metadata=sidecar.tags(avatar.name, fingerprint=request.fingerprint),
    ) as writer:
        for frame in _counted(frames, "render", ppg.n_frames, progress):
            writer.write(frame)
    stages["render"] = time.monotonic() - started
    limited_share = touched / ppg.n_frames
    if limited_share > 0.2:
        warnings.append(
            f"{100 * limited_share:.0f} % of the frames were held inside what the avatar's footage supports"
        )
    document = None
    if request.sidecar:
        document = _sidecar(request, ppg, avatar, limited_share, warnings, cache)
        if write_sidecar:
            sidecar.write(request.output, document)
    return RenderResult(
        output=request.output,
        n_frames=ppg.n_frames,
        duration_s=ppg.n_samples / timebase.SAMPLE_RATE,
        seconds=time.monotonic() - started,
        limited_share=limited_share,
        stages=stages,
        warnings=warnings,
        sidecar=document,
    )


def _sidecar(
    request: RenderRequest,
    ppg: Posteriorgram,
    avatar: renderer.Avatar,
    limited_share: float,
    warnings: list[str],
    cache: Cache,
) -> dict[str, Any]:
    inputs = {"audio": request.audio, "prompt": request.prompt, "style": request.style}
    return sidecar.document(
        request.output.name,
        sha256=files.sha256(request.output),
        fingerprint=request.fingerprint,
        inputs={role: (path.name, cache.hashes.digest(path)) for role, path in inputs.items() if path is not None},
        options={key: value for key, value in asdict(request).items() if key not in {*inputs, *NOT_OPTIONS}},
        avatar_card=avatar.card,
        n_frames=ppg.n_frames,
        n_samples=ppg.n_samples,
        limited_share=limited_share,
        warnings=warnings,
    )


def _paint(painter: renderer.Renderer, runs: Iterable[Array], ppg: Posteriorgram) -> Iterator[Frame]:
    """Phi' and G: expressions to frames; meshes are drawn in a thread of their own."""

    def scenes() -> Iterator[renderer.Scene]:
        start = 0
        for run in runs:
            yield from painter.prepare(run, start)
            start += len(run)

    start = 0
    for scene in prefetch(scenes()):
        yield from painter.render(scene, renderer.speech_windows(ppg, start, len(scene)))
        start += len(scene)


def _heard(blocks: Iterable[Array], progress: Progress) -> Iterator[Array]:
    """The same blocks; tells the seconds of sound that went by."""
    n_samples = 0
    for block in blocks:
        yield block
        n_samples += len(block)
        progress("listen (s)", n_samples // timebase.SAMPLE_RATE, None)
    done = n_samples // timebase.SAMPLE_RATE
    progress("listen (s)", done, done)


def _counted(items: Iterable[T], stage: str, total: int | None, progress: Progress) -> Iterator[T]:
    done = 0
    for item in items:
        yield item
        done += 1
        progress(stage, done, total)
    progress(stage, done, done)

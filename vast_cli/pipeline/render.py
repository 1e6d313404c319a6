"""The main job in one page: what the paper's Fig. 2 shows.

    prompt -> track (Phi) -> style s (E^p, E^v) ┐
    audio  -> posteriorgram A ------------------┴-> expression (D) -> mesh images (Phi') -> frames (G) -> video

Stages do not know each other; they meet here through records. Everything after the posteriorgram streams: memory does
not grow with the length of the sound.
"""

import hashlib
import logging
import time
from collections.abc import Container, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import expression, media, records, renderer, speech, style
from vast_cli.core import devices, files, timebase
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, counted, silent
from vast_cli.core.streams import prefetch
from vast_cli.pipeline import segments as segmenting
from vast_cli.pipeline import sidecar
from vast_cli.pipeline.extract import (
    MIN_SAMPLES,
    encode_prompt,
    extract_speech,
    extract_track,
    face_choice,
    plot_speech,
    speech_share,
    write_preview,
)
from vast_cli.pipeline.models import Models
from vast_cli.records import Motion, Posteriorgram, Style
from vast_cli.store import assets
from vast_cli.store.cache import NO_CACHE, Cache

__all__ = [
    "MIN_SAMPLES",
    "Models",
    "Progress",
    "RenderRequest",
    "RenderResult",
    "check_speech",
    "encode_prompt",
    "expressions",
    "extract_speech",
    "extract_track",
    "face_choice",
    "load_avatar",
    "plot_speech",
    "predict_motion",
    "render",
    "silent",
    "speech_share",
    "style_vector",
    "write_preview",
]

log = logging.getLogger(__name__)

NOT_OPTIONS = frozenset({"output", "overwrite", "sidecar", "avatar", "fingerprint"})  # fields of a request
MUCH_LIMITED = 0.2  # share of frames from which on the user is told


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


def check_speech(ppg: Posteriorgram, audio: Path, *, allow_silence: bool) -> None:
    """Refuse a sound without speech unless the user insists."""
    if not allow_silence and not speech.is_speech_present(ppg):
        raise VastError("vast_no_speech", f"`{audio}` holds no speech")


def style_vector(manner: Style | None, avatar: renderer.Avatar, models: Models, *, strength: float) -> Float32:
    """s at the strength asked for, on the line from the avatar's own manner to the prompt's."""
    neutral = avatar.neutral_style(models.style_model.hash)
    if neutral is None:
        neutral = np.zeros(models.style_model.config.d_style, np.float32)  # the prior's mean
    return neutral if manner is None else style.interpolate(neutral, manner.vector, strength)


def expressions(
    ppg: Posteriorgram, vector: Float32, avatar: renderer.Avatar, models: Models, *, max_exaggeration: float, seed: int
) -> Iterator[tuple[Float32, int]]:
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
    """The bundle `name`, made for the face model in use; raises as `Models.avatar`."""
    return models.avatar(name)


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
    assets.check()
    for path in filter(None, (request.audio, request.prompt, request.style)):
        files.check_input(path)
    files.check_output(request.output, overwrite=request.overwrite)
    media.check_codec(request.codec)
    compute = devices.choose(request.device, dtype=request.dtype, threads=request.threads)
    avatar = load_avatar(request.avatar, models)

    ppg = extract_speech(request.audio, models, cache=cache, progress=progress)
    check_speech(ppg, request.audio, allow_silence=request.allow_silence)
    stages["listen"] = time.monotonic() - started

    manner: Style | None = None
    warnings: list[str] = []
    if request.style is not None:
        manner = records.load(Style, request.style, model_hash=models.style_model.hash)
    elif request.prompt is not None:
        manner, warnings = encode_prompt(request.prompt, models, which=request.face, cache=cache, progress=progress)
    vector = style_vector(manner, avatar, models, strength=request.style_strength)
    stages["style"] = time.monotonic() - started

    work = _Work(request, models, compute, avatar, ppg, vector, progress)
    cuts = segmenting.cut(ppg.n_frames, request.segment)
    taken_up = work.write_segments(cuts, parts) if len(cuts) > 1 else work.write_whole()
    stages["render"] = time.monotonic() - started
    limited_share = work.touched / ppg.n_frames
    if limited_share > MUCH_LIMITED:
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
        taken_up=taken_up,
        sidecar=document,
    )


class _Work:
    """From posteriorgram and style vector to a file: what is left of a render when both are there."""

    def __init__(
        self,
        request: RenderRequest,
        models: Models,
        compute: devices.Compute,
        avatar: renderer.Avatar,
        ppg: Posteriorgram,
        vector: Float32,
        progress: Progress,
    ) -> None:
        self.request, self.models, self.compute = request, models, compute
        self.avatar, self.ppg, self.vector, self.progress = avatar, ppg, vector, progress
        self.touched = 0  # frames that the limiter changed
        self.painter = renderer.Renderer(
            avatar,
            face=models.face_model,
            rasteriser=models.rasteriser,
            compute=compute,
            detail=request.detail,
            seed=request.seed,
            batch=request.batch,
        )

    def write_whole(self) -> int:
        """A sound of one segment."""
        with (
            closing(self._frames(self.ppg.n_frames, ())) as frames,
            self._writer(
                self.request.output,
                self.ppg.n_frames,
                audio=self.request.audio,
                n_samples=self.ppg.n_samples,
                overwrite=self.request.overwrite,
                metadata=self._tags(),
            ) as writer,
        ):
            for frame in counted(frames, "render", self.ppg.n_frames, self.progress):
                writer.write(frame)
        return 0

    def write_segments(self, cuts: list[range], parts: Path | None) -> int:
        """A long sound, segment by segment; gives how many an interrupted render had left."""
        total = self.ppg.n_frames
        with segmenting.open_kept(parts, self._key(cuts)) as kept:
            with media.VideoJoiner(
                self.request.output,
                audio=self.request.audio,
                n_frames=total,
                n_samples=self.ppg.n_samples,
                overwrite=self.request.overwrite,
                metadata=self._tags(),
            ) as joiner:
                found = {k for k, span in enumerate(cuts) if kept.has(k, span)}
                if found:
                    log.info("%d of %d segments are there already", len(found), len(cuts))
                with closing(self._frames(len(cuts[0]), found)) as frames:
                    for k, span in enumerate(cuts):
                        if k in found:
                            self.painter.state = kept.state(k)
                            self.progress("render", span.stop, total)
                            continue
                        with self._writer(kept.video(k), len(span), overwrite=True) as writer:
                            for done, frame in enumerate(islice(frames, len(span)), start=span.start + 1):
                                writer.write(frame)
                                self.progress("render", done, total)
                        kept.keep(k, span, self.painter.state)
                    for _ in frames:  # the prediction to its end: how often its range was limited
                        raise AssertionError("more frames than the sound has")
                joiner.join([kept.video(k) for k in range(len(cuts))])
            kept.clear()
        return len(found)

    def _writer(self, path: Path, n_frames: int, **options: Any) -> media.VideoWriter:
        request, painter = self.request, self.painter
        return media.VideoWriter(
            path,
            width=painter.width,
            height=painter.height,
            n_frames=n_frames,
            crf=request.crf,
            preset=request.encoder_preset,
            codec="h265" if request.codec == "h265" else "h264",
            **options,
        )

    def _tags(self) -> dict[str, str]:
        return sidecar.tags(self.avatar.name, fingerprint=self.request.fingerprint)

    def _key(self, cuts: list[range]) -> dict[str, Any]:
        """All that decides the bytes of segments; the sound decides by what is heard in it."""
        options = ("max_exaggeration", "crf", "encoder_preset", "codec", "detail", "seed", "batch")
        return segmenting.machine(self.compute) | {
            "speech": hashlib.sha256(self.ppg.values.tobytes()).hexdigest(),
            "style": hashlib.sha256(self.vector.tobytes()).hexdigest(),
            "avatar": self.avatar.card.get("sha256"),
            "models": [self.models.face_model.hash, self.models.expression_model.hash],
            "options": {name: getattr(self.request, name) for name in options},
            "cuts": [len(cuts[0]), self.ppg.n_frames],
        }

    def _frames(self, length: int, skipped: Container[int]) -> Generator[Image, None, None]:
        """D, Phi' and G: frames of all segments of `length` frames but those skipped.

        The whole prediction is run in any case, since it carries a state of its own: 1,600 frames a CPU second, where
        painting does 29. Meshes are drawn in a thread of their own.
        """

        def runs() -> Iterator[Float32]:
            for run, n_touched in expressions(
                self.ppg,
                self.vector,
                self.avatar,
                self.models,
                max_exaggeration=self.request.max_exaggeration,
                seed=self.request.seed,
            ):
                self.touched += n_touched
                yield run

        def scenes() -> Iterator[tuple[int, renderer.Scene]]:
            start = 0
            for run in prefetch(runs()):
                at, start = start, start + len(run)
                if at // length in skipped:
                    continue
                for scene in self.painter.prepare(run, at):
                    yield at, scene
                    at += len(scene)

        for at, scene in prefetch(scenes()):
            yield from self.painter.render(scene, renderer.speech_windows(self.ppg, at, len(scene)))


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

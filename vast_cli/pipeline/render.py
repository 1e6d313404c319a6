"""The main job in one page: what the paper's Fig. 2 shows.

    prompt -> track (Phi) -> style s (E^p, E^v) ┐
    audio  -> posteriorgram A ------------------┴-> expression (D) -> mesh images (Phi') -> frames (G) -> video

Stages do not import each other; they meet here through records. Everything after the posteriorgram streams: memory
does not grow with the length of the audio.
"""

import time
from pathlib import Path
from typing import Any

from vast_cli import records, renderer
from vast_cli.core import devices, files, timebase
from vast_cli.core.limits import LIMITS
from vast_cli.core.progress import Progress, silent
from vast_cli.pipeline import segments, sidecar
from vast_cli.pipeline.extract import encode_prompt, extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import check_speech, head_motion, style_vector
from vast_cli.pipeline.request import RenderRequest, RenderResult
from vast_cli.pipeline.video import VideoMaker
from vast_cli.records import Posteriorgram, Style
from vast_cli.store import assets
from vast_cli.store.cache import NO_CACHE, Cache


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
        request: what to render.
        models: loaded networks, to use them again.
        cache: of tracks, styles and posteriorgrams.
        parts: folder that keeps finished segments of a long video until it is complete; a later call continues from
            them, and the result is the same byte for byte.
        progress: called with work done.
        write_sidecar: whether the sidecar is written if `request` wants one; else the caller finds it in the result.

    Raises:
        VastError: whatever the stages raise; nothing is left behind then.
    """
    started = time.monotonic()
    stages: dict[str, float] = {}
    models = models or Models()
    options, machine = request.options, request.machine
    _check(request)
    compute = devices.choose(machine.device, dtype=machine.dtype, threads=machine.threads)
    avatar = models.avatar(request.avatar)

    ppg = extract_speech(request.audio, models, cache=cache, progress=progress)
    check_speech(ppg, request.audio, allow_silence=options.allow_silence)
    stages["listen"] = time.monotonic() - started

    prompt_style, warnings = _load_style(request, models, cache, progress)
    vector = style_vector(prompt_style, avatar, models, strength=options.style_strength)
    head, more = head_motion(prompt_style, avatar, amount=options.head_motion, seed=options.seed)
    warnings += more
    stages["style"] = time.monotonic() - started

    maker = VideoMaker(request, models, compute, avatar, ppg=ppg, style_vector=vector, head=head, progress=progress)
    cuts = segments.cut(ppg.n_frames, options.segment)
    resumed = maker.write_segments(cuts, parts) if len(cuts) > 1 else maker.write_whole()
    stages["render"] = time.monotonic() - started

    limited_share = maker.n_limited / ppg.n_frames
    if LIMITS["limited_share"].level(limited_share) is not None:
        warnings.append(LIMITS["limited_share"].text.format(percent=100 * limited_share))
    document = _sidecar(request, ppg, avatar, limited_share, warnings, cache) if options.sidecar else None
    if document is not None and write_sidecar:
        sidecar.write(request.output, document)
    return RenderResult(
        output=request.output,
        n_frames=ppg.n_frames,
        duration_s=timebase.audio_seconds(ppg.n_samples),
        seconds=time.monotonic() - started,
        limited_share=limited_share,
        stages=stages,
        warnings=warnings,
        taken_up=resumed,
        sidecar=document,
    )


def _check(request: RenderRequest) -> None:
    """Fail before any work if files are missing, or the output could not be written."""
    assets.check()
    for path in request.inputs.values():
        files.check_input(path)
    files.check_output(request.output, overwrite=request.overwrite)


def _load_style(
    request: RenderRequest, models: Models, cache: Cache, progress: Progress
) -> tuple[Style | None, list[str]]:
    """The style of the prompt or of the style file, None without either; and warnings."""
    if request.style is not None:
        return records.load(Style, request.style, model_hash=models.style_model.hash), []
    if request.prompt is not None:
        return encode_prompt(request.prompt, models, face_name=request.options.face, cache=cache, progress=progress)
    return None, []


def _sidecar(
    request: RenderRequest,
    ppg: Posteriorgram,
    avatar: renderer.Avatar,
    limited_share: float,
    warnings: list[str],
    cache: Cache,
) -> dict[str, Any]:
    options = request.options.model_dump(exclude={"sidecar"}) | request.machine.model_dump()
    provenance = sidecar.Provenance(
        fingerprint=request.fingerprint,
        inputs={role: (path.name, cache.hashes.digest(path)) for role, path in request.inputs.items()},
        options=options | {"batch": request.batch_size},
        avatar_card=avatar.card,
        limited_share=limited_share,
        warnings=warnings,
    )
    return provenance.document(
        request.output.name,
        sha256=files.sha256(request.output),
        n_frames=ppg.n_frames,
        n_samples=ppg.n_samples,
    )

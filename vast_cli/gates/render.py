"""One render that must reach limits before it gets its name: for `vast render`, what a batch does with every job."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from vast_cli.core import devices, files
from vast_cli.core.errors import KINDS, VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.gates import measure
from vast_cli.pipeline import publish
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.render import RenderRequest, RenderResult
from vast_cli.pipeline.render import render as render_video
from vast_cli.store.cache import NO_CACHE, Cache


def render(
    request: RenderRequest,
    limits: Sequence[str],
    *,
    cache: Cache = NO_CACHE,
    parts: Path | None = None,
    progress: Progress = silent,
) -> tuple[RenderResult, Mapping[str, float | None]]:
    """Render, measure, and only then give the video its name; with what was measured.

    Args:
        request: what is wanted.
        limits: as `--gate` takes them.
        cache: as `pipeline.render`.
        parts: as `pipeline.render`.
        progress: told of work done.

    Raises:
        VastError: `vast_gate_failed`: the video stays as `NAME.rejected.mp4`; what `pipeline.render` raises.
    """
    asked = measure.parse(limits)
    models = Models()
    staging = publish.staging_path(request.output.absolute(), files.RUN)
    staged = dataclasses.replace(request, output=staging, overwrite=True)
    try:
        result = render_video(staged, models=models, cache=cache, parts=parts, progress=progress, write_sidecar=False)
        progress("gate", 0, None)
        told = measure.Keeper(models, threads=request.threads or devices.cores()).measure(
            staging,
            audio=request.audio,
            prompt=request.prompt,
            avatar=models.avatar(request.avatar),
            gates=asked,
            n_frames=result.n_frames,
            limited_share=result.limited_share,
            seed=request.seed,
        )
        target = publish.rejected_path(request.output) if told.missed else request.output
        size, sha256 = staging.stat().st_size, files.sha256(staging)
        replace = request.overwrite or bool(told.missed)
        publish.give_name(staging, target, size=size, sha256=sha256, sidecar=result.sidecar, replace=replace)
    finally:
        staging.unlink(missing_ok=True)
    if told.missed:
        hint = f"look at `{target}`; {KINDS['vast_gate_failed'].hint}"
        raise VastError("vast_gate_failed", "; ".join(told.missed), hint=hint)
    warnings = [*result.warnings, *told.warnings]
    return dataclasses.replace(result, output=request.output, warnings=warnings), told.values

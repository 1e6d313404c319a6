"""A render that must pass its gates before the video gets its name: what a batch does with every job."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from vast_cli.core import devices, files
from vast_cli.core.errors import ERROR_KINDS, VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.gates import limits
from vast_cli.gates.measure import Candidate, GateChecker, GateResult
from vast_cli.pipeline import publish
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.render import render as render_video
from vast_cli.pipeline.request import RenderRequest, RenderResult
from vast_cli.store.cache import NO_CACHE, Cache


def render(
    request: RenderRequest,
    gates: Sequence[str],
    *,
    models: Models | None = None,
    cache: Cache = NO_CACHE,
    parts: Path | None = None,
    progress: Progress = silent,
) -> tuple[RenderResult, Mapping[str, float | None]]:
    """Render, measure what `gates` limit, and only then give the video its name.

    Args:
        request: what to render.
        gates: as `--gate` takes them; none: nothing is measured.
        models: loaded networks, to use them again.
        cache: as for `pipeline.render.render`.
        parts: as for `pipeline.render.render`.
        progress: called with work done.

    Returns:
        The result, and the value of each gate.

    Raises:
        VastError: `vast_gate_failed`: the video stays as `NAME.rejected.mp4`; what `pipeline.render.render` raises.
    """
    if not gates:
        return render_video(request, models=models, cache=cache, parts=parts, progress=progress), {}
    models = models or Models()
    staging = publish.staging_path(request.output.absolute(), files.run_tag)
    staged = dataclasses.replace(request, output=staging, overwrite=True)
    try:
        result = render_video(staged, models=models, cache=cache, parts=parts, progress=progress, write_sidecar=False)
        progress("gate", 0, None)
        checked = _check(staged, gates, result, models)
        target = publish.rejected_path(request.output) if checked.missed else request.output
        size, sha256 = staging.stat().st_size, files.sha256(staging)
        replace = request.overwrite or bool(checked.missed)
        publish.give_name(staging, target, size=size, sha256=sha256, sidecar=result.sidecar, replace=replace)
    finally:
        staging.unlink(missing_ok=True)
    if checked.missed:
        hint = f"look at `{target}`; {ERROR_KINDS['vast_gate_failed'].hint}"
        raise VastError("vast_gate_failed", "; ".join(checked.missed), hint=hint)
    warnings = [*result.warnings, *checked.warnings]
    return dataclasses.replace(result, output=request.output, warnings=warnings), checked.values


def _check(request: RenderRequest, gates: Sequence[str], result: RenderResult, models: Models) -> GateResult:
    """Measure the video that `request` made."""
    candidate = Candidate(
        request.output,
        models.avatar(request.avatar),
        result.n_frames,
        audio=request.audio,
        prompt=request.prompt,
        limited_share=result.limited_share,
        seed=request.options.seed,
    )
    threads = request.machine.threads or devices.cores()
    return GateChecker(models, threads=threads).measure(candidate, limits.parse(gates))

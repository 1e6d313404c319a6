"""Runs attempts in this process and keeps its models loaded; queue and output names belong to the coordinator."""

import dataclasses
import functools
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vast_cli.batch.job import Job, Outcome, Task, WorkerSettings
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.memory import is_out_of_memory
from vast_cli.core.progress import Progress
from vast_cli.store.hashes import FileState

if TYPE_CHECKING:
    from vast_cli.gates.measure import GateChecker, GateResult
    from vast_cli.pipeline.models import Models
    from vast_cli.pipeline.request import RenderRequest, RenderResult
    from vast_cli.store.cache import Cache

log = logging.getLogger(__name__)


class JobRunner:
    """Runs the jobs of a worker, and keeps models and caches between them.

    Args:
        settings: what all jobs share.
        worker: number of the worker, which selects one of the machine's GPUs; None if the worker sees only its own.
    """

    def __init__(self, settings: WorkerSettings, *, worker: int | None = None) -> None:
        self.settings = settings
        self._worker = worker
        settings.scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(settings.scratch)  # the run empties it, also after a worker was killed

    def warm_up(self) -> None:
        """Import what every job needs, which takes seconds."""
        import vast_cli.pipeline.render  # noqa: F401 - loads torch and the stages
        from vast_cli.core import devices

        settings = self.settings
        compute = devices.choose(settings.device, dtype=settings.dtype, threads=settings.threads)
        if str(compute.device) == "cuda" and self._worker is not None:  # and no number was requested
            import torch

            self.settings = dataclasses.replace(settings, device=f"cuda:{self._worker % torch.cuda.device_count()}")

    @functools.cached_property
    def models(self) -> "Models":
        """The networks, loaded when first used."""
        from vast_cli.pipeline.models import Models

        return Models()

    @functools.cached_property
    def cache(self) -> "Cache":
        """Tracks, styles and posteriorgrams of all jobs, shared with other workers."""
        from vast_cli.store.cache import Cache

        return Cache(self.settings.cache, run=files.run_tag.split(".")[0])

    @functools.cached_property
    def gate_checker(self) -> "GateChecker":
        """Measures the gates of finished videos."""
        from vast_cli.gates.measure import GateChecker

        return GateChecker(self.models, threads=self.settings.threads)

    def run(self, task: Task, progress: Progress) -> Outcome:
        """Make one attempt: render to `task.staging`, measure the gates, hash the file.

        Raises:
            VastError: whatever the stages raise, `vast_input_changed`; only finished segments are left then.
        """
        with _job_log(task):
            try:
                return self._run(task, progress)
            except VastError:
                task.staging.unlink(missing_ok=True)
                raise
            except Exception as error:
                task.staging.unlink(missing_ok=True)
                log.exception("internal error")
                raise _as_vast_error(error, task) from error

    def _run(self, task: Task, progress: Progress) -> Outcome:
        from vast_cli.pipeline.render import render

        started = time.monotonic()
        job = task.job
        check_unchanged(task.files)
        self.cache.hashes.preload(task.files)
        result = render(
            self._request(task),
            models=self.models,
            cache=self.cache,
            parts=task.parts,
            progress=progress,
            write_sidecar=False,
        )
        gates = self._measure(task, result, progress)
        check_unchanged(task.files)
        return Outcome(
            size=task.staging.stat().st_size,
            sha256=files.sha256(task.staging),
            n_frames=result.n_frames,
            duration_s=result.duration_s,
            seconds=time.monotonic() - started,
            limited_share=result.limited_share,
            stages=result.stages,
            warnings=(*result.warnings, *(gates.warnings if gates else ())),
            gates=gates.values if gates else {},
            missed=gates.missed if gates else (),
            figures=gates.figures if gates else None,
            sidecar=result.sidecar if job.options.get("sidecar") else None,
        )

    def _request(self, task: Task) -> "RenderRequest":
        from vast_cli.pipeline.options import MachineOptions, RenderOptions
        from vast_cli.pipeline.request import RenderRequest

        job, settings = task.job, self.settings
        values = {name: job.options[name] for name in RenderOptions.model_fields if name in job.options}
        return RenderRequest(
            audio=job.audio,
            avatar=job.avatar,
            output=task.staging,
            prompt=job.prompt,
            style=job.style,
            overwrite=True,
            fingerprint=task.fingerprint,
            options=RenderOptions(**values | {"seed": task.seed}),
            machine=MachineOptions(
                device=settings.device,
                dtype=settings.dtype,  # type: ignore[arg-type]  # checked at run time
                threads=settings.threads,
            ),
            batch_size=task.batch_size,
        )

    def _measure(self, task: Task, result: "RenderResult", progress: Progress) -> "GateResult | None":
        requested = task.job.options.get("gate") or ()
        if not requested:
            return None
        from vast_cli.gates import limits
        from vast_cli.gates.measure import Candidate

        progress("gate", 0, None)
        candidate = Candidate(
            task.staging,
            self.models.avatar(task.job.avatar),
            result.n_frames,
            audio=task.job.audio,
            prompt=task.job.prompt,
            limited_share=result.limited_share,
            seed=task.seed,
        )
        return self.gate_checker.measure(candidate, limits.parse(requested))


def check_unchanged(states: Mapping[str, FileState]) -> None:
    """Make sure that the inputs are as they were when the batch was planned.

    Raises:
        VastError: `vast_input_missing`, `vast_input_changed`.
    """
    for path, (size, mtime_ns, _) in states.items():
        files.check_input(Path(path))
        status = Path(path).stat()
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            raise VastError("vast_input_changed", f"`{path}` changed while the batch was running")


@contextmanager
def _job_log(task: Task) -> Iterator[None]:
    """Log to the file of the job, and put the task's tag into the names of temporary files."""
    files.run_tag = task.tag
    root = logging.getLogger()
    handler: logging.Handler = logging.NullHandler()
    try:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(task.log, encoding="utf-8")
    except OSError:  # a full disk must not end the attempt with another error
        pass
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        log.info("attempt %d at %s", task.attempt, describe(task.job))
        yield
    except VastError as error:
        log.error("%s [%s]", error.message, error.code)
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        try:
            handler.close()
        except OSError:
            pass


def describe(job: Job) -> str:
    """A job in one line, for its log."""
    inputs = ", ".join(f"{role} `{path}`" for role, path in job.inputs.items())
    return f"{job.id}: {inputs}, avatar {job.avatar} -> `{job.output}`"


def _as_vast_error(error: Exception, task: Task) -> VastError:
    """The error that an unexpected exception is to the user."""
    if isinstance(error, OSError) and error.filename is not None:
        return files.write_error(error, task.job.output)
    code = "vast_out_of_memory" if is_out_of_memory(error) else "vast_internal"
    return VastError(code, f"{type(error).__name__}: {error}", where=str(task.log))

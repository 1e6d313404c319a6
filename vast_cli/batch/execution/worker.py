"""Run attempts in this process: models stay loaded, the queue is elsewhere, and so is the right to give names."""

import dataclasses
import functools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vast_cli.batch.job import FileState, Job, Outcome, Task, WorkerSettings
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.memory import is_out_of_memory

if TYPE_CHECKING:
    from vast_cli.gates.measure import GateResult, Keeper
    from vast_cli.pipeline.models import Models
    from vast_cli.pipeline.render import RenderRequest, RenderResult
    from vast_cli.store.cache import Cache

log = logging.getLogger(__name__)
Report = Callable[[str, int, int | None], None]  # stage, done, total

# options of a job that are not the renderer's
NOT_RENDERED = frozenset({"gate", "redraw", "seed"})


class Runner:
    """Everything a worker keeps between jobs.

    Args:
        settings: what all its jobs share.
        slot: which of several GPUs of one machine to use; where each worker sees only its own, none.
    """

    def __init__(self, settings: WorkerSettings, *, slot: int | None = None) -> None:
        self.settings = settings
        self._slot = slot
        settings.scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(settings.scratch)  # what a killed worker leaves behind lies where it is swept

    def warm_up(self) -> None:
        """Import what every job needs; seconds, paid once."""
        import vast_cli.pipeline.render  # noqa: F401 - loads torch and the stages
        from vast_cli.core import devices

        settings = self.settings
        compute = devices.choose(settings.device, dtype=settings.dtype, threads=settings.threads)
        if str(compute.device) == "cuda" and self._slot is not None:  # no number was asked for
            import torch

            self.settings = dataclasses.replace(settings, device=f"cuda:{self._slot % torch.cuda.device_count()}")

    @functools.cached_property
    def models(self) -> "Models":
        """The networks, loaded when first used."""
        from vast_cli.pipeline.models import Models

        return Models()

    @functools.cached_property
    def cache(self) -> "Cache":
        """Tracks, styles and posteriorgrams of all jobs, shared with other workers."""
        from vast_cli.store.cache import Cache

        return Cache(self.settings.cache, run=files.RUN.split(".")[0])

    @functools.cached_property
    def keeper(self) -> "Keeper":
        """Who measures the gates."""
        from vast_cli.gates.measure import Keeper

        return Keeper(self.models, threads=self.settings.threads)

    def run(self, task: Task, report: Report) -> Outcome:
        """One attempt: render to `task.staging`, measure the gates, hash.

        Raises:
            VastError: whatever the stages raise, `vast_input_changed`; nothing but finished segments is left then.
        """
        with _logged(task):
            try:
                return self._run(task, report)
            except VastError:
                task.staging.unlink(missing_ok=True)
                raise
            except Exception as error:
                task.staging.unlink(missing_ok=True)
                log.exception("internal error")
                raise _translated(error, task) from error

    def _run(self, task: Task, report: Report) -> Outcome:
        from vast_cli.pipeline.render import render

        started = time.monotonic()
        job = task.job
        check_unchanged(task.files)
        self.cache.hashes.preset(task.files)
        result = render(
            self._request(task),
            models=self.models,
            cache=self.cache,
            parts=task.parts,
            progress=report,
            write_sidecar=False,
        )
        told = self._measure(task, result, report)
        check_unchanged(task.files)
        return Outcome(
            size=task.staging.stat().st_size,
            sha256=files.sha256(task.staging),
            n_frames=result.n_frames,
            duration_s=result.duration_s,
            seconds=time.monotonic() - started,
            limited_share=result.limited_share,
            stages=result.stages,
            warnings=(*result.warnings, *(told.warnings if told else ())),
            gates=told.values if told else {},
            missed=told.missed if told else (),
            figures=told.figures if told else None,
            sidecar=result.sidecar if job.options.get("sidecar") else None,
        )

    def _request(self, task: Task) -> "RenderRequest":
        from vast_cli.pipeline.render import RenderRequest

        job, settings = task.job, self.settings
        options = {name: value for name, value in job.options.items() if name not in NOT_RENDERED}
        return RenderRequest(
            audio=job.audio,
            avatar=job.avatar,
            output=task.staging,
            prompt=job.prompt,
            style=job.style,
            overwrite=True,
            seed=task.seed,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
            batch=task.batch,
            fingerprint=task.fingerprint,
            **options,
        )

    def _measure(self, task: Task, result: "RenderResult", report: Report) -> "GateResult | None":
        asked = task.job.options.get("gate") or ()
        if not asked:
            return None
        from vast_cli.gates import measure

        report("gate", 0, None)
        return self.keeper.measure(
            task.staging,
            audio=task.job.audio,
            prompt=task.job.prompt,
            avatar=self.models.avatar(task.job.avatar),
            gates=measure.parse(asked),
            n_frames=result.n_frames,
            limited_share=result.limited_share,
            seed=task.seed,
        )


def check_unchanged(states: Mapping[str, FileState]) -> None:
    """Make sure that inputs are the files that were planned with.

    Raises:
        VastError: `vast_input_missing`, `vast_input_changed`.
    """
    for path, (size, mtime_ns, _) in states.items():
        files.check_input(Path(path))
        status = Path(path).stat()
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            raise VastError("vast_input_changed", f"`{path}` changed while the batch was running")


@contextmanager
def _logged(task: Task) -> Iterator[None]:
    """The job's own log, and its name on every temporary file."""
    files.RUN = task.tag
    root = logging.getLogger()
    handler: logging.Handler = logging.NullHandler()
    try:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(task.log, encoding="utf-8")
    except OSError:  # a full disk must not be told as something else
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


def _translated(error: Exception, task: Task) -> VastError:
    """What an unforeseen exception is to the user."""
    if isinstance(error, OSError) and error.filename is not None:
        return files.write_error(error, task.job.output)
    code = "vast_out_of_memory" if is_out_of_memory(error) else "vast_internal"
    return VastError(code, f"{type(error).__name__}: {error}", where=str(task.log))

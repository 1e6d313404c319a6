"""Measures the speed of this machine with the shipped example: through the workers of a batch, and each stage alone.

End to end is from the request to the finished, hashed file; cold is from the start of the worker on, with libraries,
networks and the prompt to load.
"""

import os
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vast_cli.batch import bench_stages
from vast_cli.batch.execution.executors import Executor, make_executor
from vast_cli.batch.job import Died, Done, Failed, Job, Outcome, Ready, Task, WorkerSettings
from vast_cli.batch.manifest import BUILT_IN
from vast_cli.batch.planning import speeds
from vast_cli.batch.planning.speeds import RenderSpeed
from vast_cli.core import devices
from vast_cli.core.errors import VastError
from vast_cli.store import assets, bundles
from vast_cli.store.cache import FileHashes

LONG = 2  # times the example, to separate the fixed cost of a job from its rate
TIMEOUT_S = 300.0  # of one job or start
BUSY_LOAD = 0.5  # per core before the start; above it, the figures are lower than the machine's


@dataclass(frozen=True)
class BenchResult:
    """The measured speeds. Rates are frames of video a second.

    Attributes:
        machine: CPU, cores, version.
        device: of the networks.
        avatar: that was rendered.
        sound_s: length of the example.
        start_s: until a worker is ready.
        cold_s: from nothing to the first video.
        warm_s: for the same video again.
        cold_fps: frames over `cold_s`.
        warm_fps: of one worker with one thread.
        workers: that ran side by side.
        all_fps: of all of them together.
        speed: for the estimates of `vast plan`.
        stages: each alone with one thread.
        busy: load per core before the start, if it was too high for good figures.
    """

    machine: speeds.Machine
    device: str
    avatar: str
    sound_s: float
    start_s: float
    cold_s: float
    warm_s: float
    cold_fps: float
    warm_fps: float
    workers: int
    all_fps: float
    speed: RenderSpeed
    stages: dict[str, float] = field(default_factory=dict)
    busy: float | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        rest = {name: value for name, value in asdict(self).items() if name != "speed"}
        return {"schema": "vast.bench/1"} | rest | {"speed": asdict(self.speed)}


@dataclass(frozen=True)
class _EndToEnd:
    """Times of the jobs that ran through workers, in seconds."""

    start_s: float
    cold: Outcome
    cold_s: float  # without the start
    warm: Outcome
    warm_s: float
    long: Outcome
    long_s: float
    all_fps: float

    @property
    def warm_fps(self) -> float:
        return self.long.n_frames / self.long_s


def run_bench(
    scratch: Path,
    *,
    avatar: str = "obama",
    workers: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    notify: Callable[[str], None] = lambda text: None,
) -> BenchResult:
    """Measure this machine, which takes a minute on two cores.

    Args:
        scratch: empty folder for temporary files.
        avatar: name of an avatar, or the path of a bundle.
        workers: to run side by side; 0: one per core, or one on a GPU.
        device: the option `--device`.
        dtype: the option `--dtype`.
        notify: called with a line for each step.

    Raises:
        VastError: whatever rendering raises, `vast_worker_died`, `vast_timeout`.
    """
    load = _load_per_core()
    device_name = speeds.device_name(device)
    workers = workers or (devices.cores() if device_name == "cpu" else 1)
    examples = _examples(scratch)
    settings = WorkerSettings(
        cache=scratch / "cache", scratch=scratch / "tmp", logs=scratch / "logs", device=device, dtype=dtype, threads=1
    )
    tasks = _Tasks(scratch, avatar, examples[0], examples[1])
    times = _run_workers(settings, tasks, workers, notify)
    notify("each stage alone")
    stages, prompt_s = bench_stages.measure(examples, avatar=avatar, device=device, dtype=dtype, scratch=scratch)
    cold_s = times.start_s + times.cold_s
    return BenchResult(
        machine=speeds.this_machine(),
        device=device_name,
        avatar=avatar,
        sound_s=times.warm.duration_s,
        start_s=times.start_s,
        cold_s=cold_s,
        warm_s=times.warm_s,
        cold_fps=times.cold.n_frames / cold_s,
        warm_fps=times.warm_fps,
        workers=workers,
        all_fps=times.all_fps,
        speed=_render_speed(times, stages, avatar=avatar, workers=workers, prompt_s=prompt_s, device=device_name),
        stages=stages,
        busy=load if load is not None and load > BUSY_LOAD else None,
    )


def _run_workers(settings: WorkerSettings, tasks: "_Tasks", workers: int, notify: Callable[[str], None]) -> _EndToEnd:
    """Time one worker, cold and warm, and then all of them together."""
    notify("one worker, cold")
    with closing(make_executor("local", settings, 1)) as executor:
        start_s = _start(executor, 1)
        (cold,), cold_s = _timed(executor, [tasks.short()])
        notify("one worker, warm")
        (warm,), warm_s = _timed(executor, [tasks.short()])
        (long,), long_s = _timed(executor, [tasks.long()])
    all_fps = long.n_frames / long_s
    if workers > 1:
        notify(f"{workers} workers")
        with closing(make_executor("local", settings, workers)) as executor:
            _start(executor, workers)
            _timed(executor, [tasks.short() for _ in range(workers)])
            outcomes, wall_s = _timed(executor, [tasks.long() for _ in range(workers)])
        all_fps = sum(outcome.n_frames for outcome in outcomes) / wall_s
    return _EndToEnd(start_s, cold, cold_s, warm, warm_s, long, long_s, all_fps)


def _render_speed(
    times: _EndToEnd, stages: dict[str, float], *, avatar: str, workers: int, prompt_s: float, device: str
) -> RenderSpeed:
    """The speed of one worker among all of them, which share memory and caches."""
    from vast_cli.batch.planning.fingerprint import avatar_hash

    job_s, rate = speeds.fit_job_time([times.warm.duration_s, times.long.duration_s], [times.warm_s, times.long_s])
    slowdown = max(1.0, workers * times.warm_fps / times.all_fps)
    return RenderSpeed(
        avatar=avatar_hash(bundles.find(avatar), FileHashes(None))[:16],
        detail=str(BUILT_IN["detail"]),
        seconds_per_s=slowdown * rate,
        job_s=slowdown * job_s,
        bytes_per_s=times.long.size / times.long.duration_s,
        crf=int(BUILT_IN["crf"]),
        workers=workers,
        jobs=2 + workers,
        start_s=times.start_s + max(0.0, times.cold_s - times.warm_s - prompt_s),
        prompt_s=prompt_s,
        device=device,
        stages=stages,
    )


def _load_per_core() -> float | None:
    return os.getloadavg()[0] / devices.cores() if hasattr(os, "getloadavg") else None


def _examples(scratch: Path) -> tuple[Path, Path, Path]:
    """The audio of the example, the same repeated, and its prompt.

    Raises:
        VastError: `vast_asset_missing`.
    """
    from vast_cli import media
    from vast_cli.core import timebase

    folder = assets.data_folder("examples")
    audio, prompt = folder / "speech.flac", folder / "prompt.mp4"
    for path in (audio, prompt):
        if not path.is_file():
            raise VastError("vast_asset_missing", f"`{path}` is missing")
    import numpy as np

    samples = np.tile(media.load_audio(audio), LONG)
    scratch.mkdir(parents=True, exist_ok=True)
    with wave.open(str(scratch / "long.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(timebase.SAMPLE_RATE)
        file.writeframes((32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return audio, scratch / "long.wav", prompt


# --- end to end -----------------------------------------------------------------------------------------------------


class _Tasks:
    """Makes tasks as the coordinator does."""

    def __init__(self, scratch: Path, avatar: str, short: Path, long: Path) -> None:
        self._scratch, self._avatar = scratch, avatar
        self._short, self._long = short, long
        self._n = 0

    def short(self) -> Task:
        return self._task(self._short)

    def long(self) -> Task:
        return self._task(self._long)

    def _task(self, audio: Path) -> Task:
        self._n += 1
        name = f"bench-{self._n}"
        job = Job(
            id=name, index=self._n, where="bench", audio=audio, avatar=self._avatar, options=BUILT_IN,
            prompt=assets.data_folder("examples") / "prompt.mp4", output=self._scratch / f"{name}.mp4",
        )  # fmt: skip
        return Task(
            job=job, attempt=1, seed=0, fingerprint="bench", staging=job.output, parts=self._scratch / "parts" / name,
            tag=name, log=self._scratch / "logs" / f"{name}.log",
        )  # fmt: skip


def _start(executor: Executor, n: int) -> float:
    """Start n workers; returns the seconds until all are ready."""
    started = time.monotonic()
    for worker in range(n):
        executor.start(worker)
    starting = set(range(n))
    for message in _messages(executor):
        if isinstance(message, Ready):
            starting.discard(message.worker)
        if not starting:
            break
    return time.monotonic() - started


def _timed(executor: Executor, tasks: Sequence[Task]) -> tuple[list[Outcome], float]:
    """Run one task on each worker at once; returns the outcomes and the wall time of all together."""
    started = time.monotonic()
    for worker, task in enumerate(tasks):
        executor.submit(worker, task)
    outcomes: list[Outcome] = []
    for message in _messages(executor):
        if isinstance(message, Done):
            outcomes.append(message.outcome)
        if len(outcomes) == len(tasks):
            break
    return outcomes, time.monotonic() - started


def _messages(executor: Executor) -> Iterator[object]:
    """Yield the messages of workers until the timeout.

    Raises:
        VastError: a job failed, a worker died, or the timeout passed.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for message in executor.poll(0.5):
            if isinstance(message, Failed):
                raise message.error
            if isinstance(message, Died):
                raise VastError("vast_worker_died", f"a worker {message.reason}")
            yield message
    raise VastError("vast_timeout", f"the example took more than {TIMEOUT_S:.0f} s")

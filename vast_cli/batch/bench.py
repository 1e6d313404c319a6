"""How fast this machine is: the shipped example through the workers of a batch, and each stage alone.

End to end means from the request to the finished, hashed file; cold means from the start of the worker on, with
libraries, networks and the prompt to load.
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

Tell = Callable[[str], None]
LONG = 2  # times the example, to tell a job's fixed cost from its rate
PATIENCE_S = 300.0  # with one job or start
BUSY = 0.5  # load a core before we begin, above which figures are not the machine's


@dataclass(frozen=True)
class Bench:
    """What was measured. Rates are frames of video a second.

    Attributes:
        machine: CPU, cores, version.
        device: the networks ran on.
        avatar: that was rendered.
        sound_s: length of the example.
        start_s: until a worker is ready.
        cold_s: from nothing to the first video.
        warm_s: of the same video again.
        cold_fps: frames over `cold_s`.
        warm_fps: of one worker with one thread.
        workers: that ran side by side.
        all_fps: of all of them together.
        stages: each alone with one thread.
        busy: the load a core before it began, if it was so high that the figures are not the machine's.
        speed: what estimates take from it.
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


def bench(
    scratch: Path,
    *,
    avatar: str = "obama",
    workers: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    tell: Tell = lambda text: None,
) -> Bench:
    """Measure this machine; a minute on two cores.

    Args:
        scratch: empty folder for what is made.
        avatar: name of an avatar, or the path of a bundle.
        workers: to run side by side; 0: one a core, or one on a GPU.
        device: the option `--device`.
        dtype: the option `--dtype`.
        tell: hears what is going on.

    Raises:
        VastError: whatever rendering raises, `vast_worker_died`, `vast_timeout`.
    """
    from vast_cli.batch.planning.fingerprint import avatar_hash

    load = _load()
    kind = speeds.device_name(device)
    workers = workers or (devices.cores() if kind == "cpu" else 1)
    examples = _examples(scratch)
    settings = WorkerSettings(
        cache=scratch / "cache", scratch=scratch / "tmp", logs=scratch / "logs", device=device, dtype=dtype, threads=1
    )
    jobs = _Jobs(scratch, avatar, examples[0], examples[1])
    tell("one worker, cold")
    with closing(make_executor("local", settings, 1)) as executor:
        start_s = _start(executor, 1)
        cold, cold_run_s = _timed(executor, [jobs.short()])
        tell("one worker, warm")
        warm, warm_s = _timed(executor, [jobs.short()])
        long, long_s = _timed(executor, [jobs.long()])
    warm_fps = all_fps = long[0].n_frames / long_s
    if workers > 1:
        tell(f"{workers} workers")
        with closing(make_executor("local", settings, workers)) as executor:
            _start(executor, workers)
            _timed(executor, [jobs.short() for _ in range(workers)])
            outcomes, wall_s = _timed(executor, [jobs.long() for _ in range(workers)])
        all_fps = sum(outcome.n_frames for outcome in outcomes) / wall_s
    tell("each stage alone")
    stages, prompt_s = bench_stages.measure(examples, avatar=avatar, device=device, dtype=dtype, scratch=scratch)
    job_s, rate = speeds.fit_job_time([warm[0].duration_s, long[0].duration_s], [warm_s, long_s])
    crowd = max(1.0, workers * warm_fps / all_fps)  # they share memory and caches
    speed = RenderSpeed(
        avatar=avatar_hash(bundles.find(avatar), FileHashes(None))[:16],
        detail=str(BUILT_IN["detail"]),
        seconds_per_s=crowd * rate,
        job_s=crowd * job_s,
        bytes_per_s=long[0].size / long[0].duration_s,
        crf=int(BUILT_IN["crf"]),
        workers=workers,
        jobs=2 + workers,
        start_s=start_s + max(0.0, cold_run_s - warm_s - prompt_s),
        prompt_s=prompt_s,
        device=kind,
        stages=stages,
    )
    return Bench(
        machine=speeds.this_machine(),
        device=kind,
        avatar=avatar,
        sound_s=warm[0].duration_s,
        start_s=start_s,
        cold_s=start_s + cold_run_s,
        warm_s=warm_s,
        cold_fps=cold[0].n_frames / (start_s + cold_run_s),
        warm_fps=warm_fps,
        workers=workers,
        all_fps=all_fps,
        speed=speed,
        stages=stages,
        busy=load if load is not None and load > BUSY else None,
    )


def _load() -> float | None:
    return os.getloadavg()[0] / devices.cores() if hasattr(os, "getloadavg") else None


def _examples(scratch: Path) -> tuple[Path, Path, Path]:
    """The example's sound, a longer one of it, and its prompt.

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


class _Jobs:
    """Tasks as a coordinator makes them."""

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
    began = time.monotonic()
    for slot in range(n):
        executor.start(slot)
    waiting = set(range(n))
    for message in _messages(executor):
        if isinstance(message, Ready):
            waiting.discard(message.slot)
        if not waiting:
            break
    return time.monotonic() - began


def _timed(executor: Executor, tasks: Sequence[Task]) -> tuple[list[Outcome], float]:
    """Run one task in each slot at once: outcomes and wall seconds of all together."""
    began = time.monotonic()
    for slot, task in enumerate(tasks):
        executor.submit(slot, task)
    outcomes: list[Outcome] = []
    for message in _messages(executor):
        if isinstance(message, Done):
            outcomes.append(message.outcome)
        if len(outcomes) == len(tasks):
            break
    return outcomes, time.monotonic() - began


def _messages(executor: Executor) -> Iterator[object]:
    """What workers say, until nothing came for too long.

    Raises:
        VastError: a job failed, a worker died, or nobody says anything.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for message in executor.poll(0.5):
            if isinstance(message, Failed):
                raise message.error
            if isinstance(message, Died):
                raise VastError("vast_worker_died", f"a worker {message.reason}")
            yield message
    raise VastError("vast_timeout", f"the example took more than {PATIENCE_S:.0f} s")

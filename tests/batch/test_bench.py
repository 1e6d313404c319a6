"""`vast bench` measures what it says, closes its workers, and saves a speed for the estimates."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vast_cli.batch import bench
from vast_cli.batch.bench import BenchResult
from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Outcome, Ready, Task, WorkerSettings
from vast_cli.batch.planning import speeds
from vast_cli.core.errors import VastError

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["track", "listen", "style", "predict", "mesh", "network", "encode"]


class Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeExecutor:
    """An executor whose workers take 3 s to start, 5 s more for their first job, 1 s a job and 2 s a second of audio.

    Two at once take half as long again.
    """

    n_closed = 0

    def __init__(self, clock: Clock, n_workers: int, *, fails: Message | None = None) -> None:
        self.n_workers, self._clock, self._fails = n_workers, clock, fails
        self._messages: list[Message] = []
        self._tasks: list[tuple[int, Task]] = []
        self._warm: set[int] = set()
        self._starting: list[int] = []

    def start(self, worker: int) -> None:
        self._starting.append(worker)

    def submit(self, worker: int, task: Task) -> None:
        self._tasks.append((worker, task))

    def poll(self, timeout_s: float) -> list[Message]:
        if self._starting:
            self._clock.now += 3.0
            ready: list[Message] = [Ready(worker, 1) for worker in self._starting]
            self._starting = []
            return ready
        if self._fails is not None:
            return [self._fails]
        if not self._tasks:
            self._clock.now += timeout_s
            return [Alive(0)]
        tasks, self._tasks = self._tasks, []
        slowdown = 1.5 if len(tasks) > 1 else 1.0
        long = [8.0 if task.job.audio.name == "long.wav" else 4.0 for _, task in tasks]
        cold = 5.0 if any(worker not in self._warm for worker, _ in tasks) else 0.0
        self._clock.now += cold + slowdown * max(1 + 2 * length for length in long)
        self._warm.update(worker for worker, _ in tasks)
        return [Done(worker, task.key, outcome(length)) for (worker, task), length in zip(tasks, long, strict=True)]

    def kill(self, worker: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        FakeExecutor.n_closed += 1


def outcome(audio_s: float) -> Outcome:
    return Outcome(
        size=round(1000 * audio_s), sha256="", n_frames=round(25 * audio_s), duration_s=audio_s, seconds=0.0,
        limited_share=0.0, stages={}, warnings=(), gates={}, missed=(), figures=None, sidecar=None,
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(bench.time, "monotonic", clock)
    monkeypatch.setattr(bench.bench_stages, "measure", lambda *args, **kwargs: ({name: 10.0 for name in STAGES}, 1.5))
    FakeExecutor.n_closed = 0
    yield clock


def run(clock: Clock, monkeypatch: pytest.MonkeyPatch, folder: Path, *, fails: Message | None = None) -> BenchResult:
    def make(name: str, settings: WorkerSettings, n_workers: int) -> FakeExecutor:
        assert (name, settings.threads) == ("local", 1)
        assert folder in settings.cache.parents and folder in settings.scratch.parents
        return FakeExecutor(clock, n_workers, fails=fails)

    monkeypatch.setattr(bench, "make_executor", make)
    return bench.run_bench(folder, workers=2)


def test_cold_warm_and_parallel_speeds(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = run(clock, monkeypatch, tmp_path)
    assert result.start_s == 3.0
    assert result.cold_s == 3.0 + 5.0 + 9.0
    assert result.cold_fps == pytest.approx(100 / 17)
    assert result.warm_s == 9.0
    assert result.warm_fps == pytest.approx(200 / 17)
    assert result.all_fps == pytest.approx(400 / (1.5 * 17))
    assert FakeExecutor.n_closed == 2
    speed = result.speed
    assert (speed.job_s, speed.seconds_per_s) == (pytest.approx(1.5), pytest.approx(3.0))  # of one among two
    assert (speed.workers, speed.bytes_per_s) == (2, 1000.0)
    assert speed.start_s == pytest.approx(3.0 + 5.0 - 1.5)
    assert speed.prompt_s == 1.5
    assert list(speed.stages) == STAGES


@pytest.mark.parametrize(
    ("fails", "code"),
    [
        (Died(0, "was killed"), "vast_worker_died"),
        (Failed(0, ("bench-1", 1), VastError("vast_no_ffmpeg", "none")), "vast_no_ffmpeg"),
        (Alive(0), "vast_timeout"),
    ],
)
def test_failures_are_raised_and_the_workers_closed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: Message, code: str
) -> None:
    if isinstance(fails, Alive):
        monkeypatch.setattr(bench, "TIMEOUT_S", 0.0)
    with pytest.raises(VastError) as error:
        run(clock, monkeypatch, tmp_path, fails=fails)
    assert error.value.code == code
    assert FakeExecutor.n_closed == 1


@pytest.mark.slow
def test_the_command_measures_this_machine(tmp_path: Path) -> None:
    import time

    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "vast_cli", "bench", "--json", "--cache", str(tmp_path), "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wall_s = time.monotonic() - began
    result = json.loads(done.stdout)
    assert list(result["stages"]) == STAGES and all(rate > 0 for rate in result["stages"].values())
    assert result["cold_s"] > result["warm_s"] > 0
    assert result["cold_s"] + result["warm_s"] < wall_s
    assert result["cold_fps"] * result["cold_s"] == pytest.approx(25 * result["sound_s"], abs=1)
    assert [speed.source for speed in speeds.load_speeds(tmp_path)] == ["bench"]

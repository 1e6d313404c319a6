"""The benchmark measures what it says, leaves nothing behind, and teaches the estimates."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vast_cli.batch import bench as benching
from vast_cli.batch.bench import Bench
from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Outcome, Ready, Task, WorkerSettings
from vast_cli.batch.planning import speeds
from vast_cli.core.errors import VastError

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["track", "listen", "style", "predict", "mesh", "network", "encode"]


class Clock:
    """Time that passes only where somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """An executor whose workers take 3 s to start, 5 s more for their first job, 1 s a job and 2 s a second of sound.

    Two at once take half as long again.
    """

    closed = 0

    def __init__(self, clock: Clock, slots: int, *, fails: Message | None = None) -> None:
        self.slots, self._clock, self._fails = slots, clock, fails
        self._messages: list[Message] = []
        self._tasks: list[tuple[int, Task]] = []
        self._warm: set[int] = set()
        self._starting: list[int] = []

    def start(self, slot: int) -> None:
        self._starting.append(slot)

    def submit(self, slot: int, task: Task) -> None:
        self._tasks.append((slot, task))

    def poll(self, timeout_s: float) -> list[Message]:
        if self._starting:
            self._clock.now += 3.0
            ready: list[Message] = [Ready(slot, 1) for slot in self._starting]
            self._starting = []
            return ready
        if self._fails is not None:
            return [self._fails]
        if not self._tasks:
            self._clock.now += timeout_s
            return [Alive(0)]
        tasks, self._tasks = self._tasks, []
        crowd = 1.5 if len(tasks) > 1 else 1.0
        long = [8.0 if task.job.audio.name == "long.wav" else 4.0 for _, task in tasks]
        cold = 5.0 if any(slot not in self._warm for slot, _ in tasks) else 0.0
        self._clock.now += cold + crowd * max(1 + 2 * length for length in long)
        self._warm.update(slot for slot, _ in tasks)
        return [Done(slot, task.key, outcome(length)) for (slot, task), length in zip(tasks, long, strict=True)]

    def kill(self, slot: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        Workers.closed += 1


def outcome(sound_s: float) -> Outcome:
    return Outcome(
        size=round(1000 * sound_s), sha256="", n_frames=round(25 * sound_s), duration_s=sound_s, seconds=0.0,
        limited_share=0.0, stages={}, warnings=(), gates={}, missed=(), figures=None, sidecar=None,
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(benching.time, "monotonic", clock)
    monkeypatch.setattr(
        benching.bench_stages, "measure", lambda *args, **kwargs: ({name: 10.0 for name in STAGES}, 1.5)
    )
    Workers.closed = 0
    yield clock


def run(clock: Clock, monkeypatch: pytest.MonkeyPatch, folder: Path, *, fails: Message | None = None) -> Bench:
    def make(name: str, settings: WorkerSettings, slots: int) -> Workers:
        assert (name, settings.threads) == ("local", 1)
        assert folder in settings.cache.parents and folder in settings.scratch.parents
        return Workers(clock, slots, fails=fails)

    monkeypatch.setattr(benching, "make_executor", make)
    return benching.bench(folder, workers=2)


def test_cold_warm_and_all_together(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(clock, monkeypatch, tmp_path)
    assert found.start_s == 3.0
    assert found.cold_s == 3.0 + 5.0 + 9.0
    assert found.cold_fps == pytest.approx(100 / 17)
    assert found.warm_s == 9.0
    assert found.warm_fps == pytest.approx(200 / 17)
    assert found.all_fps == pytest.approx(400 / (1.5 * 17))
    assert Workers.closed == 2
    speed = found.speed
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
def test_what_goes_wrong_is_told(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: Message, code: str
) -> None:
    if isinstance(fails, Alive):
        monkeypatch.setattr(benching, "PATIENCE_S", 0.0)
    with pytest.raises(VastError) as error:
        run(clock, monkeypatch, tmp_path, fails=fails)
    assert error.value.code == code
    assert Workers.closed == 1


@pytest.mark.slow
def test_the_real_one(tmp_path: Path) -> None:
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
    found = json.loads(done.stdout)
    assert list(found["stages"]) == STAGES and all(rate > 0 for rate in found["stages"].values())
    assert found["cold_s"] > found["warm_s"] > 0
    assert found["cold_s"] + found["warm_s"] < wall_s
    assert found["cold_fps"] * found["cold_s"] == pytest.approx(25 * found["sound_s"], abs=1)
    assert [speed.source for speed in speeds.load_speeds(tmp_path)] == ["bench"]

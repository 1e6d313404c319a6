"""Killed at random moments, with its workers or without: the rerun finishes, and nothing shows that it happened."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.batch.batches import World, descendants

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BATCH = ("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "2", "--no-report")


def jobs(world: World, n: int) -> None:
    """A long job in segments first, then short ones."""
    world.quick(n, segment=5)
    world.repeat(world.folder / "sound" / "s000.wav", 13)


def undisturbed(world: World, tmp_path: Path, n: int) -> dict[str, str]:
    """Hashes of a run that nobody touched, in a folder of another name."""
    other = World(tmp_path / "undisturbed", world.speech, world.cache)
    jobs(other, n)
    run = other.vast(*BATCH)
    assert run.returncode == 0, run.stderr
    return other.hashes()


def wait_for_exit(process: "subprocess.Popen[str]", pids: list[int]) -> None:
    """Until a killed run's workers are gone too."""
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and not _zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, "orphans outlive the coordinator"
        time.sleep(0.05)


def _zombie(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def check_survivors(world: World, before: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """Finished outputs are as they were, in bytes and in time."""
    now = world.finished()
    assert {name: now.get(name) for name in before} == before
    return now


@linux
@pytest.mark.parametrize(
    ("kills", "n"), [(3, 18), pytest.param(20, 80, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_kill_the_whole_run(world: World, tmp_path: Path, kills: int, n: int) -> None:
    wanted = undisturbed(world, tmp_path, n)
    jobs(world, n)
    chance = random.Random(1)
    done: dict[str, tuple[str, int]] = {}
    for _ in range(kills):
        run = world.start(*BATCH)
        begun = len(done)
        target = begun + chance.randint(0, max(1, n // kills - 1))
        deadline = time.monotonic() + 240
        while run.poll() is None and len(world.finished()) < target and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.4)
        pids = descendants(run.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        wait_for_exit(run, pids)
        done = check_survivors(world, done)
    last = world.vast(*BATCH)
    assert last.returncode == 0, last.stderr
    check_survivors(world, done)
    assert world.hashes() == wanted
    assert not world.temporary()
    assert sorted(set(world.happened("job_done"))) == sorted(path.removesuffix(".mp4") for path in wanted)
    assert len(world.happened("job_done")) == n, "a finished job was done twice"


@linux
@pytest.mark.parametrize(
    ("kills", "n"), [(3, 12), pytest.param(20, 140, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_kill_single_workers(world: World, tmp_path: Path, kills: int, n: int) -> None:
    wanted = undisturbed(world, tmp_path, n)
    jobs(world, n)
    chance = random.Random(2)
    run = world.start(*BATCH, "--retries", "5")
    killed = 0
    while run.poll() is None and killed < kills:
        target = len(world.finished()) + 1
        while run.poll() is None and len(world.finished()) < target:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        workers = [pid for pid in descendants(run.pid) if "spawn_main" in _command(pid)]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    _, said = run.communicate(timeout=280)
    assert killed == kills
    if run.returncode == 3:  # a job may have met two of the kills and been set aside
        assert "vast_worker_died" in said
        assert world.vast(*BATCH).returncode == 0
    else:
        assert run.returncode == 0, said
    assert world.hashes() == wanted
    assert not world.temporary()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@linux
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_in_order(world: World, name: str) -> None:
    jobs(world, 16)
    run = world.start(*BATCH)
    while run.poll() is None and len(world.finished()) < 2:
        time.sleep(0.01)
    pids = descendants(run.pid)
    told = time.monotonic()
    os.kill(run.pid, signal.Signals[name])
    _, said = run.communicate(timeout=60)
    assert time.monotonic() - told < 10
    assert run.returncode == {"SIGINT": 130, "SIGTERM": 143}[name], said
    assert "Traceback" not in said
    wait_for_exit(run, pids)
    assert not world.temporary()
    assert world.journal()[-1]["event"] == "run_done" and world.journal()[-1]["why"] == "interrupted"
    done = world.finished()
    again = world.vast(*BATCH)
    assert again.returncode == 0, again.stderr
    check_survivors(world, done)
    assert len(world.finished()) == 16

"""Runs are killed or interrupted with their workers or without: the rerun finishes, with the same bytes."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batch.workspace import Workspace, descendants_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BATCH = ("batch", "jobs.csv", "-o", "out/{id}.mp4", "--no-report")
TWO_WORKERS, ONE_WORKER = ("--workers", "2"), ("--workers", "1")
N_JOBS = 8


def write_jobs(workspace: Workspace, n: int) -> None:
    """A long job in segments first, then short ones."""
    workspace.write_quick_jobs(n, seconds=0.6, segment=5)
    workspace.repeat(workspace.folder / "audio" / "s000.wav", 18)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, speech_wav: Path, batch_cache: Path
) -> Callable[[int], dict[str, str]]:
    """Hashes of a run of n jobs that is not killed, in a folder of another name."""
    hashes: dict[int, dict[str, str]] = {}

    def run_once(n: int) -> dict[str, str]:
        if n not in hashes:
            other = Workspace(tmp_path_factory.mktemp("undisturbed"), speech_wav, batch_cache)
            write_jobs(other, n)
            run = other.vast(*BATCH, *ONE_WORKER)
            assert run.returncode == 0, run.stderr
            hashes[n] = other.hashes()
        return hashes[n]

    return run_once


def wait_for_exit(process: "subprocess.Popen[str]", pids: list[int]) -> None:
    """Wait until a killed run and its workers are gone."""
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and not is_zombie(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlive the coordinator"
        time.sleep(0.05)


def is_zombie(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_for(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    """Wait until something happens in a run, or it ends."""
    deadline = time.monotonic() + 240
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_untouched(workspace: Workspace, before: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """Finished outputs are as they were, in bytes and in time; returns those of now."""
    now = workspace.finished()
    assert {name: now.get(name) for name in before} == before
    return now


def has_segment(workspace: Workspace) -> bool:
    """Whether the state folder holds a finished segment."""
    return any(not path.name.startswith(".") for path in (workspace.folder / "jobs.vast" / "parts").rglob("*.json"))


@pytest.mark.parametrize(
    ("kills", "n"), [(2, N_JOBS), pytest.param(20, 80, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_killed_runs_lose_nothing_and_do_nothing_twice(
    workspace: Workspace, undisturbed: Callable[[int], dict[str, str]], kills: int, n: int
) -> None:
    """Killed once in the middle of the long video, then at random moments."""
    expected = undisturbed(n)
    write_jobs(workspace, n)
    chance = random.Random(1)
    done: dict[str, tuple[str, int]] = {}
    for kill in range(kills):
        run = workspace.start(*BATCH, *TWO_WORKERS)
        target = len(done) + chance.randint(1, max(1, n // kills - 1))
        if kill == 0:
            wait_for(run, lambda: has_segment(workspace))
            assert "s000.mp4" not in workspace.finished(), "the long video was finished before the kill"
        else:
            wait_for(run, lambda target=target: len(workspace.finished()) >= target)  # type: ignore[misc]
        time.sleep(chance.random() * 0.4)
        pids = descendants_of(run.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        wait_for_exit(run, pids)
        done = check_untouched(workspace, done)
    last = workspace.vast(*BATCH, *ONE_WORKER)
    assert last.returncode == 0, last.stderr
    check_untouched(workspace, done)
    assert workspace.hashes() == expected
    assert not workspace.temporary_files()
    assert sorted(set(workspace.journal_ids("job_done"))) == sorted(path.removesuffix(".mp4") for path in expected)
    assert len(workspace.journal_ids("job_done")) == n, "a finished job was done twice"


@pytest.mark.parametrize(
    ("kills", "n"), [(1, N_JOBS), pytest.param(20, 140, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_killed_workers_are_replaced(
    workspace: Workspace, undisturbed: Callable[[int], dict[str, str]], kills: int, n: int
) -> None:
    expected = undisturbed(n)
    write_jobs(workspace, n)
    chance = random.Random(2)
    run = workspace.start(*BATCH, *TWO_WORKERS, "--retries", "5")
    killed = 0
    while run.poll() is None and killed < kills:
        target = len(workspace.finished()) + 1
        wait_for(run, lambda target=target: len(workspace.finished()) >= target)  # type: ignore[misc]
        time.sleep(chance.random() * 0.3)
        workers = [pid for pid in descendants_of(run.pid) if "spawn_main" in command_line(pid)]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            killed += 1
    _, stderr = run.communicate(timeout=280)
    assert killed == kills
    if run.returncode == 3:  # a job may have met two of the kills and been given up
        assert "vast_worker_died" in stderr
        assert workspace.vast(*BATCH, *ONE_WORKER).returncode == 0
    else:
        assert run.returncode == 0, stderr
    assert workspace.hashes() == expected
    assert not workspace.temporary_files()


def test_sigint_and_sigterm_end_a_run_in_order(workspace: Workspace) -> None:
    """Both interrupt the same batch, and a third run finishes it."""
    n = N_JOBS
    workspace.write_quick_jobs(n, seconds=0.6)
    done: dict[str, tuple[str, int]] = {}
    for name, status in (("SIGINT", 130), ("SIGTERM", 143)):
        run = workspace.start(*BATCH, *TWO_WORKERS)
        n_before = len(done)
        wait_for(run, lambda n_before=n_before: len(workspace.finished()) > n_before)  # type: ignore[misc]
        pids = descendants_of(run.pid)
        sent = time.monotonic()
        os.kill(run.pid, signal.Signals[name])
        _, stderr = run.communicate(timeout=60)
        assert time.monotonic() - sent < 10
        assert run.returncode == status, stderr
        assert "Traceback" not in stderr
        wait_for_exit(run, pids)
        assert not workspace.temporary_files()
        last = workspace.journal()[-1]
        assert (last["event"], last["why"]) == ("run_done", "interrupted")
        done = check_untouched(workspace, done)
    assert len(done) < n
    rerun = workspace.vast(*BATCH, *ONE_WORKER)
    assert rerun.returncode == 0, rerun.stderr
    check_untouched(workspace, done)
    assert len(workspace.finished()) == n

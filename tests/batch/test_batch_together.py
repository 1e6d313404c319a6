"""Runs that share a cache, a batch or a full disk: a prompt is encoded once, and one run at a time holds a batch."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch.workspace import QUICK, Workspace

BATCH = ("batch", "jobs.csv", "-o", "out/{id}.mp4", "--no-report")


@pytest.mark.parametrize("n_runs", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_runs_at_once_encode_a_prompt_once(workspace: Workspace, prompt: Path, tmp_path: Path, n_runs: int) -> None:
    """Manifests in one folder with the same inputs and a fresh cache give the same results."""
    workspace.cache = tmp_path / "fresh cache"
    clips = workspace.audio_clips(2)
    rows = [{"id": path.stem, "audio": f"audio/{path.name}", "prompt": str(prompt)} | QUICK for path in clips]
    runs = []
    for k in range(n_runs):
        name = f"jobs{k}.csv"
        workspace.write_manifest(rows, name)
        runs.append(workspace.start("batch", name, "-o", f"out{k}/{{id}}.mp4", "--workers", "1", "--no-report"))
    for run in runs:
        _, stderr = run.communicate(timeout=280)
        assert run.returncode == 0, stderr
    results = [workspace.hashes(f"out{k}") for k in range(n_runs)]
    assert len(results[0]) == 2 and all(result == results[0] for result in results)
    assert len(list(workspace.cache.rglob("*.style"))) == 1
    assert not workspace.temporary_files()


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process")
def test_a_second_run_of_a_batch_names_the_process_that_holds_it(workspace: Workspace) -> None:
    workspace.write_quick_jobs(3)
    first = workspace.start(*BATCH, "--workers", "1")
    while not workspace.finished():
        assert first.poll() is None
    os.kill(first.pid, signal.SIGSTOP)  # it holds the batch however slow the next commands are
    try:
        second = workspace.vast(*BATCH)
        assert second.returncode == 75 and str(first.pid) in second.stderr and "vast_locked" in second.stderr
        status = workspace.vast("status", "jobs.csv")
        assert status.returncode == 3 and str(first.pid) in status.stderr + status.stdout
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.communicate(timeout=200) and first.returncode == 0
    assert workspace.vast("status", "jobs.csv").returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_batch_and_free_space_resumes_it(workspace: Workspace, small_disk: Path) -> None:
    workspace = Workspace(small_disk / "batch", workspace.speech, workspace.cache)
    n = 20  # the breaker needs five failures in a row, and space freed by a failure may let one job finish
    workspace.write_quick_jobs(n, seconds=0.6)
    filler = small_disk / "filler"
    free = 6 * 2**20 - sum(path.stat().st_size for path in workspace.folder.rglob("*") if path.is_file())
    filler.write_bytes(b"\0" * (free - 300_000))
    run = workspace.vast(*BATCH, "--workers", "2")
    assert run.returncode == 74, run.stderr
    assert "vast_disk_full" in run.stderr and "Traceback" not in run.stderr
    assert not workspace.temporary_files()
    done = workspace.finished()
    assert 0 < len(done) < n
    assert len(set(workspace.journal_ids("job_failed"))) <= 10, "the batch did not stop after a few jobs"
    filler.unlink()
    rerun = workspace.vast(*BATCH, "--workers", "1")
    assert rerun.returncode == 0, rerun.stderr
    now = workspace.finished()
    assert {name: now[name] for name in done} == done and len(now) == n
    assert not workspace.temporary_files()

"""Runs side by side, and a disk that fills up."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.batch.batches import QUICK, World


def test_four_runs_at_once_encode_a_prompt_once(world: World, prompt: Path, tmp_path: Path) -> None:
    """Four manifests in one folder with the same inputs and a fresh cache: four right results."""
    world.cache = tmp_path / "fresh cache"
    rows = [{"id": p.stem, "audio": f"sound/{p.name}", "prompt": str(prompt)} | QUICK for p in world.sounds(2)]
    runs = []
    for k in range(4):
        world.manifest(rows, f"jobs{k}.csv")
        runs.append(world.start("batch", f"jobs{k}.csv", "-o", f"out{k}/{{id}}.mp4", "--workers", "1", "--no-report"))
    for run in runs:
        _, said = run.communicate(timeout=280)
        assert run.returncode == 0, said
    results = [world.hashes(f"out{k}") for k in range(4)]
    assert len(results[0]) == 2 and all(result == results[0] for result in results)
    made = [path for path in world.cache.rglob("*.style")]
    assert len(made) == 1
    assert not world.temporary()


def test_a_second_run_of_the_same_batch_is_told_who_holds_it(world: World) -> None:
    world.quick(12)
    first = world.start("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report")
    while not world.finished("out"):
        assert first.poll() is None
    second = world.vast("batch", "jobs.csv", "-o", "out/{id}.mp4")
    assert second.returncode == 75 and str(first.pid) in second.stderr and "vast_locked" in second.stderr
    status = world.vast("status", "jobs.csv")
    assert status.returncode == 3 and str(first.pid) in status.stderr + status.stdout
    assert first.communicate(timeout=200) and first.returncode == 0
    assert world.vast("status", "jobs.csv").returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_batch_and_space_resumes_it(world: World, small_disk: Path) -> None:
    world = World(small_disk / "batch", world.speech, world.cache)
    n = 30
    world.quick(n)
    room = small_disk / "filler"
    free = 6 * 2**20 - sum(p.stat().st_size for p in world.folder.rglob("*") if p.is_file())
    room.write_bytes(b"\0" * (free - 600_000))
    run = world.vast("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "2", "--no-report")
    assert run.returncode == 74, run.stderr
    assert "vast_disk_full" in run.stderr and "Traceback" not in run.stderr
    assert not world.temporary()
    done = world.finished()
    assert 0 < len(done) < n
    assert len(set(world.happened("job_failed"))) <= 7, "the batch did not stop after a few jobs"
    room.unlink()
    again = world.vast("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "2", "--no-report")
    assert again.returncode == 0, again.stderr
    now = world.finished()
    assert {name: now[name] for name in done} == done and len(now) == n
    assert not world.temporary()

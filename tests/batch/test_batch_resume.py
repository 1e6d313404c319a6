"""A second run of a finished batch whose files, manifest or journal changed: only what must run again does."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.batch.workspace import FOLDER, QUICK, Workspace

N_JOBS = 6
BATCH = ("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--json")


@pytest.fixture(scope="module")
def finished_batch(tmp_path_factory: pytest.TempPathFactory, speech_wav: Path, batch_cache: Path) -> Workspace:
    """A batch whose jobs are all done; tests change a copy."""
    workspace = Workspace(tmp_path_factory.mktemp("finished") / FOLDER, speech_wav, batch_cache)
    workspace.write_quick_jobs(N_JOBS)
    run = workspace.vast(*BATCH)
    assert run.returncode == 0, run.stderr
    return workspace


@pytest.fixture
def batch(finished_batch: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished batch, with its state and the times of its files."""
    return finished_batch.copy_to(tmp_path / FOLDER)


def plan(workspace: Workspace) -> dict[str, str]:
    """Id -> reason."""
    run = workspace.vast("plan", "jobs.csv", "-o", "out/{id}.mp4", "--json")
    assert run.returncode in (0, 3), run.stderr
    return {job["id"]: job["reason"] for job in json.loads(run.stdout)["jobs"]}


def test_only_what_changed_runs_again(batch: Workspace) -> None:
    done = batch.finished()
    lines = (batch.folder / "jobs.csv").read_text(encoding="utf-8").splitlines()
    head, rows = lines[0], lines[1:]
    added = rows[0].replace("s000", "new", 1)
    changed = rows[2].replace("ultrafast", "superfast")
    rows = [*reversed(rows[3:]), changed, rows[1], added, rows[0]]  # reordered, one edited, one added
    (batch.folder / "jobs.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    for path in (batch.folder / "audio").iterdir():
        os.utime(path)  # touched, not changed
    edited = batch.folder / "audio" / "s004.wav"
    edited.write_bytes(edited.read_bytes()[:-2] + b"\1\1")
    (batch.folder / "out" / "s005.mp4").unlink()
    assert plan(batch) == {
        "s000": "done", "s001": "done", "s002": "option_changed:encoder_preset", "s003": "done",
        "s004": "input_changed:audio", "s005": "output_missing", "new": "new",
    }  # fmt: skip
    assert batch.vast("plan", "jobs.csv", "-o", "out/{id}.mp4").returncode == 0
    run = batch.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["done"] == 4, run.stderr
    now = batch.finished()
    assert {name: now[name] for name in ("s000.mp4", "s001.mp4", "s003.mp4")} == {
        name: done[name] for name in ("s000.mp4", "s001.mp4", "s003.mp4")
    }
    assert now["s005.mp4"][0] == done["s005.mp4"][0], "the same inputs give the same bytes"
    assert now["s002.mp4"][0] != done["s002.mp4"][0]


def test_an_edited_output_is_replaced_only_with_overwrite(batch: Workspace) -> None:
    edited = batch.folder / "out" / "s001.mp4"
    edited.write_bytes(edited.read_bytes() + b"edited")
    run = batch.vast(*BATCH)
    assert run.returncode == 3 and "vast_output_exists" in run.stderr
    assert edited.read_bytes().endswith(b"edited")
    assert batch.vast(*BATCH, "--overwrite").returncode == 0
    assert not edited.read_bytes().endswith(b"edited")


def test_a_finished_file_without_a_journal_line_is_adopted(batch: Workspace) -> None:
    """As after a crash between the rename and the journal line, and after the journal was deleted."""
    done = batch.finished()
    journal = batch.folder / "jobs.vast" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b"job_done" in line and b"s001" in line) and b"run_done" not in line]
    assert b"s001" not in [line for line in lines if b"job_done" in line][-1]
    journal.write_bytes(b"".join(kept))
    assert plan(batch)["s001"] == "adopt"
    run = batch.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["adopted"] == 1, run.stderr
    assert batch.finished() == done
    journal.unlink()
    assert set(plan(batch).values()) == {"adopt"}


def test_a_torn_last_line_is_cut_off(batch: Workspace) -> None:
    done = batch.finished()
    journal = batch.folder / "jobs.vast" / "journal.jsonl"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"v":1,"seq":99,"event":"job_do')
    assert set(plan(batch).values()) == {"done"}
    assert batch.vast(*BATCH).returncode == 0
    assert batch.finished() == done
    assert journal.read_bytes().startswith(whole) and batch.journal()[-1]["event"] == "run_done"


def test_a_broken_line_stops_the_batch_and_can_be_repaired(batch: Workspace) -> None:
    done = batch.finished()
    journal = batch.folder / "jobs.vast" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    broken = next(k for k, line in enumerate(lines) if b"job_done" in line)
    lines[broken] = lines[broken].replace(b"job_done", b"job_dome")
    journal.write_bytes(b"".join(lines))
    run = batch.vast(*BATCH)
    assert run.returncode == 78 and "vast_journal_corrupt" in run.stderr and f"line {broken + 1}" in run.stderr
    assert journal.read_bytes() == b"".join(lines)
    repaired = batch.vast(*BATCH, "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert json.loads(repaired.stdout)["adopted"] == 1 and json.loads(repaired.stdout)["done"] == 0
    assert batch.finished() == done
    assert any("broken" in path.name for path in journal.parent.iterdir())


def test_content_decides_when_clocks_jump(batch: Workspace) -> None:
    """Files and manifest from the future, or from long ago."""
    done = batch.finished()
    ahead = time.time() + 400 * 86_400
    audio = batch.folder / "audio" / "s000.wav"
    for path in (audio, batch.folder / "jobs.csv"):
        os.utime(path, (ahead, ahead))
    os.utime(batch.folder / "out" / "s001.mp4", (5, 5))
    assert set(plan(batch).values()) == {"done"}
    audio.write_bytes(audio.read_bytes()[:-2] + b"\2\2")  # the same size, and then the same time
    os.utime(audio, (ahead, ahead))
    assert plan(batch)["s000"] == "input_changed:audio"
    run = batch.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["done"] == 1, run.stderr
    assert batch.finished()["s002.mp4"] == done["s002.mp4"]


def test_a_shard_keeps_segments_of_other_shards(batch: Workspace) -> None:
    others = batch.folder / "jobs.vast" / "parts" / ("f" * 64 + "-0")
    others.mkdir(parents=True)
    for shard in ("1/2", "2/2"):
        assert batch.vast(*BATCH, "--shard", shard).returncode == 0
    assert others.is_dir()
    assert batch.vast(*BATCH).returncode == 0
    assert not others.exists(), "no job of the whole manifest has these segments"


def test_a_killed_long_video_resumes_at_its_last_segment(workspace: Workspace) -> None:
    """Segments are at least 5 s long, so 9 s of audio make two."""
    (path,) = workspace.audio_clips(1, seconds=3.0)
    workspace.write_manifest([{"id": "long", "audio": "audio/s000.wav", "segment": 5} | QUICK])
    workspace.repeat(path, 3)
    whole = workspace.vast("batch", "jobs.csv", "-o", "whole/{id}.mp4", "--no-report", "--state", "other.vast")
    assert whole.returncode == 0, whole.stderr
    run = workspace.start(*BATCH)
    parts = workspace.folder / "jobs.vast" / "parts"
    while not any(p.suffix == ".json" and not p.name.startswith(".") for p in parts.rglob("*")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    run.kill()
    run.communicate()
    rerun = workspace.vast(*BATCH)
    assert rerun.returncode == 0, rerun.stderr
    assert workspace.hashes() == workspace.hashes("whole")
    log = (workspace.folder / "jobs.vast" / "logs" / "long.log").read_text(encoding="utf-8")
    assert "segments are there already" in log
    assert not parts.exists() or not any(parts.iterdir())

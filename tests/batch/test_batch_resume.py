"""What a second run does after people and accidents were at the files: defined, and nothing is lost."""

import json
import os
import time

from tests.batch.batches import QUICK, World

BATCH = ("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--json")


def first_run(world: World, n: int = 4) -> dict[str, tuple[str, int]]:
    world.quick(n)
    run = world.vast(*BATCH)
    assert run.returncode == 0, run.stderr
    return world.finished()


def plan(world: World, *more: str) -> dict[str, str]:
    """Id -> reason."""
    told = world.vast("plan", "jobs.csv", "-o", "out/{id}.mp4", "--json", *more)
    assert told.returncode in (0, 3), told.stderr
    return {job["id"]: job["reason"] for job in json.loads(told.stdout)["jobs"]}


def test_only_what_changed_runs_again(world: World) -> None:
    done = first_run(world, 6)
    lines = (world.folder / "jobs.csv").read_text(encoding="utf-8").splitlines()
    head, rows = lines[0], lines[1:]
    extra = rows[0].replace("s000", "new", 1)
    changed = rows[2].replace("ultrafast", "superfast")
    rows = [*reversed(rows[3:]), changed, rows[1], extra, rows[0]]  # reordered, one edited, one added
    (world.folder / "jobs.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    for path in (world.folder / "sound").iterdir():
        os.utime(path)  # touched, not changed
    louder = world.folder / "sound" / "s004.wav"
    louder.write_bytes(louder.read_bytes()[:-2] + b"\1\1")
    (world.folder / "out" / "s005.mp4").unlink()
    wanted = {"s000": "done", "s001": "done", "s002": "option_changed:encoder_preset", "s003": "done"}
    wanted |= {"s004": "input_changed:audio", "s005": "output_missing", "new": "new"}
    assert plan(world) == wanted
    assert world.vast("plan", "jobs.csv", "-o", "out/{id}.mp4").returncode == 0
    run = world.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["done"] == 4, run.stderr
    now = world.finished()
    assert {name: now[name] for name in ("s000.mp4", "s001.mp4", "s003.mp4")} == {
        name: done[name] for name in ("s000.mp4", "s001.mp4", "s003.mp4")
    }
    assert now["s005.mp4"][0] == done["s005.mp4"][0], "the same inputs give the same bytes"
    assert now["s002.mp4"][0] != done["s002.mp4"][0]


def test_a_file_somebody_edited_is_theirs(world: World) -> None:
    first_run(world, 2)
    theirs = world.folder / "out" / "s001.mp4"
    theirs.write_bytes(theirs.read_bytes() + b"edited")
    run = world.vast(*BATCH)
    assert run.returncode == 3 and "vast_output_exists" in run.stderr
    assert theirs.read_bytes().endswith(b"edited")
    assert world.vast(*BATCH, "--overwrite").returncode == 0
    assert not theirs.read_bytes().endswith(b"edited")


def test_a_finished_file_without_its_line_is_adopted(world: World) -> None:
    """What a crash between the rename and the journal leaves, and what is left when the state is thrown away."""
    done = first_run(world, 3)
    journal = world.folder / "jobs.vast" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b"job_done" in line and b"s001" in line) and b"run_done" not in line]
    last = [line for line in lines if b"job_done" in line][-1]
    assert b"s002" in last or b"s000" in last
    journal.write_bytes(b"".join(kept))
    assert plan(world)["s001"] == "adopt"
    run = world.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["adopted"] == 1, run.stderr
    assert world.finished() == done
    journal.unlink()
    assert set(plan(world).values()) == {"adopt"}


def test_a_torn_last_line_is_cut_off(world: World) -> None:
    done = first_run(world, 2)
    journal = world.folder / "jobs.vast" / "journal.jsonl"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"v":1,"seq":99,"event":"job_do')
    assert set(plan(world).values()) == {"done"}
    assert world.vast(*BATCH).returncode == 0
    assert world.finished() == done
    assert journal.read_bytes().startswith(whole) and [line["event"] for line in world.journal()][-1] == "run_done"


def test_a_broken_middle_line_stops_and_can_be_repaired(world: World) -> None:
    done = first_run(world, 3)
    journal = world.folder / "jobs.vast" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    spot = next(k for k, line in enumerate(lines) if b"job_done" in line)
    lines[spot] = lines[spot].replace(b"job_done", b"job_dome")
    journal.write_bytes(b"".join(lines))
    refused = world.vast(*BATCH)
    assert (
        refused.returncode == 78 and "vast_journal_corrupt" in refused.stderr and f"line {spot + 1}" in refused.stderr
    )
    assert journal.read_bytes() == b"".join(lines)
    mended = world.vast(*BATCH, "--repair")
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["adopted"] == 1 and json.loads(mended.stdout)["done"] == 0
    assert world.finished() == done
    assert any("broken" in path.name for path in journal.parent.iterdir())


def test_a_clock_that_jumped(world: World) -> None:
    """Files and journal from the future, or from long ago: content and order decide."""
    done = first_run(world, 3)
    ahead = time.time() + 400 * 86_400
    for path in (world.folder / "sound" / "s000.wav", world.folder / "jobs.csv"):
        os.utime(path, (ahead, ahead))
    os.utime(world.folder / "out" / "s001.mp4", (5, 5))
    assert set(plan(world).values()) == {"done"}
    sound = world.folder / "sound" / "s000.wav"
    sound.write_bytes(sound.read_bytes()[:-2] + b"\2\2")  # same size, and the same time once more
    os.utime(sound, (ahead, ahead))
    assert plan(world)["s000"] == "input_changed:audio"
    run = world.vast(*BATCH)
    assert run.returncode == 0 and json.loads(run.stdout)["done"] == 1, run.stderr
    assert world.finished()["s002.mp4"] == done["s002.mp4"]


def test_segments_of_other_shards_stay(world: World) -> None:
    first_run(world, 1)
    others = world.folder / "jobs.vast" / "parts" / ("f" * 64 + "-0")
    others.mkdir(parents=True)
    for shard in ("1/2", "2/2"):
        assert world.vast(*BATCH, "--shard", shard).returncode == 0
    assert others.is_dir()
    assert world.vast(*BATCH).returncode == 0
    assert not others.exists(), "no job of the whole manifest has these segments"


def test_a_long_video_goes_on_at_its_last_segment(world: World) -> None:
    """The shortest segment is 5 s: four times the sound makes several."""
    (path,) = world.sounds(1, seconds=4.0)
    world.manifest([{"id": "long", "audio": "sound/s000.wav", "segment": 5} | QUICK])
    world.repeat(path, 4)
    whole = world.vast("batch", "jobs.csv", "-o", "whole/{id}.mp4", "--no-report", "--state", "other.vast")
    assert whole.returncode == 0, whole.stderr
    run = world.start(*BATCH)
    parts = world.folder / "jobs.vast" / "parts"
    while not any(p.suffix == ".json" and not p.name.startswith(".") for p in parts.rglob("*")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    run.kill()
    run.communicate()
    again = world.vast(*BATCH)
    assert again.returncode == 0, again.stderr
    assert world.hashes() == world.hashes("whole")
    log = (world.folder / "jobs.vast" / "logs" / "long.log").read_text(encoding="utf-8")
    assert "segments are there already" in log
    assert not parts.exists() or not any(parts.iterdir())

"""An estimate uses the batch's own jobs first, then the machine's speeds, and says when it knows neither."""

import dataclasses
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vast_cli.batch.job import Job
from vast_cli.batch.planning import speeds
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.batch.planning.estimate import Estimate, estimate
from vast_cli.batch.planning.fingerprint import Fingerprint
from vast_cli.batch.planning.speeds import (
    Machine,
    RenderSpeed,
    fit_job_time,
    load_speeds,
    save_run_speeds,
    save_speeds,
    speeds_of_batch,
)
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.state.journal_replay import BatchState, replay_journals

AVATAR = "a" * 64
NOW = datetime(2026, 3, 4, 22, 0, tzinfo=timezone.utc)


def fingerprint(avatar: str = AVATAR, prompt: str | None = None, **options: Any) -> Fingerprint:
    inputs = {"audio": "b" * 64} | ({"prompt": prompt} if prompt else {})
    return Fingerprint(inputs=inputs, options={"crf": 18, "detail": "full"} | options, models={}, avatar=avatar)


def planned(folder: Path, n: int, *, audio_s: float | None = 10.0, first: int = 0, **parts: Any) -> list[PlannedJob]:
    jobs = [
        Job(id=f"job-{k}", index=k + 1, where="", audio=folder / "a.wav", avatar="x", output=folder / f"{k}.mp4")
        for k in range(first, first + n)
    ]
    return [PlannedJob(job, "run", "new", fingerprint(**parts), audio_s=audio_s) for job in jobs]


def finished(
    path: Path, jobs: list[tuple[float, float]], *, run: str = "r1", workers: int = 1, action: str = "run", **parts: Any
) -> BatchState:
    """The state of a journal with jobs of given audio lengths and wall seconds."""
    parts_of = fingerprint(**parts)
    with Journal.open(path, run=run) as out:
        out.append("run_started", slots=workers)
        for k, (audio_s, seconds) in enumerate(jobs):
            out.append(
                "job_done", id=f"{run}-{k}", fp=parts_of.digest, origin=parts_of.as_dict(), attempt=1, action=action,
                output="x", size=round(1000 * audio_s), mtime_ns=k, sha256="c", seconds=seconds, duration_s=audio_s,
            )  # fmt: skip
    return replay_journals([path])


# --- measured speeds ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    fixed=st.floats(0, 20),
    rate=st.floats(0.01, 20),
    lengths=st.lists(st.floats(1, 1000), min_size=2, max_size=20),
)
def test_fixed_cost_and_rate_are_separated_where_lengths_differ(
    fixed: float, rate: float, lengths: list[float]
) -> None:
    found_fixed, found_rate = fit_job_time(lengths, [fixed + rate * length for length in lengths])
    if max(lengths) >= speeds.MIN_SPREAD * min(lengths):
        assert (found_fixed, found_rate) == (pytest.approx(fixed, abs=1e-5), pytest.approx(rate, rel=1e-5, abs=1e-7))
    total = sum(fixed + rate * length for length in lengths)
    assert sum(found_fixed + found_rate * length for length in lengths) == pytest.approx(total)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 1000), st.floats(0.1, 1000)), min_size=1, max_size=20))
def test_no_speed_is_ever_negative(jobs: list[tuple[float, float]]) -> None:
    fixed, rate = fit_job_time([length for length, _ in jobs], [seconds for _, seconds in jobs])
    assert fixed >= 0 and rate >= 0 and fixed + rate > 0


def test_each_avatar_and_detail_has_its_own_speed(tmp_path: Path) -> None:
    finished(tmp_path / "journal.1-of-3.jsonl", [(10, 20)] * 3)
    finished(tmp_path / "journal.2-of-3.jsonl", [(10, 2)] * 3, run="r2", detail="mesh")
    finished(tmp_path / "journal.3-of-3.jsonl", [(10, 0)] * 3, run="r3", action="adopt", avatar="z" * 64)
    measured = speeds_of_batch(replay_journals(sorted(tmp_path.glob("*.jsonl"))))
    assert {key: speed.seconds_per_s for key, speed in measured.items()} == {
        (AVATAR[:16], "full"): 2.0,
        (AVATAR[:16], "mesh"): 0.2,
    }
    assert measured[AVATAR[:16], "full"].bytes_per_s == 1000


# --- estimates ------------------------------------------------------------------------------------------------------


def test_nothing_to_do_takes_no_time(tmp_path: Path) -> None:
    done = [dataclasses.replace(one, action="skip", reason="done") for one in planned(tmp_path, 3)]
    estimated = estimate(done, BatchState(), workers=2, cache=None, now=NOW)
    assert (estimated.seconds, estimated.bytes, estimated.finish) == (0.0, 0, NOW)


def test_an_unmeasured_machine_has_no_estimate(tmp_path: Path) -> None:
    estimated = estimate(planned(tmp_path, 3), BatchState(), workers=2, cache=tmp_path)
    assert estimated.seconds is None and estimated.bytes is None and estimated.finish is None
    assert estimated.hint is not None and "vast bench" in estimated.hint
    assert estimated.audio_s == 30.0


def test_speeds_of_the_batch_come_first(tmp_path: Path) -> None:
    save_speeds(tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=100, job_s=0, bytes_per_s=1, start_s=4)])
    state = finished(tmp_path / "journal.jsonl", [(10, 22), (20, 42), (5, 12)], workers=2)
    estimated = estimate(planned(tmp_path, 100), state, workers=2, cache=tmp_path, cores=2, now=NOW)
    assert estimated.source == "this batch"
    assert estimated.seconds == pytest.approx(4 + 100 * 22 / 2)  # the start is the machine's
    assert estimated.finish == NOW + timedelta(seconds=estimated.seconds or 0)
    assert estimated.bytes == 100 * 10 * 1000
    assert estimated.jobs["job-7"] == pytest.approx(22)


def test_then_speeds_of_the_machine_then_of_another_avatar(tmp_path: Path) -> None:
    save_speeds(
        tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=2, job_s=1, bytes_per_s=500, start_s=5, prompt_s=3)]
    )
    known = estimate(planned(tmp_path, 4, prompt="p"), BatchState(), workers=1, cache=tmp_path, cores=2)
    assert (known.source, known.seconds) == ("this machine", 5 + 3 + 4 * 21)
    other = estimate(planned(tmp_path, 4, avatar="f" * 64), BatchState(), workers=1, cache=tmp_path, cores=2)
    assert (other.source, other.seconds) == ("this machine, another avatar", 5 + 4 * 21)
    assert estimate(planned(tmp_path, 4, detail="mesh"), BatchState(), workers=1, cache=tmp_path).seconds is None
    assert estimate(planned(tmp_path, 4), BatchState(), workers=1, cache=tmp_path, device="cuda").seconds is None


def test_more_workers_help_up_to_the_cores_and_the_longest_job(tmp_path: Path) -> None:
    save_speeds(tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=1, job_s=0, bytes_per_s=1, start_s=0)])

    def seconds(jobs: list[PlannedJob], workers: int) -> float:
        estimated = estimate(jobs, BatchState(), workers=workers, cache=tmp_path, cores=4).seconds
        assert estimated is not None
        return estimated

    many = planned(tmp_path, 80)
    assert [seconds(many, n) for n in (1, 2, 4, 8)] == pytest.approx([800, 400, 200, 200])
    long = [*planned(tmp_path, 4, audio_s=1.0), *planned(tmp_path, 1, first=4, audio_s=500.0)]
    assert seconds(long, 4) == 500.0
    assert seconds(planned(tmp_path, 1), 64) == 10.0


def test_unknown_audio_lengths_count_as_the_mean(tmp_path: Path) -> None:
    save_speeds(tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=1, job_s=0, bytes_per_s=1, start_s=0)])
    mixed = [*planned(tmp_path, 3, audio_s=10.0), *planned(tmp_path, 1, first=3, audio_s=None)]
    assert estimate(mixed, BatchState(), workers=1, cache=tmp_path, cores=1).seconds == 40
    unknown = estimate(planned(tmp_path, 3, audio_s=None), BatchState(), workers=1, cache=tmp_path)
    assert unknown.seconds is None and unknown.hint is not None


def test_a_lower_crf_takes_more_disk(tmp_path: Path) -> None:
    save_speeds(tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=1, job_s=0, bytes_per_s=100, crf=18)])
    sizes = [estimate(planned(tmp_path, 1, crf=c), BatchState(), workers=1, cache=tmp_path).bytes for c in (12, 18, 24)]
    assert sizes == [2000, 1000, 500]


def test_a_small_disk_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_speeds(tmp_path, [RenderSpeed(AVATAR[:16], "full", seconds_per_s=1, job_s=0, bytes_per_s=1e6)])
    usage = namedtuple("usage", "total used free")
    jobs = planned(tmp_path / "not there yet", 2)

    def warnings(free: float) -> tuple[str, ...]:
        monkeypatch.setattr("vast_cli.batch.planning.estimate.shutil.disk_usage", lambda path: usage(0, 0, free))
        return estimate(jobs, BatchState(), workers=1, cache=tmp_path).warnings

    assert warnings(1e9) == ()
    (warning,) = warnings(21e6)
    assert "20.0 MB" in warning and "21.0 MB" in warning and str(tmp_path) in warning


def test_an_estimate_as_json(tmp_path: Path) -> None:
    row = Estimate(12.5, 1000, NOW, 10.0, "this machine", jobs={"a": 12.5}).document()
    assert row == {
        "seconds": 12.5, "bytes": 1000, "finish": "2026-03-04T22:00:00+00:00", "sound_s": 10.0,
        "source": "this machine", "hint": None, "warnings": [],
    }  # fmt: skip


# --- the machine's file ---------------------------------------------------------------------------------------------

BENCH = RenderSpeed(
    AVATAR[:16], "full", seconds_per_s=2.0, job_s=1.0, bytes_per_s=3.0, start_s=7.0, prompt_s=8.0, stages={"mesh": 50.0}
)


def test_a_batch_updates_the_machines_speed_and_keeps_what_only_bench_measures(tmp_path: Path) -> None:
    save_speeds(tmp_path, [BENCH])
    state = finished(tmp_path / "journal.jsonl", [(10, 30)] * 3, workers=2)
    save_run_speeds(tmp_path, state, run="r1", device="cpu")
    (speed,) = load_speeds(tmp_path, device="cpu")
    assert (speed.source, speed.seconds_per_s, speed.workers, speed.jobs) == ("batch", 3.0, 2, 3)
    assert (speed.start_s, speed.prompt_s, speed.stages) == (7.0, 8.0, {"mesh": 50.0})
    save_speeds(tmp_path, [BENCH])
    (speed,) = load_speeds(tmp_path, device="cpu")
    assert speed.source == "bench" and speed.measured


def test_a_run_saves_the_speed_of_its_own_jobs_if_there_are_enough(tmp_path: Path) -> None:
    state = finished(tmp_path / "journal.jsonl", [(10, 30)] * (speeds.MIN_JOBS - 1))
    save_run_speeds(tmp_path, state, run="r1", device="cpu")
    assert load_speeds(tmp_path) == []
    state = finished(tmp_path / "journal.jsonl", [(10, 50)] * 3, run="r2")
    save_run_speeds(tmp_path, state, run="r2", device="cpu")
    assert [speed.seconds_per_s for speed in load_speeds(tmp_path, device="cpu")] == [5.0]


def test_speeds_are_separate_by_machine_version_and_device(tmp_path: Path) -> None:
    here, there = Machine("fast", 8), Machine("slow", 8)
    save_speeds(tmp_path, [BENCH], machine=here)
    save_speeds(tmp_path, [dataclasses.replace(BENCH, seconds_per_s=9.0)], machine=there)
    save_speeds(tmp_path, [dataclasses.replace(BENCH, seconds_per_s=0.1, device="cuda")], machine=here)
    assert [speed.seconds_per_s for speed in load_speeds(tmp_path, device="cpu", machine=here)] == [2.0]
    assert [speed.seconds_per_s for speed in load_speeds(tmp_path, device="cpu", machine=there)] == [9.0]
    assert [speed.seconds_per_s for speed in load_speeds(tmp_path, device="cuda:1", machine=here)] == [0.1]
    assert load_speeds(tmp_path, machine=Machine("fast", 8, vast="0.0.1")) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "vast.speed", "format_version": 1, "entries": [{"machine": {}}]}', "\xff\xfe"]
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / speeds.FILE_NAME).write_bytes(text.encode("latin-1"))
    assert load_speeds(tmp_path) == []
    save_speeds(tmp_path, [BENCH])
    assert len(load_speeds(tmp_path, device="cpu")) == 1


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    save_speeds(tmp_path / "file" / "cache", [BENCH])
    assert load_speeds(tmp_path / "file" / "cache") == []

"""No acknowledged line is ever lost; whatever was half-written is recognised."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vast_cli.batch.state import journal, journal_lines
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.state.journal_lines import decode_line, encode_line, read_journal
from vast_cli.batch.state.journal_replay import find_journals, replay_journals
from vast_cli.batch.state.journal_schema import journal_schema
from vast_cli.core.errors import VastError

FINGERPRINT = {
    "inputs": {"audio": "a" * 64},
    "options": {"crf": 18},
    "models": {"style": "b" * 16},
    "avatar": "c",
    "format": 1,
}


def done(job: str, fp: str = "f0", **more: Any) -> dict[str, Any]:
    row = {
        "id": job, "fp": fp, "origin": FINGERPRINT, "attempt": 1, "action": "run", "output": f"/out/{job}.mp4",
        "size": 10, "mtime_ns": 20, "sha256": "d" * 64, "seconds": 1.5, "frames": 100, "duration_s": 4.0,
        "gates": {"sync": 0.9},
    }  # fmt: skip
    return row | more


def failed(job: str, attempt: int = 1) -> dict[str, Any]:
    return {"id": job, "code": "vast_no_face", "message": "no face", "hint": "look", "where": None, "attempt": attempt}


def write(path: Path, *lines: tuple[str, dict[str, Any]], run: str = "r1") -> None:
    with Journal.open(path, run=run) as out:
        for event, fields in lines:
            out.append(event, **fields)


def started(job: str) -> tuple[str, dict[str, Any]]:
    return "job_started", {"id": job, "attempt": 1, "worker": 0, "fp": "f0", "output": f"/out/{job}.mp4"}


RUN_STARTED = ("run_started", {"jobs": 3})
RUN_DONE = (
    "run_done",
    {"done": 1, "failed": 0, "skipped": 0, "not_started": 0, "exit": 0, "seconds": 1.0, "why": None},
)


# --- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_is_json_with_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, RUN_STARTED, ("job_done", done("日本 é'$(x);")))
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        crc = row.pop("crc")
        assert int(crc, 16) == zlib.crc32(line.replace(f',"crc":"{crc}"'.encode(), b""))
    assert "日本" in path.read_text(encoding="utf-8")


def test_lines_follow_their_schema(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    interrupted = ("job_interrupted", {"id": "c", "attempt": 1})
    write(
        path, RUN_STARTED, started("a"), ("job_done", done("a")), ("job_failed", failed("b", 0)), interrupted, RUN_DONE
    )
    check = jsonschema.Draft202012Validator(journal_schema())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        check.validate(row)
    assert not check.is_valid(rows[2] | {"size": "10"})
    assert not check.is_valid({key: value for key, value in rows[2].items() if key != "fp"})


def test_names_that_are_not_utf8_and_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    name = os.fsdecode(b"/out/\xff\xe9.mp4")
    write(path, ("job_done", done("a", output=Path(name), gates={"sync": float("nan"), "x": [float("inf"), 1.0]})))
    row = read_journal(path).rows[0]
    assert row["output"] == name
    assert row["gates"] == {"sync": None, "x": [None, 1.0]}


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text())))
def test_encoding_and_decoding_a_line_gives_it_back(fields: dict[str, Any]) -> None:
    row = {"v": 1, "seq": 1, "run": "r", "event": "run_started", "fields": fields}
    line = encode_line(row)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_line(line[:-1])["fields"] == journal_lines._without_nan(fields)


@settings(deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_detected(data: st.DataObject) -> None:
    line = bytearray(encode_line({"v": 1, "seq": 7, "run": "r", "event": "job_done", "id": "intro"})[:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((ValueError, VastError)):
        decode_line(bytes(line))


def test_lines_are_ordered_by_position_not_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    times = iter(["2026-03-04T05:06:07.000Z", "2019-01-01T00:00:00.000Z", "2018-01-01T00:00:00.000Z"])
    monkeypatch.setattr(journal, "utc_timestamp", lambda: next(times))
    write(path, started("a"), ("job_failed", failed("a")), ("job_done", done("a")))
    assert [row["seq"] for row in read_journal(path).rows] == [1, 2, 3]
    state = replay_journals([path]).job("a")
    assert state.status == "done" and state.failure is None


def test_the_next_run_continues_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, RUN_STARTED, RUN_DONE)
    write(path, RUN_STARTED, RUN_DONE, run="r2")
    rows = read_journal(path).rows
    assert [(row["seq"], row["run"]) for row in rows] == [(1, "r1"), (2, "r1"), (3, "r2"), (4, "r2")]


# --- torn and broken ------------------------------------------------------------------------------------------------

LINES = [
    RUN_STARTED,
    started("a"),
    ("job_done", done("a")),
    started("b"),
    ("job_failed", failed("b")),
    started("c"),
    RUN_DONE,
]


@pytest.fixture(scope="module")
def whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        write(path, *LINES)
        return path.read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_prefix_gives_the_state_after_its_last_whole_line(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        path, reference = Path(folder) / "journal.jsonl", Path(folder) / "reference.jsonl"
        path.write_bytes(whole[:cut])
        reference.write_bytes(whole[: whole.rfind(b"\n", 0, cut) + 1])
        assert replay_journals([path]).jobs == replay_journals([reference]).jobs
        assert path.read_bytes() == whole[:cut]  # reading repairs nothing
        with Journal.open(path, run="r2") as out:
            out.append("job_done", **done("z"))
        assert path.read_bytes().startswith(reference.read_bytes())
        rows = read_journal(path).rows
        assert len(rows) == len(reference.read_bytes().splitlines()) + 1
        assert rows[-1]["id"] == "z" and rows[-1]["seq"] == len(rows)


def test_a_last_line_with_nul_bytes_is_torn_too(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(
        whole + b'{"v":1,"seq":8' + b"\0" * 300 + b"\n"
    )  # the file had grown, its data was not on the disk yet
    write(path, ("job_done", done("z")))
    assert [row["seq"] for row in read_journal(path).rows] == [*range(1, 9)]


@pytest.mark.parametrize("damage", [b"{}", b"", b"garbage \xff", b'{"v":1}', b"[" * 100_000])
def test_a_broken_line_in_the_middle_is_reported_and_repaired_if_asked(
    tmp_path: Path, whole: bytes, damage: bytes
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = whole.splitlines()
    lines[4] = damage
    broken = b"\n".join(lines) + b"\n" + b'{"v":1,"torn'
    path.write_bytes(broken)
    for action in (lambda: Journal.open(path, run="r2"), lambda: replay_journals([path])):
        with pytest.raises(VastError) as error:
            action()
        assert error.value.code == "vast_journal_corrupt"
        assert "line 5 " in error.value.message and error.value.where == str(path)
        assert path.read_bytes() == broken
    with Journal.open(path, run="r2", repair=True) as out:
        assert out.append("job_done", **done("z")) == 8
    assert path.read_bytes().splitlines()[:6] == lines[:4] + lines[5:]
    assert (tmp_path / "journal.jsonl.broken-1").read_bytes() == broken
    assert find_journals(tmp_path) == [path]


def test_repair_keeps_all_old_files(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    for number in (1, 2):
        path.write_bytes(b"x\n" * number + whole)
        Journal.open(path, run="r", repair=True).close()
        assert path.read_bytes() == whole
        assert (tmp_path / f"journal.jsonl.broken-{number}").read_bytes() == b"x\n" * number + whole


@settings(deadline=None)
@given(at=st.sets(st.integers(0, 6), min_size=1))
def test_repair_never_loses_a_good_line(whole: bytes, at: set[int]) -> None:
    lines = whole.splitlines(keepends=True)
    good = [line for k, line in enumerate(lines) if k not in at]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(b"".join(b"?" + line if k in at else line for k, line in enumerate(lines)))
        Journal.open(path, run="r", repair=True).close()
        assert path.read_bytes().splitlines(keepends=True) == good


def test_an_edited_last_line_is_not_torn(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole.replace(b'"exit":0', b'"exit":3'))
    with pytest.raises(VastError, match="line 7 "):
        Journal.open(path, run="r")


def test_a_journal_of_another_version(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole + b'{"v":2,"what":"ever"}\n')
    for action in (lambda: Journal.open(path, run="r", repair=True), lambda: replay_journals([path])):
        with pytest.raises(VastError) as error:
            action()
        assert error.value.code == "vast_record_version"


def test_a_flipped_version_is_damage_not_another_version(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole.replace(b'{"v":1', b'{"v":3', 1))
    with pytest.raises(VastError) as error:
        replay_journals([path])
    assert error.value.code == "vast_journal_corrupt" and "line 1 " in error.value.message


def test_a_line_without_a_required_field(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, ("job_done", {"id": "a", "fp": "f0"}))
    with pytest.raises(VastError) as error:
        replay_journals([path])
    assert error.value.code == "vast_journal_corrupt" and "origin" in error.value.message


# --- full disk ------------------------------------------------------------------------------------------------------


class Disk:
    """A disk with room for `room` bytes of the journal, and `freed` more without the reserve."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reserve: Path, room: int, freed: int) -> None:
        self.room, self.freed, self.reserve = room, freed, reserve
        self._write: Callable[[int, bytes], int] = os.write
        monkeypatch.setattr(journal.os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        room = self.room + (0 if self.reserve.exists() else self.freed)
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[:room])
        self.room -= written if written == len(data) else 0  # truncating frees it again
        return written


@pytest.mark.parametrize("room", [0, 50, 400])
def test_the_last_lines_use_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path, run="r1") as out:
        assert (tmp_path / "reserve").stat().st_size == journal.RESERVE_BYTES
        Disk(monkeypatch, tmp_path / "reserve", room=room, freed=2000)
        seqs = []
        with pytest.raises(VastError) as error:
            for k in range(100):
                seqs.append(out.append("job_done", **done(f"job-{k}")))
    assert error.value.code == "vast_disk_full"
    assert not (tmp_path / "reserve").exists()
    assert len(seqs) >= 3
    assert path.read_bytes().endswith(b"\n")  # nothing half-written is left
    assert [row["seq"] for row in read_journal(path).rows] == seqs


def test_the_reserve_is_restored_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "journal.3-of-16.jsonl"
    reserve = tmp_path / "reserve.3-of-16"
    write(path, RUN_STARTED)
    reserve.unlink()
    write(path, RUN_STARTED)
    assert reserve.stat().st_size == journal.RESERVE_BYTES


def test_a_failing_disk_keeps_the_lines_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal.open(path, run="r1") as out:
        out.append(*RUN_STARTED[:1], **RUN_STARTED[1])
        before = path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "fsync", broken)
            with pytest.raises(VastError) as error:
                out.append("job_done", **done("a"))
        assert error.value.code == "vast_write_failed"
        assert path.read_bytes() == before
        assert out.append("job_done", **done("a")) == 2
    assert len(read_journal(path).rows) == 2


def test_a_tail_that_could_not_be_cut_off_is_cut_off_before_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"

    def half(descriptor: int, data: bytes) -> int:
        return os_write(descriptor, data[:40])

    def broken(_descriptor: int, _size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    os_write = os.write
    with Journal.open(path, run="r1") as out:
        out.append("run_started")
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "write", half)
            patched.setattr(journal.os, "ftruncate", broken)
            with pytest.raises(VastError):
                out.append("job_done", **done("a"))
        assert not path.read_bytes().endswith(b"\n")
        assert out.append("job_done", **done("b")) == 2
    scan = read_journal(path)
    assert [row.get("id") for row in scan.rows] == [None, "b"] and not scan.broken


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VastError) as error:
        Journal.open(tmp_path / "journal.jsonl", run="r")
    assert error.value.code == "vast_output_unwritable"


# --- kill -9 --------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from vast_cli.batch.state.journal import Journal
out = Journal.open(Path(sys.argv[1]), run=sys.argv[2])
while True:
    seq = out.append("job_failed", id="j", code="vast_no_face", message="x" * 4000, attempt=1)
    print(seq, flush=True)
"""


def test_kill_9_loses_no_acknowledged_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    rng = random.Random(5)
    last = 0
    for run in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"r{run}"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 60)):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")  # acknowledged, but not read before the kill
        process.stdout.close()
        process.wait()
        last = max([last, *(int(word) for word in rest[:-1])])
        scan = read_journal(path)
        scan.check(path)
        assert [row["seq"] for row in scan.rows] == [*range(1, len(scan.rows) + 1)]
        assert len(scan.rows) >= last
        last = len(scan.rows)


# --- state of jobs and runs -------------------------------------------------------------------------------------------


def test_jobs_that_a_killed_run_had_started_are_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, RUN_STARTED, started("a"), ("job_done", done("a")), started("b"))
    assert replay_journals([path]).job("b").status == "interrupted"
    assert replay_journals([path], live=True).job("b").status == "started"
    assert replay_journals([path], live=True).job("b").worker == 0
    write(path, RUN_STARTED, started("c"), run="r2")
    live = replay_journals([path], live=True)
    assert {job.id: job.status for job in live.jobs.values()} == {"a": "done", "b": "interrupted", "c": "started"}
    assert live.job("b").dangling and not live.job("a").dangling
    write(path, RUN_DONE, run="r2")
    ended = replay_journals([path], live=True)
    assert ended.job("c").status == "interrupted"
    assert [(run.id, run.ended is None) for run in ended.runs] == [("r1", True), ("r2", False)]


def test_attempts_and_failures_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, started("a"), started("a"), ("job_failed", failed("a", 2)))
    job = replay_journals([path]).job("a")
    assert (job.status, job.attempts) == ("failed", 2)
    assert job.failure is not None and (job.failure.code, job.failure.attempt) == ("vast_no_face", 2)
    write(path, started("a"), ("job_done", done("a")))
    job = replay_journals([path]).job("a")
    assert (job.status, job.attempts, job.failure) == ("done", 3, None)
    assert job.done is not None and job.done.gates == {"sync": 0.9}


def test_a_failure_without_a_start_keeps_the_job_dangling(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, started("a"))
    write(path, RUN_STARTED, ("job_failed", failed("a", 0)), RUN_DONE)
    assert replay_journals([path]).job("a").dangling
    write(path, started("a"), ("job_failed", failed("a", 1)))
    assert not replay_journals([path]).job("a").dangling


def test_all_results_of_a_job_are_kept_the_newest_last(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, *(("job_done", done("a", fp, size=size)) for fp, size in (("f1", 1), ("f2", 2), ("f1", 3))))
    job = replay_journals([path]).job("a")
    assert {fp: record.size for fp, record in job.records.items()} == {"f1": 3, "f2": 2}
    assert job.done is not None and job.done.fingerprint_digest == "f1"


def test_merging_shards_does_not_depend_on_clocks_or_order(tmp_path: Path) -> None:
    first, second = tmp_path / "journal.2-of-4.jsonl", tmp_path / "journal.10-of-16.jsonl"
    write(first, RUN_STARTED, started("a"), ("job_failed", failed("a")), started("b"), ("job_done", done("b", "f1")))
    write(second, RUN_STARTED, started("a"), ("job_done", done("a", "f2")), ("job_failed", failed("b")))
    assert find_journals(tmp_path) == [first, second]
    for paths in ([first, second], [second, first]):
        state = replay_journals(paths)
        assert {job.id: job.status for job in state.jobs.values()} == {"a": "done", "b": "done"}
        assert set(state.job("a").records) == {"f2"} and set(state.job("b").records) == {"f1"}
        assert state.job("a").attempts == 2 and state.job("a").failure is None


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    assert replay_journals([tmp_path / "journal.jsonl"]).jobs == {}
    assert find_journals(tmp_path / "nowhere") == []
    assert replay_journals([]).job("a").status == "new"

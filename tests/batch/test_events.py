"""Event lines match their schema, and readers that are gone, slow or broken never hold up the batch."""

import io
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from vast_cli.batch.monitor import events, joblog
from vast_cli.batch.timestamps import utc_timestamp
from vast_cli.core.errors import VastError

STARTED = {"id": "a", "index": 3, "worker": 0, "pid": 9, "attempt": 1, "output": "out/a.mp4", "sound_s": None}
DONE = {
    "id": "a", "worker": 0, "attempt": 1, "output": "out/a.mp4", "seconds": 2.5, "frames": 50, "duration_s": 2.0,
    "gates": {"sync": 0.9}, "action": "run",
}  # fmt: skip
FAILED = {"id": "b", "worker": 1, "attempt": 2, "seconds": 0.5} | VastError("vast_no_face", "no face").as_dict()
PROGRESS = {
    "id": "a", "worker": 0, "stage": "render", "frames_done": 1, "frames_total": 9, "fps": None, "eta_s": None,
}  # fmt: skip


def _lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode("utf-8").splitlines()]


@pytest.mark.parametrize(("event", "fields"), [("job_started", STARTED), ("job_done", DONE), ("job_failed", FAILED)])
def test_lines_match_the_schema(event: str, fields: Mapping[str, Any]) -> None:
    stream = io.BytesIO()
    events.JsonLines(stream, "r8f3")(event, fields)
    (line,) = _lines(stream.getvalue())
    jsonschema.validate(line, events.schema())
    assert line["event"] == event and line["run"] == "r8f3" and line["t"].endswith("Z")


@pytest.mark.parametrize("missing", sorted(DONE))
def test_the_schema_requires_every_field(missing: str) -> None:
    line = {"v": 1, "t": utc_timestamp(), "run": "r", "event": "job_done"} | DONE
    del line[missing]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(line, events.schema())


def test_progress_is_written_at_most_once_a_second_for_each_job() -> None:
    stream = io.BytesIO()
    writer = events.JsonLines(stream, "r")
    for done in range(100):
        writer("progress", PROGRESS | {"frames_done": done})
        writer("progress", PROGRESS | {"frames_done": done, "id": "b"})
    assert [line["id"] for line in _lines(stream.getvalue())] == ["a", "b"]


def test_file_names_that_are_not_utf8_are_kept() -> None:
    stream = io.BytesIO()
    name = os.fsdecode(b"out/caf\xe9 \xe6\x97\xa5.mp4")
    events.JsonLines(stream, "r")("job_started", STARTED | {"output": name})
    assert _lines(stream.getvalue())[0]["output"] == name
    assert "日".encode() in stream.getvalue()


def test_a_closed_pipe_ends_the_lines_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as stream:
        writer = events.JsonLines(stream, "r")
        for _ in range(3):
            writer("job_done", DONE)
    assert caplog.text == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_lines_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with events.json_lines(Path("/dev/full"), "r") as writer:
        writer("job_done", DONE)
        writer("job_done", DONE)
    assert caplog.text.count("no longer written") == 1


def test_a_second_run_appends(tmp_path: Path) -> None:
    target = tmp_path / "a b" / "events.jsonl"
    for run in ("one", "two"):
        with events.json_lines(target, run) as writer:
            writer("job_done", DONE)
            assert target.read_bytes().endswith(b"\n")  # written before the file is closed
    assert [line["run"] for line in _lines(target.read_bytes())] == ["one", "two"]


def test_an_unwritable_target_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(VastError) as caught, events.json_lines(tmp_path, "r"):
        pass
    assert caught.value.code == "vast_output_unwritable"


def test_a_slow_listener_blocks_nobody_and_misses_only_progress() -> None:
    awake, received = threading.Event(), []

    def slow(event: str, fields: Mapping[str, Any]) -> None:
        awake.wait()
        received.append(event)

    broadcast = events.Broadcast([slow])
    for _ in range(2 * events.MAX_QUEUED):  # returns although the listener is blocked
        broadcast.emit("progress", **PROGRESS)
    broadcast.emit("job_done", **DONE)
    awake.set()
    broadcast.close()
    assert received[-1] == "job_done" and received.count("progress") <= events.MAX_QUEUED + 2


def test_a_failing_listener_is_removed_alone(caplog: pytest.LogCaptureFixture) -> None:
    received, calls = [], []

    def broken(event: str, fields: Mapping[str, Any]) -> None:
        calls.append(event)
        raise ValueError("mine")

    broadcast = events.Broadcast([broken, lambda event, fields: received.append(event)])
    broadcast.emit("job_started", **STARTED)
    broadcast.emit("job_done", **DONE)
    broadcast.close()
    assert calls == ["job_started"] and received == ["job_started", "job_done"]
    assert "mine" in caplog.text


def test_the_job_log_has_the_columns_of_gnu_parallel(tmp_path: Path) -> None:
    target = tmp_path / "jobs.tsv"
    with joblog.job_log(target) as listener:
        listener("job_started", STARTED)
        listener("job_done", DONE)
        listener("job_started", STARTED | {"id": "b", "index": 4, "output": "out/b\tc\n.mp4"})
        listener("job_failed", FAILED)
    with joblog.job_log(target):
        pass
    titles, good, bad = (line.split("\t") for line in target.read_text().splitlines())
    assert titles[:8] == "Seq Host Starttime JobRuntime Send Receive Exitval Signal".split()
    assert dict(zip(titles, good, strict=True))["Exitval"] == "0"
    row = dict(zip(titles, bad, strict=True))
    assert (row["Seq"], row["Exitval"], row["Code"], row["Id"]) == ("4", "65", "vast_no_face", "b")
    assert row["Output"] == r"out/b\tc\n.mp4"

"""The commands on batches: what they print where, how they end, what `retry` keeps. Workers are played by a fake."""

import json
import os
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from vast_cli.batch import run
from vast_cli.batch.job import Done, Failed, Message, Outcome, Progress, Ready, Task, WorkerSettings
from vast_cli.batch.monitor import events
from vast_cli.batch.monitor import status as batch_status
from vast_cli.batch.planning import capacity
from vast_cli.batch.state.command_line import CommandLine
from vast_cli.batch.state.folder import open_batch
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.timestamps import parse_timestamp
from vast_cli.cli import batch_options
from vast_cli.cli.batch import batch
from vast_cli.cli.plan import plan
from vast_cli.cli.retry import retry
from vast_cli.cli.schema import schemas
from vast_cli.cli.status import status
from vast_cli.core import locks
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.files import sha256


class FakeExecutor:
    """Renders in no time: a sound whose text is `fail CODE` fails with it, `seed=7` mends `vast_no_face`."""

    ends: BaseException | None = None  # raised when asked for messages

    def __init__(self, settings: WorkerSettings, n_workers: int) -> None:
        self.n_workers = n_workers
        self.messages: deque[Message] = deque()

    def start(self, worker: int) -> None:
        self.messages.append(Ready(worker, os.getpid()))

    def submit(self, worker: int, task: Task) -> None:
        if self.ends is not None:
            return
        words = task.job.audio.read_text().split()
        if words[0] == "fail" and not (words[1] == "vast_no_face" and task.job.options["seed"] == 7):
            self.messages.append(Failed(worker, task.key, VastError(words[1], f"`{task.job.audio.name}` is bad")))
            return
        self.messages += [Progress(worker, task.key, "render", done, 25) for done in (1, 25)]
        task.staging.write_text(f"{words} {dict(task.job.options)}")
        outcome = Outcome(
            size=task.staging.stat().st_size, sha256=sha256(task.staging), n_frames=25, duration_s=1.0, seconds=0.1,
            limited_share=0.0, stages={}, warnings=(), gates={"sync": 0.9}, missed=(), figures=None, sidecar=None,
        )  # fmt: skip
        self.messages.append(Done(worker, task.key, outcome))

    def poll(self, timeout_s: float) -> list[Message]:
        if self.ends is not None and not self.messages:
            raise self.ends
        messages, self.messages = list(self.messages), deque()
        return messages

    def kill(self, worker: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FakeExecutor]]:
    """No real workers, a cache and a folder of its own."""
    folder = tmp_path / "a b" / "日本 é'$(x);"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAST_NO_SPEED", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run, "make_executor", lambda name, settings, n: FakeExecutor(settings, n))
    monkeypatch.setattr(FakeExecutor, "ends", None)
    yield FakeExecutor


class Ended:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(fake: type[FakeExecutor], capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process; its streams are read where they leave it."""
    app = typer.Typer()
    for name, function in (("batch", batch), ("plan", plan), ("status", status), ("retry", retry)):
        app.command(name)(function)

    def run_it(*arguments: str) -> Ended:
        capfd.readouterr()
        try:
            app(list(arguments), standalone_mode=True)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return run_it


def write(n: int = 3, *, bad: dict[int, str] | None = None, name: str = "jobs.csv", extra: str = "") -> None:
    """A table of n jobs and their sounds."""
    rows = ["id,audio,x_lang" + (",seed" if extra else "")]
    for k in range(n):
        code = (bad or {}).get(k)
        Path(f"s{k}.wav").write_text(f"fail {code}" if code else f"sound {k}")
        rows.append(f"j{k},s{k}.wav,de" + (f",{extra}" if extra else ""))
    Path(name).write_text("\n".join(rows) + "\n")


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


OUT = ("-o", "out/{id}.mp4", "--workers", "2", "--no-report")


def test_paths_on_stdout_the_rest_on_stderr(call: Callable[..., Ended]) -> None:
    write(3)
    ended = call("batch", "jobs.csv", *OUT)
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == [str(Path(f"out/j{k}.mp4").absolute()) for k in range(3)]
    assert "start: j0" in ended.err and "3 jobs: 3 done" in ended.err
    again = call("batch", "jobs.csv", *OUT)
    assert (again.code, again.out) == (0, "") and "nothing to do: 3 of 3" in again.err


def test_quiet_is_quiet(call: Callable[..., Ended]) -> None:
    write(2, bad={1: "vast_no_face"})
    ended = call("batch", "jobs.csv", *OUT, "-q")
    assert ended.code == 3 and len(ended.err.splitlines()) == 1 and "[vast_no_face]" in ended.err


def test_failures_are_told_at_once_and_summed_up(call: Callable[..., Ended]) -> None:
    write(5, bad={1: "vast_no_face", 3: "vast_no_face", 4: "vast_no_speech"}, name="my jobs.csv")
    ended = call("batch", "my jobs.csv", *OUT)
    assert ended.code == 3
    told = ended.err.splitlines()
    assert sum(line.startswith("failed: ") for line in told) == 3
    assert "failed: j1: `s1.wav` is bad [vast_no_face]" in told
    assert "2 failed with vast_no_face: j1, j3" in told and "1 failed with vast_no_speech: j4" in told
    assert sum(line.strip().startswith("hint: ") for line in told) == 2
    again = next(line for line in told if line.startswith("again: "))
    assert shlex.split(again)[1:] == ["vast", "retry", "my jobs.csv"]


def test_one_json_document(call: Callable[..., Ended]) -> None:
    write(3, bad={1: "vast_no_face"})
    ended = call("batch", "jobs.csv", *OUT, "--json")
    found = ended.json
    assert ended.code == found["exit"] == 3
    assert (found["jobs"], found["done"], found["failed"], found["why"]) == (3, 2, 1, None)
    assert sorted(found["outputs"]) == [str(Path(f"out/j{k}.mp4").absolute()) for k in (0, 2)]
    (failure,) = found["failures"]
    assert failure["id"] == "j1" and failure["exit"] == 65 and failure["hint"]


def test_events_of_a_run_fit_the_schema(call: Callable[..., Ended]) -> None:
    write(4, bad={1: "vast_no_face", 2: "vast_internal"})
    assert call("batch", "jobs.csv", *OUT, "--events", "ev/e.jsonl", "--joblog", "log.tsv").code == 3
    assert call("batch", "jobs.csv", *OUT, "--events", "ev/e.jsonl", "--joblog", "log.tsv").code == 3
    found = lines("ev/e.jsonl")
    for line in found:
        jsonschema.validate(line, events.schema())
    assert len({line["run"] for line in found}) == 2
    first = [line for line in found if line["run"] == found[0]["run"]]
    assert [first[0]["event"], first[1]["event"], first[-1]["event"]] == ["run_started", "plan", "run_done"]
    told = {line["event"] for line in found}
    assert told >= {"job_started", "stage", "job_done", "job_failed", "job_retried", "job_skipped"}
    assert all(line["x"] == {"x_lang": "de"} for line in found if line["event"] == "job_done")
    assert {line["id"] for line in first if line["event"] == "job_done"} == {"j0", "j3"}
    log = [line.split("\t") for line in Path("log.tsv").read_text().splitlines()]
    assert sorted((row[9], row[6], row[8]) for row in log[1:5]) == [
        ("j0", "0", ""), ("j1", "65", "vast_no_face"), ("j2", "1", "vast_internal"), ("j3", "0", ""),
    ]  # fmt: skip
    assert len(log) == 1 + 4 + 2  # the second run tried the failed ones only


def test_journal_lines_of_a_run_fit_the_schema(call: Callable[..., Ended]) -> None:
    write(3, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    found = lines("jobs.vast/journal.jsonl")
    for line in found:
        jsonschema.validate(line, schemas()["journal"])
    assert [found[0]["event"], found[-1]["event"]] == ["run_started", "run_done"]


def test_events_on_stdout(call: Callable[..., Ended]) -> None:
    write(2)
    ended = call("batch", "jobs.csv", *OUT, "--events", "-")
    assert [json.loads(line)["event"] for line in ended.out.splitlines()][-1] == "run_done"
    refused = call("batch", "jobs.csv", *OUT, "--events", "-", "--json")
    assert refused.code == 78 and refused.json["error"]["code"] == "vast_option_invalid"


def test_a_closed_stdout_stops_nothing(fake: type[FakeExecutor]) -> None:
    write(4)
    script = (
        "import sys, typer\n"
        "sys.path.insert(0, sys.argv.pop(1))\n"
        "from vast_cli.batch import run\n"
        "from tests.cli.test_batch_commands import FakeExecutor, batch\n"
        "run.make_executor = lambda name, settings, n: FakeExecutor(settings, n)\n"
        "app = typer.Typer()\n"
        "app.command()(batch)\n"
        "app()\n"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", script, root, "jobs.csv", *OUT], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0, err
    assert "BrokenPipe" not in err and "Traceback" not in err and "4 done" in err
    assert len(list(Path("out").glob("*.mp4"))) == 4


# --- plan ----------------------------------------------------------------------------------------------------------


def test_plan_writes_nothing(call: Callable[..., Ended]) -> None:
    write(3)
    before = sorted(Path().rglob("*"))
    ended = call("plan", "jobs.csv", "-o", "out/{id}.mp4")
    assert ended.code == 0 and ended.out.splitlines()[:3] == [f"run    j{k}  new" for k in range(3)]
    assert "3 jobs: 3 to run" in ended.out
    assert sorted(Path().rglob("*")) == before
    dry = call("batch", "jobs.csv", *OUT, "--dry-run")
    assert dry.out == ended.out and sorted(Path().rglob("*")) == before


def test_plan_says_why(call: Callable[..., Ended]) -> None:
    write(5, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    Path("s0.wav").write_text("another sound")
    Path("s2.wav").unlink()
    Path("out/j3.mp4").unlink()
    ended = call("plan", "jobs.csv", "-o", "out/{id}.mp4", "--json")
    assert ended.code == 3  # j2 cannot run
    found = {job["id"]: (job["action"], job["reason"]) for job in ended.json["jobs"]}
    assert found == {
        "j0": ("run", "input_changed:audio"), "j1": ("run", "failed"), "j2": ("refuse", "vast_input_missing"),
        "j3": ("run", "output_missing"), "j4": ("skip", "done"),
    }  # fmt: skip
    assert ended.json["jobs"][2]["error"]["hint"] and ended.json["to_run"] == 3
    text = call("plan", "jobs.csv", "-o", "out/{id}.mp4").out
    assert "run    j0  audio is another file now" in text and "fail   j2  no file" in text


def test_many_jobs_are_grouped(call: Callable[..., Ended]) -> None:
    write(60)
    for k in range(50, 54):
        Path(f"s{k}.wav").unlink()
    ended = call("plan", "jobs.csv")
    assert len(ended.out.splitlines()) < 12
    assert any(line.split()[:3] == ["run", "56", "new:"] and line.endswith("...") for line in ended.out.splitlines())
    assert any(line.split()[:2] == ["fail", "4"] and "[vast_input_missing]" in line for line in ended.out.splitlines())
    assert len(call("plan", "jobs.csv", "--all").out.splitlines()) > 60


# --- status --------------------------------------------------------------------------------------------------------


def test_status_before_during_and_after(call: Callable[..., Ended]) -> None:
    write(4, bad={2: "vast_no_face"})
    assert call("status", "jobs.csv").code == 3
    with locks.hold(Path("jobs.vast/lock")), Journal.open(Path("jobs.vast/journal.jsonl"), run="r") as journal:
        journal.append("run_started", jobs=4)
        journal.append("job_started", id="j0", attempt=1, worker=1, fp="f", output="o")
        during = call("status", "jobs.csv", "--json")
        assert (during.json["running"], during.json["left"], during.code) == (1, 4, 3)
        assert during.json["running_jobs"][0]["id"] == "j0" and during.json["runs"][0]["pid"] == os.getpid()
        assert f"process {os.getpid()}" in call("status", "jobs.csv").out
    assert call("status", "jobs.csv", "--json").json["interrupted"] == 1  # that run died
    call("batch", "jobs.csv", *OUT)
    after = call("status", "jobs.csv")
    assert after.code == 3 and "3 of 4 done, 1 failed, 0 left" in after.out
    assert "hint: " in after.out and "vast retry jobs.csv" in after.out
    Path("s2.wav").write_text("mended")
    assert call("retry", "jobs.csv", "--no-report").code == 0
    assert call("status", "jobs.csv").code == 0


def test_status_of_shards_together(call: Callable[..., Ended]) -> None:
    write(8)
    assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 0
    half = call("status", "jobs.csv", "--json").json
    assert 0 < half["done"] < 8 and half["new"] == 8 - half["done"]
    assert call("status", "jobs.csv", "--shard", "1/2").code == 0
    assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0
    assert call("status", "jobs.csv").code == 0
    assert call("batch", "jobs.csv", *OUT).out == ""


def test_rate_and_time_left_of_a_running_batch(call: Callable[..., Ended]) -> None:
    write(4)
    call("batch", "jobs.csv", *OUT)
    rows = lines("jobs.vast/journal.jsonl")
    done = [row for row in rows if row["event"] == "job_done"][:2]
    began = parse_timestamp(rows[0]["t"])
    assert began is not None
    Path("jobs.vast/journal.jsonl").unlink()
    with locks.hold(Path("jobs.vast/lock")), Journal.open(Path("jobs.vast/journal.jsonl"), run="r") as journal:
        journal.append("run_started", jobs=4)
        for row in done:
            journal.append(
                "job_done", **{k: v for k, v in row.items() if k not in ("v", "seq", "t", "run", "event", "crc")}
            )
        start = parse_timestamp(lines("jobs.vast/journal.jsonl")[0]["t"])
        assert start is not None
        found = batch_status.read_status(open_batch(Path("jobs.csv")), now=start.replace(year=start.year + 1))
    year = (start.replace(year=start.year + 1) - start).total_seconds()
    assert found.fps == pytest.approx(50 / year) and found.eta_s == pytest.approx(year)


# --- retry ---------------------------------------------------------------------------------------------------------


def test_retry_runs_the_failed_ones_only(call: Callable[..., Ended]) -> None:
    write(5, bad={1: "vast_no_face", 3: "vast_no_speech"})
    call("batch", "jobs.csv", *OUT)
    for k in (1, 3):
        Path(f"s{k}.wav").write_text("mended")
    Path("out/j0.mp4").unlink()  # missing, but it did not fail
    first = call("retry", "jobs.csv", "--code", "no_speech", "--no-report", "--json")
    assert first.code == 0 and first.json["outputs"] == [str(Path("out/j3.mp4").absolute())]
    second = call("retry", "jobs.csv", "--id", "j1", "--no-report", "--json")
    assert second.code == 0 and second.json["done"] == 1
    third = call("retry", "jobs.csv", "--no-report")
    assert third.code == 0 and "no failed job" in third.err and not Path("out/j0.mp4").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--id", "j00"), "did you mean `j0`"),
        (("--id", "j0"), "vast batch"),
        (("--code", "vast_no_fase"), "did you mean `vast_no_face`"),
        (("--set", "crff=20"), "did you mean `crf`"),
        (("--set", "crf=200"), ""),
        (("--set", "workers=2"), ""),
        (("--set", "id=x"), ""),
        (("--set", "crf"), "--set crf=20"),
    ],
)
def test_retry_of_what_cannot_be_is_explained(words: tuple[str, ...], hint: str, call: Callable[..., Ended]) -> None:
    write(3, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    ended = call("retry", "jobs.csv", *words)
    assert ended.code == 78 and hint in ended.err and "vast_option_invalid" in ended.err
    assert not Path("jobs.vast/overrides.json").exists()


def test_what_retry_set_stays_set(call: Callable[..., Ended]) -> None:
    write(4, bad={1: "vast_no_face", 2: "vast_no_speech"}, extra="3")
    call("batch", "jobs.csv", *OUT, "--crf", "30")
    ended = call("retry", "jobs.csv", "--code", "vast_no_face", "--set", "seed=7", "--no-report", "--json")
    assert ended.code == 0 and ended.json["done"] == 1
    made = Path("out/j1.mp4").read_text()
    assert "'seed': 7" in made and "'crf': 30" in made  # options of the last `vast batch` hold
    plain = call("batch", "jobs.csv", *OUT, "--crf", "30", "--json")
    assert plain.json["done"] == 0 and plain.json["skipped"] == 3  # j2 fails again
    assert Path("out/j1.mp4").read_text() == made
    text = Path("jobs.csv").read_text().replace("j1,s1.wav,de,3", "j1,s1.wav,de,9")
    Path("jobs.csv").write_text(text)  # the row means something else now
    edited = {
        job["id"]: job["reason"] for job in call("plan", "jobs.csv", *OUT[:2], "--crf", "30", "--json").json["jobs"]
    }
    assert edited["j1"] == "option_changed:seed" and edited["j0"] == "done"


def test_files_set_by_retry_are_found_from_anywhere(
    call: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    Path("other").mkdir()
    Path("other/mended.wav").write_text("mended")
    manifest = Path("jobs.csv").absolute()
    monkeypatch.chdir("other")
    assert call("retry", str(manifest), "--set", "audio=mended.wav", "--no-report").code == 0
    monkeypatch.chdir("..")
    assert Path("out/j1.mp4").read_text().startswith("['mended']")
    Path("other").rename("gone")  # and the change is not lost but told
    assert "other/mended.wav" in call("plan", "jobs.csv", *OUT[:2]).out


def test_kept_changes_that_somebody_broke(call: Callable[..., Ended]) -> None:
    write(1)
    Path("jobs.vast").mkdir()
    Path("jobs.vast/overrides.json").write_text("{")
    ended = call("plan", "jobs.csv")
    assert ended.code == 78 and "vast_record_invalid" in ended.err and "overrides.json" in ended.err


def test_a_word_of_now_is_stronger_than_one_of_retry(call: Callable[..., Ended]) -> None:
    write(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    call("retry", "jobs.csv", "--set", "seed=7", "--no-report")
    now = call("plan", "jobs.csv", *OUT[:2], "--set", "seed=8", "--json").json["jobs"][1]
    assert now["reason"] == "option_changed:seed"


def test_retry_remembers_outputs_after_a_move(call: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in {x}").mkdir()
    monkeypatch.chdir("in {x}")
    write(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", "-o", "../videos/{id}.mp4", "--workers", "1", "--no-report")
    monkeypatch.chdir("..")
    assert Path("videos/j0.mp4").exists()
    Path("in {x}").rename("moved {y}")
    Path("moved {y}/s1.wav").write_text("mended")
    assert call("retry", "moved {y}/jobs.csv", "--no-report").code == 0
    assert Path("videos/j1.mp4").exists()


def test_command_is_kept_by_its_way_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "m"
    said = CommandLine.of(
        base, output="o/{id}.mp4", options={"prompt": "p.mp4", "avatar": "x/me", "crf": 3}, overrides={}
    )
    assert said == CommandLine("../o/{id}.mp4", {"prompt": "../p.mp4", "avatar": "../x/me", "crf": "3"}, {})
    moved = tmp_path / "{n}" / "m"
    assert said.output_template(moved) == f"{tmp_path}/{{{{n}}}}/o/{{id}}.mp4"
    assert said.absolute_options(moved) == {
        "prompt": f"{tmp_path}/{{n}}/p.mp4",
        "avatar": f"{tmp_path}/{{n}}/x/me",
        "crf": "3",
    }
    near = CommandLine.of(tmp_path, output="out/", options={"avatar": "./obama"}, overrides={})
    assert near.output_template(tmp_path) == f"{tmp_path}/out/"
    assert near.absolute_options(tmp_path)["avatar"] == f"{tmp_path}/obama"


# --- how a run ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "failed"), [("2", 2), ("20%", 2), ("100%", 6)])
def test_max_failures(limit: str, failed: int, call: Callable[..., Ended]) -> None:
    write(10, bad={k: "vast_no_face" for k in range(6)})
    ended = call(
        "batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--max-failures", limit, "--json"
    )
    assert ended.code == 3 and ended.json["failed"] == failed
    assert ended.json["why"] == ("max_failures" if failed < 6 else None)


def test_fail_fast(call: Callable[..., Ended]) -> None:
    write(4, bad={0: "vast_no_face"})
    ended = call("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--fail-fast")
    assert ended.code == 3 and "3 not started" in ended.err and "stopped" in ended.err


def test_a_sick_machine_stops_the_batch(call: Callable[..., Ended]) -> None:
    write(9, bad={k: "vast_asset_missing" for k in range(9)})
    ended = call("batch", "jobs.csv", *OUT[:2], "--workers", "1", "--no-report")
    assert ended.code == 69 and "job after job" in ended.err and "4 not started" in ended.err


@pytest.mark.parametrize("json_too", [True, False])
def test_interrupted(json_too: bool, call: Callable[..., Ended], fake: type[FakeExecutor]) -> None:
    write(3)
    fake.ends = KeyboardInterrupt()
    ended = call("batch", "jobs.csv", *OUT, *(["--json"] if json_too else []))
    assert ended.code == 130 and "interrupted" in ended.err and "Traceback" not in ended.err
    if json_too:
        assert ended.json["why"] == "interrupted" and ended.json["exit"] == 130
    fake.ends = None
    assert call("batch", "jobs.csv", *OUT).code == 0  # the lock is free


def test_locked(call: Callable[..., Ended]) -> None:
    write(3)
    with locks.hold(Path("jobs.vast/lock")):
        ended = call("batch", "jobs.csv", *OUT, "--json")
        assert ended.code == 75 and ended.json["error"]["code"] == "vast_locked"
        assert str(os.getpid()) in ended.err
        assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 75
    with locks.hold(Path("jobs.vast/lock.1-of-2")):
        assert call("batch", "jobs.csv", *OUT).code == 75
        assert call("batch", "jobs.csv", *OUT, "--shard", "1/3").code == 75
        assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0


def test_faults_of_a_manifest_start_nothing(call: Callable[..., Ended]) -> None:
    Path("jobs.csv").write_text("id,audio,crff\na,a.wav,3\nb,,\n")
    ended = call("batch", "jobs.csv", *OUT)
    assert ended.code == 78 and "did you mean `crf`" in ended.err and "row 3" in ended.err
    assert not Path("jobs.vast").exists()


def test_a_manifest_from_standard_input_needs_a_state(
    call: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(1)
    assert "--state" in call("batch", "-", *OUT).err
    with Path("in.jsonl").open("w+") as stream:
        stream.write('{"id": "j0", "audio": "s0.wav"}\n')
        stream.seek(0)
        monkeypatch.setattr(sys, "stdin", stream)
        ended = call("batch", "-", *OUT, "--state", "st", "--json")
    assert ended.code == 0 and ended.json["done"] == 1 and Path("st/journal.jsonl").exists()


def test_what_a_dead_run_left_is_removed(call: Callable[..., Ended]) -> None:
    write(2)
    Path("out").mkdir()
    with Journal.open(Path("jobs.vast/journal.jsonl"), run="dead0run") as journal:
        journal.append("run_started", jobs=2)
    left, others = Path("out/.j0.dead0run.1.1.part.mp4"), Path("out/.j0.live1run.1.1.part.mp4")
    left.touch()
    others.touch()
    assert call("batch", "jobs.csv", *OUT).code == 0
    assert not left.exists() and others.exists()


def test_a_shard_leaves_the_files_of_others_alone(call: Callable[..., Ended]) -> None:
    write(4)
    theirs = Path("jobs.vast/scratch.2-of-2/file")
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 0
    assert theirs.exists()
    assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0
    assert not theirs.exists()


def test_a_foreign_file_is_not_replaced_unasked(call: Callable[..., Ended]) -> None:
    write(2)
    Path("out").mkdir()
    Path("out/j1.mp4").write_text("theirs")
    ended = call("batch", "jobs.csv", *OUT)
    assert ended.code == 3 and "vast_output_exists" in ended.err and Path("out/j1.mp4").read_text() == "theirs"
    assert call("batch", "jobs.csv", *OUT, "--overwrite").code == 0


def test_the_report_is_named(call: Callable[..., Ended]) -> None:
    write(3, bad={1: "vast_no_face"})
    ended = call("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "2", "--json")
    jsonschema.validate(json.loads(Path("jobs.vast/report.json").read_text()), schemas()["report"])
    assert ended.json["report"] == str(Path("jobs.vast/report.html").absolute())
    assert Path(ended.json["report"]).exists()


# --- words to values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 h", 5400), ("1:30", 90), ("1:00:00", 3600)],
)
def test_times(text: str, value: float) -> None:
    assert batch_options.seconds(text, "--timeout") == value


@pytest.mark.parametrize("text", ["", "0", "-3", "5x", "1:99", "inf", "nan", "1e3", "0s", "0:00"])
def test_no_times(text: str) -> None:
    with pytest.raises(VastError) as caught:
        batch_options.seconds(text, "--timeout")
    assert caught.value.exit == Exit.CONFIG


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "x", "1.5", "%"])
def test_no_limits_of_failures(text: str) -> None:
    with pytest.raises(VastError):
        batch_options.failures(text, fail_fast=False)


def test_workers_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity.devices, "cores", lambda: 8)
    monkeypatch.setattr(capacity, "free_memory", lambda: 3 * capacity.WORKER_BYTES + 5)
    assert capacity.worker_count(0, "cpu") == 3 and capacity.worker_count(5, "cpu") == 5
    monkeypatch.setattr(capacity, "free_memory", lambda: 10)
    assert capacity.worker_count(0, "cpu") == 1
    monkeypatch.setattr(capacity, "free_memory", lambda: None)
    assert capacity.worker_count(0, "cpu") == 8 and capacity.worker_count(0, "cuda:1") == 1

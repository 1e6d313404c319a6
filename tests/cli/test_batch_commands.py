"""`vast batch`, `plan`, `status` and `retry`: output, exit statuses and state, with a fake executor."""

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
    """Renders nothing: audio with the text `fail CODE` fails with CODE, unless it is `vast_no_face` and `seed=7`."""

    interruption: BaseException | None = None  # raised by `poll`

    def __init__(self, settings: WorkerSettings, n_workers: int) -> None:
        self.n_workers = n_workers
        self.messages: deque[Message] = deque()

    def start(self, worker: int) -> None:
        self.messages.append(Ready(worker, os.getpid()))

    def submit(self, worker: int, task: Task) -> None:
        if self.interruption is not None:
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
        if self.interruption is not None and not self.messages:
            raise self.interruption
        messages, self.messages = list(self.messages), deque()
        return messages

    def kill(self, worker: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def fake_executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FakeExecutor]]:
    """Replaces the executor, in an empty folder with its own cache."""
    folder = tmp_path / "a b" / "日本 é'$(x);"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAST_NO_SPEED", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run, "make_executor", lambda name, settings, n: FakeExecutor(settings, n))
    monkeypatch.setattr(FakeExecutor, "interruption", None)
    yield FakeExecutor


class CommandResult:
    """Exit status and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(fake_executor: type[FakeExecutor], capfd: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Run a command in this process and capture its streams as file descriptors."""
    app = typer.Typer()
    for name, function in (("batch", batch), ("plan", plan), ("status", status), ("retry", retry)):
        app.command(name)(function)

    def run_command(*arguments: str) -> CommandResult:
        capfd.readouterr()
        try:
            app(list(arguments), standalone_mode=True)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return CommandResult(code, out, err)

    return run_command


def write_manifest(n: int = 3, *, bad: dict[int, str] | None = None, name: str = "jobs.csv", extra: str = "") -> None:
    """A manifest of n jobs and their audio; jobs of `bad` fail with its codes."""
    rows = ["id,audio,x_lang" + (",seed" if extra else "")]
    for k in range(n):
        code = (bad or {}).get(k)
        Path(f"s{k}.wav").write_text(f"fail {code}" if code else f"audio {k}")
        rows.append(f"j{k},s{k}.wav,de" + (f",{extra}" if extra else ""))
    Path(name).write_text("\n".join(rows) + "\n")


def read_json_lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


OUT = ("-o", "out/{id}.mp4", "--workers", "2", "--no-report")


def test_paths_go_to_stdout_and_the_rest_to_stderr(call: Callable[..., CommandResult]) -> None:
    write_manifest(3)
    result = call("batch", "jobs.csv", *OUT)
    assert result.code == 0
    assert sorted(result.out.splitlines()) == [str(Path(f"out/j{k}.mp4").absolute()) for k in range(3)]
    assert "start: j0" in result.err and "3 jobs: 3 done" in result.err
    again = call("batch", "jobs.csv", *OUT)
    assert (again.code, again.out) == (0, "") and "nothing to do: 3 of 3" in again.err


def test_quiet_prints_failures_only(call: Callable[..., CommandResult]) -> None:
    write_manifest(2, bad={1: "vast_no_face"})
    result = call("batch", "jobs.csv", *OUT, "-q")
    assert result.code == 3 and len(result.err.splitlines()) == 1 and "[vast_no_face]" in result.err


def test_each_failure_is_printed_and_all_are_summed_up_by_code(call: Callable[..., CommandResult]) -> None:
    write_manifest(5, bad={1: "vast_no_face", 3: "vast_no_face", 4: "vast_no_speech"}, name="my jobs.csv")
    result = call("batch", "my jobs.csv", *OUT)
    assert result.code == 3
    messages = result.err.splitlines()
    assert sum(line.startswith("failed: ") for line in messages) == 3
    assert "failed: j1: `s1.wav` is bad [vast_no_face]" in messages
    assert "2 failed with vast_no_face: j1, j3" in messages and "1 failed with vast_no_speech: j4" in messages
    assert sum(line.strip().startswith("hint: ") for line in messages) == 2
    command = next(line for line in messages if line.startswith("again: "))
    assert shlex.split(command)[1:] == ["vast", "retry", "my jobs.csv"]


def test_one_json_document(call: Callable[..., CommandResult]) -> None:
    write_manifest(3, bad={1: "vast_no_face"})
    result = call("batch", "jobs.csv", *OUT, "--json")
    document = result.json
    assert result.code == document["exit"] == 3
    assert (document["jobs"], document["done"], document["failed"], document["why"]) == (3, 2, 1, None)
    assert sorted(document["outputs"]) == [str(Path(f"out/j{k}.mp4").absolute()) for k in (0, 2)]
    (failure,) = document["failures"]
    assert failure["id"] == "j1" and failure["exit"] == 65 and failure["hint"]


def test_events_of_a_run_fit_the_schema(call: Callable[..., CommandResult]) -> None:
    write_manifest(4, bad={1: "vast_no_face", 2: "vast_internal"})
    assert call("batch", "jobs.csv", *OUT, "--events", "ev/e.jsonl", "--joblog", "log.tsv").code == 3
    assert call("batch", "jobs.csv", *OUT, "--events", "ev/e.jsonl", "--joblog", "log.tsv").code == 3
    rows = read_json_lines("ev/e.jsonl")
    for row in rows:
        jsonschema.validate(row, events.schema())
    assert len({row["run"] for row in rows}) == 2
    first = [row for row in rows if row["run"] == rows[0]["run"]]
    assert [first[0]["event"], first[1]["event"], first[-1]["event"]] == ["run_started", "plan", "run_done"]
    names = {row["event"] for row in rows}
    assert names >= {"job_started", "stage", "job_done", "job_failed", "job_retried", "job_skipped"}
    assert all(row["x"] == {"x_lang": "de"} for row in rows if row["event"] == "job_done")
    assert {row["id"] for row in first if row["event"] == "job_done"} == {"j0", "j3"}
    log = [line.split("\t") for line in Path("log.tsv").read_text().splitlines()]
    assert sorted((row[9], row[6], row[8]) for row in log[1:5]) == [
        ("j0", "0", ""), ("j1", "65", "vast_no_face"), ("j2", "1", "vast_internal"), ("j3", "0", ""),
    ]  # fmt: skip
    assert len(log) == 1 + 4 + 2  # the second run ran the failed jobs only


def test_journal_lines_of_a_run_fit_the_schema(call: Callable[..., CommandResult]) -> None:
    write_manifest(3, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    rows = read_json_lines("jobs.vast/journal.jsonl")
    for row in rows:
        jsonschema.validate(row, schemas()["journal"])
    assert [rows[0]["event"], rows[-1]["event"]] == ["run_started", "run_done"]


def test_events_on_stdout(call: Callable[..., CommandResult]) -> None:
    write_manifest(2)
    result = call("batch", "jobs.csv", *OUT, "--events", "-")
    assert [json.loads(line)["event"] for line in result.out.splitlines()][-1] == "run_done"
    refused = call("batch", "jobs.csv", *OUT, "--events", "-", "--json")
    assert refused.code == 78 and refused.json["error"]["code"] == "vast_option_invalid"


def test_a_closed_stdout_does_not_stop_the_batch(fake_executor: type[FakeExecutor]) -> None:
    write_manifest(4)
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


def test_plan_writes_nothing(call: Callable[..., CommandResult]) -> None:
    write_manifest(3)
    before = sorted(Path().rglob("*"))
    result = call("plan", "jobs.csv", "-o", "out/{id}.mp4")
    assert result.code == 0 and result.out.splitlines()[:3] == [f"run    j{k}  new" for k in range(3)]
    assert "3 jobs: 3 to run" in result.out
    assert sorted(Path().rglob("*")) == before
    dry = call("batch", "jobs.csv", *OUT, "--dry-run")
    assert dry.out == result.out and sorted(Path().rglob("*")) == before


def test_plan_gives_the_reason_of_each_job(call: Callable[..., CommandResult]) -> None:
    write_manifest(5, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    Path("s0.wav").write_text("other audio")
    Path("s2.wav").unlink()
    Path("out/j3.mp4").unlink()
    result = call("plan", "jobs.csv", "-o", "out/{id}.mp4", "--json")
    assert result.code == 3  # j2 cannot run
    decisions = {job["id"]: (job["action"], job["reason"]) for job in result.json["jobs"]}
    assert decisions == {
        "j0": ("run", "input_changed:audio"), "j1": ("run", "failed"), "j2": ("refuse", "vast_input_missing"),
        "j3": ("run", "output_missing"), "j4": ("skip", "done"),
    }  # fmt: skip
    assert result.json["jobs"][2]["error"]["hint"] and result.json["to_run"] == 3
    text = call("plan", "jobs.csv", "-o", "out/{id}.mp4").out
    assert "run    j0  audio is another file now" in text and "fail   j2  no file" in text


def test_plan_groups_many_jobs_by_reason(call: Callable[..., CommandResult]) -> None:
    write_manifest(60)
    for k in range(50, 54):
        Path(f"s{k}.wav").unlink()
    result = call("plan", "jobs.csv")
    assert len(result.out.splitlines()) < 12
    assert any(line.split()[:3] == ["run", "56", "new:"] and line.endswith("...") for line in result.out.splitlines())
    assert any(line.split()[:2] == ["fail", "4"] and "[vast_input_missing]" in line for line in result.out.splitlines())
    assert len(call("plan", "jobs.csv", "--all").out.splitlines()) > 60


# --- status --------------------------------------------------------------------------------------------------------


def test_status_before_during_and_after(call: Callable[..., CommandResult]) -> None:
    write_manifest(4, bad={2: "vast_no_face"})
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
    Path("s2.wav").write_text("fixed")
    assert call("retry", "jobs.csv", "--no-report").code == 0
    assert call("status", "jobs.csv").code == 0


def test_status_merges_shards(call: Callable[..., CommandResult]) -> None:
    write_manifest(8)
    assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 0
    half = call("status", "jobs.csv", "--json").json
    assert 0 < half["done"] < 8 and half["new"] == 8 - half["done"]
    assert call("status", "jobs.csv", "--shard", "1/2").code == 0
    assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0
    assert call("status", "jobs.csv").code == 0
    assert call("batch", "jobs.csv", *OUT).out == ""


def test_rate_and_time_left_of_a_running_batch(call: Callable[..., CommandResult]) -> None:
    write_manifest(4)
    call("batch", "jobs.csv", *OUT)
    rows = read_json_lines("jobs.vast/journal.jsonl")
    done = [row for row in rows if row["event"] == "job_done"][:2]
    Path("jobs.vast/journal.jsonl").unlink()
    with locks.hold(Path("jobs.vast/lock")), Journal.open(Path("jobs.vast/journal.jsonl"), run="r") as journal:
        journal.append("run_started", jobs=4)
        for row in done:
            journal.append(
                "job_done", **{k: v for k, v in row.items() if k not in ("v", "seq", "t", "run", "event", "crc")}
            )
        start = parse_timestamp(read_json_lines("jobs.vast/journal.jsonl")[0]["t"])
        assert start is not None
        running = batch_status.read_status(open_batch(Path("jobs.csv")), now=start.replace(year=start.year + 1))
    year = (start.replace(year=start.year + 1) - start).total_seconds()
    assert running.fps == pytest.approx(50 / year) and running.eta_s == pytest.approx(year)


# --- retry ---------------------------------------------------------------------------------------------------------


def test_retry_runs_failed_jobs_only(call: Callable[..., CommandResult]) -> None:
    write_manifest(5, bad={1: "vast_no_face", 3: "vast_no_speech"})
    call("batch", "jobs.csv", *OUT)
    for k in (1, 3):
        Path(f"s{k}.wav").write_text("fixed")
    Path("out/j0.mp4").unlink()  # missing, but it did not fail
    first = call("retry", "jobs.csv", "--code", "no_speech", "--no-report", "--json")
    assert first.code == 0 and first.json["outputs"] == [str(Path("out/j3.mp4").absolute())]
    second = call("retry", "jobs.csv", "--id", "j1", "--no-report", "--json")
    assert second.code == 0 and second.json["done"] == 1
    third = call("retry", "jobs.csv", "--no-report")
    assert third.code == 0 and "no failed job" in third.err and not Path("out/j0.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "hint"),
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
def test_retry_rejects_wrong_ids_codes_and_options(
    arguments: tuple[str, ...], hint: str, call: Callable[..., CommandResult]
) -> None:
    write_manifest(3, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    result = call("retry", "jobs.csv", *arguments)
    assert result.code == 78 and hint in result.err and "vast_option_invalid" in result.err
    assert not Path("jobs.vast/overrides.json").exists()


def test_values_of_retry_hold_until_the_row_changes(call: Callable[..., CommandResult]) -> None:
    write_manifest(4, bad={1: "vast_no_face", 2: "vast_no_speech"}, extra="3")
    call("batch", "jobs.csv", *OUT, "--crf", "30")
    result = call("retry", "jobs.csv", "--code", "vast_no_face", "--set", "seed=7", "--no-report", "--json")
    assert result.code == 0 and result.json["done"] == 1
    video = Path("out/j1.mp4").read_text()
    assert "'seed': 7" in video and "'crf': 30" in video  # options of the last `vast batch` hold
    plain = call("batch", "jobs.csv", *OUT, "--crf", "30", "--json")
    assert plain.json["done"] == 0 and plain.json["skipped"] == 3  # j2 fails again
    assert Path("out/j1.mp4").read_text() == video
    text = Path("jobs.csv").read_text().replace("j1,s1.wav,de,3", "j1,s1.wav,de,9")
    Path("jobs.csv").write_text(text)  # the row overrides `retry --set` now
    edited = {
        job["id"]: job["reason"] for job in call("plan", "jobs.csv", *OUT[:2], "--crf", "30", "--json").json["jobs"]
    }
    assert edited["j1"] == "option_changed:seed" and edited["j0"] == "done"


def test_paths_set_by_retry_do_not_depend_on_the_working_folder(
    call: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    Path("other").mkdir()
    Path("other/fixed.wav").write_text("fixed")
    manifest = Path("jobs.csv").absolute()
    monkeypatch.chdir("other")
    assert call("retry", str(manifest), "--set", "audio=fixed.wav", "--no-report").code == 0
    monkeypatch.chdir("..")
    assert Path("out/j1.mp4").read_text().startswith("['fixed']")
    Path("other").rename("gone")  # `plan` reports the missing file, so the change is not lost
    assert "other/fixed.wav" in call("plan", "jobs.csv", *OUT[:2]).out


def test_a_broken_file_of_overrides_is_named(call: Callable[..., CommandResult]) -> None:
    write_manifest(1)
    Path("jobs.vast").mkdir()
    Path("jobs.vast/overrides.json").write_text("{")
    result = call("plan", "jobs.csv")
    assert result.code == 78 and "vast_record_invalid" in result.err and "overrides.json" in result.err


def test_set_of_this_command_wins_over_set_of_retry(call: Callable[..., CommandResult]) -> None:
    write_manifest(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", *OUT)
    call("retry", "jobs.csv", "--set", "seed=7", "--no-report")
    job = call("plan", "jobs.csv", *OUT[:2], "--set", "seed=8", "--json").json["jobs"][1]
    assert job["reason"] == "option_changed:seed"


def test_retry_finds_the_outputs_after_the_manifest_moved(
    call: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in {x}").mkdir()
    monkeypatch.chdir("in {x}")
    write_manifest(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", "-o", "../videos/{id}.mp4", "--workers", "1", "--no-report")
    monkeypatch.chdir("..")
    assert Path("videos/j0.mp4").exists()
    Path("in {x}").rename("moved {y}")
    Path("moved {y}/s1.wav").write_text("fixed")
    assert call("retry", "moved {y}/jobs.csv", "--no-report").code == 0
    assert Path("videos/j1.mp4").exists()


def test_paths_of_the_last_command_are_stored_relative_to_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "m"
    command = CommandLine.of(
        base, output="o/{id}.mp4", options={"prompt": "p.mp4", "avatar": "x/me", "crf": 3}, overrides={}
    )
    assert command == CommandLine("../o/{id}.mp4", {"prompt": "../p.mp4", "avatar": "../x/me", "crf": "3"}, {})
    moved = tmp_path / "{n}" / "m"
    assert command.output_template(moved) == f"{tmp_path}/{{{{n}}}}/o/{{id}}.mp4"
    assert command.absolute_options(moved) == {
        "prompt": f"{tmp_path}/{{n}}/p.mp4",
        "avatar": f"{tmp_path}/{{n}}/x/me",
        "crf": "3",
    }
    near = CommandLine.of(tmp_path, output="out/", options={"avatar": "./obama"}, overrides={})
    assert near.output_template(tmp_path) == f"{tmp_path}/out/"
    assert near.absolute_options(tmp_path)["avatar"] == f"{tmp_path}/obama"


def test_the_name_of_a_style_is_stored_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "m"
    named = CommandLine.of(base, output=None, options={"style": "happy"}, overrides={" style": "calm.style"})
    assert (named.options, named.overrides) == ({"style": "happy"}, {" style": "../calm.style"})
    assert named.absolute_options(base) == {"style": "happy"}
    assert named.absolute_overrides(base) == {" style": f"{tmp_path}/calm.style"}
    Path("happy").write_bytes(b"a file goes before a name")
    assert CommandLine.of(base, output=None, options={"style": "happy"}, overrides={}).options == {"style": "../happy"}


def test_retry_keeps_the_name_of_a_style(
    call: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAST_STYLES", str(tmp_path / "my styles"))
    (tmp_path / "my styles").mkdir()
    for name in ("happy", "calm"):
        (tmp_path / "my styles" / f"{name}.style").write_bytes(name.encode())
    write_manifest(2, bad={1: "vast_no_face"})
    call("batch", "jobs.csv", "-o", "out/{id}.mp4", "--style", "happy", "--workers", "1", "--no-report")
    call("retry", "jobs.csv", "--set", "style=calm", "--no-report")
    kept = json.loads(Path("jobs.vast/overrides.json").read_text())["jobs"]["j1"]["style"]
    assert kept == {"value": "calm", "instead_of": "happy"}
    plan = ("plan", "jobs.csv", "-o", "out/{id}.mp4", "--style", "happy", "--json")
    assert call(*plan).json["to_run"] == 1  # of both, only the one that failed
    (tmp_path / "my styles" / "happy.style").write_bytes(b"another style of the same name")
    assert call(*plan).json["jobs"][0]["reason"] == "input_changed:style"


# --- how a run ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "failed"), [("2", 2), ("20%", 2), ("100%", 6)])
def test_max_failures_stops_the_batch(limit: str, failed: int, call: Callable[..., CommandResult]) -> None:
    write_manifest(10, bad={k: "vast_no_face" for k in range(6)})
    result = call(
        "batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--max-failures", limit, "--json"
    )
    assert result.code == 3 and result.json["failed"] == failed
    assert result.json["why"] == ("max_failures" if failed < 6 else None)


def test_fail_fast_starts_no_further_job(call: Callable[..., CommandResult]) -> None:
    write_manifest(4, bad={0: "vast_no_face"})
    result = call("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "1", "--no-report", "--fail-fast")
    assert result.code == 3 and "3 not started" in result.err and "stopped" in result.err


def test_a_fault_of_the_machine_stops_the_batch(call: Callable[..., CommandResult]) -> None:
    write_manifest(9, bad={k: "vast_asset_missing" for k in range(9)})
    result = call("batch", "jobs.csv", *OUT[:2], "--workers", "1", "--no-report")
    assert result.code == 69 and "job after job" in result.err and "4 not started" in result.err


@pytest.mark.parametrize("with_json", [True, False])
def test_an_interrupted_batch_ends_with_130_and_frees_the_lock(
    with_json: bool, call: Callable[..., CommandResult], fake_executor: type[FakeExecutor]
) -> None:
    write_manifest(3)
    fake_executor.interruption = KeyboardInterrupt()
    result = call("batch", "jobs.csv", *OUT, *(["--json"] if with_json else []))
    assert result.code == 130 and "interrupted" in result.err and "Traceback" not in result.err
    if with_json:
        assert result.json["why"] == "interrupted" and result.json["exit"] == 130
    fake_executor.interruption = None
    assert call("batch", "jobs.csv", *OUT).code == 0  # the lock is free


def test_a_run_and_its_shards_lock_each_other_out(call: Callable[..., CommandResult]) -> None:
    write_manifest(3)
    with locks.hold(Path("jobs.vast/lock")):
        result = call("batch", "jobs.csv", *OUT, "--json")
        assert result.code == 75 and result.json["error"]["code"] == "vast_locked"
        assert str(os.getpid()) in result.err
        assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 75
    with locks.hold(Path("jobs.vast/lock.1-of-2")):
        assert call("batch", "jobs.csv", *OUT).code == 75
        assert call("batch", "jobs.csv", *OUT, "--shard", "1/3").code == 75
        assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0


def test_faults_of_a_manifest_start_no_job(call: Callable[..., CommandResult]) -> None:
    Path("jobs.csv").write_text("id,audio,crff\na,a.wav,3\nb,,\n")
    result = call("batch", "jobs.csv", *OUT)
    assert result.code == 78 and "did you mean `crf`" in result.err and "row 3" in result.err
    assert not Path("jobs.vast").exists()


def test_a_manifest_from_standard_input_needs_a_state_folder(
    call: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(1)
    assert "--state" in call("batch", "-", *OUT).err
    with Path("in.jsonl").open("w+") as stream:
        stream.write('{"id": "j0", "audio": "s0.wav"}\n')
        stream.seek(0)
        monkeypatch.setattr(sys, "stdin", stream)
        result = call("batch", "-", *OUT, "--state", "st", "--json")
    assert result.code == 0 and result.json["done"] == 1 and Path("st/journal.jsonl").exists()


def test_partial_files_of_a_dead_run_are_removed(call: Callable[..., CommandResult]) -> None:
    write_manifest(2)
    Path("out").mkdir()
    with Journal.open(Path("jobs.vast/journal.jsonl"), run="dead0run") as journal:
        journal.append("run_started", jobs=2)
    left, others = Path("out/.j0.dead0run.1.1.part.mp4"), Path("out/.j0.live1run.1.1.part.mp4")
    left.touch()
    others.touch()
    assert call("batch", "jobs.csv", *OUT).code == 0
    assert not left.exists() and others.exists()


def test_a_shard_leaves_the_files_of_others_alone(call: Callable[..., CommandResult]) -> None:
    write_manifest(4)
    theirs = Path("jobs.vast/scratch.2-of-2/file")
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    assert call("batch", "jobs.csv", *OUT, "--shard", "1/2").code == 0
    assert theirs.exists()
    assert call("batch", "jobs.csv", *OUT, "--shard", "2/2").code == 0
    assert not theirs.exists()


def test_a_file_that_the_batch_did_not_write_needs_overwrite(call: Callable[..., CommandResult]) -> None:
    write_manifest(2)
    Path("out").mkdir()
    Path("out/j1.mp4").write_text("theirs")
    result = call("batch", "jobs.csv", *OUT)
    assert result.code == 3 and "vast_output_exists" in result.err and Path("out/j1.mp4").read_text() == "theirs"
    assert call("batch", "jobs.csv", *OUT, "--overwrite").code == 0


def test_json_names_the_report(call: Callable[..., CommandResult]) -> None:
    write_manifest(3, bad={1: "vast_no_face"})
    result = call("batch", "jobs.csv", "-o", "out/{id}.mp4", "--workers", "2", "--json")
    jsonschema.validate(json.loads(Path("jobs.vast/report.json").read_text()), schemas()["report"])
    assert result.json["report"] == str(Path("jobs.vast/report.html").absolute())
    assert Path(result.json["report"]).exists()


# --- text to values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 h", 5400), ("1:30", 90), ("1:00:00", 3600)],
)
def test_valid_times(text: str, value: float) -> None:
    assert batch_options.seconds(text, "--timeout") == value


@pytest.mark.parametrize("text", ["", "0", "-3", "5x", "1:99", "inf", "nan", "1e3", "0s", "0:00"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(VastError) as caught:
        batch_options.seconds(text, "--timeout")
    assert caught.value.exit == Exit.CONFIG


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "x", "1.5", "%"])
def test_invalid_limits_of_failures(text: str) -> None:
    with pytest.raises(VastError) as caught:
        batch_options.failures(text, fail_fast=False)
    assert caught.value.exit == Exit.CONFIG


def test_workers_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity.devices, "cores", lambda: 8)
    monkeypatch.setattr(capacity, "free_memory", lambda: 3 * capacity.WORKER_BYTES + 5)
    assert capacity.worker_count(0, "cpu") == 3 and capacity.worker_count(5, "cpu") == 5
    monkeypatch.setattr(capacity, "free_memory", lambda: 10)
    assert capacity.worker_count(0, "cpu") == 1
    monkeypatch.setattr(capacity, "free_memory", lambda: None)
    assert capacity.worker_count(0, "cpu") == 8 and capacity.worker_count(0, "cuda:1") == 1

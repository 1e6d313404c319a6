"""The tests that every executor must pass: real workers crash, freeze and idle, and a coordinator is killed."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.batch.workspace import ROOT, Workspace, sha256
from vast_cli.batch.execution import Coordinator, RunContext, RunSettings, Summary, retry_policy
from vast_cli.batch.execution.executors import Executor, make_executor
from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Ready, Task, WorkerSettings
from vast_cli.batch.planning import decisions
from vast_cli.batch.state.folder import open_batch
from vast_cli.batch.state.journal import Journal
from vast_cli.batch.state.journal_replay import replay_journals
from vast_cli.core.errors import Exit
from vast_cli.store.hashes import FileHashes

PATIENCE_S = 240.0  # the machine may be busy with other things
SILENCE_S = 8.0
OUTPUT = "out/{id}.mp4"
Event = tuple[str, dict[str, Any]]

# a batch in a process of its own, which prints the processes of its workers
DRIVER = """
import sys
from pathlib import Path
from vast_cli.batch.state.folder import open_batch
from vast_cli.batch.options import BatchOptions
from vast_cli.batch.run import run_batch
def print_event(event, fields):
    print(event, fields.get("id"), fields.get("pid"), flush=True)
if __name__ == "__main__":
    batch = open_batch(Path(sys.argv[1]))
    options = BatchOptions(executor=sys.argv[2], workers=int(sys.argv[3]), report=False)
    sys.exit(int(run_batch(batch, options, make_listeners=lambda _: [print_event]).exit))
"""


def is_running(pid: int) -> bool:
    """Whether a process runs or is stopped; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, but not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


class Recorder:
    """An executor and all messages it returned."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.messages: list[Message] = []

    def of(self, kind: type[Message], worker: int) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind) and message.worker == worker]

    def poll_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"in vain: {what}; the last messages: {self.messages[-20:]}"
            self.messages += self.executor.poll(0.5)

    def start(self, worker: int) -> int:
        """Start a worker and wait until it is ready; returns its process id."""
        n_before = len(self.of(Ready, worker))
        self.executor.start(worker)
        self.poll_until(lambda: len(self.of(Ready, worker)) > n_before, f"worker {worker} is ready")
        return int(self.of(Ready, worker)[-1].pid)


class BatchRunner:
    """Runs batches through the coordinator in this process, with a listener that may cause faults."""

    def __init__(self, workspace: Workspace, executor: str, n_workers: int) -> None:
        self.workspace, self.name, self.n_workers = workspace, executor, n_workers
        self.events: list[Event] = []

    @property
    def state(self) -> Path:
        return self.workspace.folder / "jobs.vast"

    def worker_settings(self) -> WorkerSettings:
        return WorkerSettings(
            self.workspace.cache, scratch=self.state / "scratch", logs=self.state / "logs", device="cpu"
        )

    def executor(self) -> Executor:
        return make_executor(self.name, self.worker_settings(), self.n_workers)

    def run(
        self, cause_fault: Callable[[str, dict[str, Any]], None] = lambda event, fields: None, **settings: Any
    ) -> Summary:
        """Run what is to be done of `jobs.csv`."""

        def emit(event: str, **fields: Any) -> None:
            self.events.append((event, fields))
            cause_fault(event, fields)

        batch = open_batch(self.workspace.folder / "jobs.csv")
        path = self.state / "journal.jsonl"
        hashes = FileHashes(self.workspace.cache)
        run_settings = RunSettings(n_workers=self.n_workers, silence_s=SILENCE_S, **settings)
        with Journal.open(path, run=uuid.uuid4().hex[:8]) as journal:
            planned = decisions.plan_jobs(batch.jobs, replay_journals([path]), hashes)
            context = RunContext(journal, self.state, run_settings, emit)
            return Coordinator(planned, executor=self.executor(), hashes=hashes, context=context).run()

    def events_of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def workers(self) -> set[int]:
        """Processes that got a job."""
        return {fields["pid"] for fields in self.events_of("job_started")}

    def check_clean(self) -> None:
        """Workers and temporary files are gone, except for the scratch folder, which `run_batch` empties."""
        wait_until(lambda: not any(map(is_running, self.workers())), "workers end")
        assert self.workspace.temporary_files() == []


@pytest.mark.skipif(sys.platform != "linux", reason="stops and counts processes as Linux does")
class ExecutorSuite:
    """Subclassed for each executor."""

    NAME = ""
    N_WORKERS = 2

    @pytest.fixture
    def batch_runner(self, workspace: Workspace) -> BatchRunner:
        return BatchRunner(workspace, self.NAME, self.N_WORKERS)

    @pytest.fixture
    def recorder(self, batch_runner: BatchRunner) -> Iterator[Recorder]:
        executor = batch_runner.executor()
        try:
            yield Recorder(executor)
        finally:
            executor.close()

    def test_a_worker_starts_runs_fails_freezes_and_dies(self, recorder: Recorder, batch_runner: BatchRunner) -> None:
        """One after the other, because a worker takes seconds to start."""
        executor = recorder.executor
        first, second = recorder.start(0), recorder.start(1)
        assert first != second and is_running(first) and is_running(second)

        task = self.task(batch_runner)
        executor.submit(0, task)
        recorder.poll_until(lambda: bool(recorder.of(Done, 0)), "a result")
        (done,) = recorder.of(Done, 0)
        assert done.key == task.key and done.outcome.sha256 == sha256(task.staging)
        assert done.outcome.n_frames == 25

        missing = self.task(batch_runner, audio=Path("/no such audio.wav"), attempt=2)
        executor.submit(0, missing)
        recorder.poll_until(lambda: bool(recorder.of(Failed, 0)), "a failure")
        (failed,) = recorder.of(Failed, 0)
        assert failed.key == missing.key and failed.error.code == "vast_input_missing"
        assert failed.error.hint and not missing.staging.exists()

        os.kill(first, signal.SIGSTOP)  # freeze an idle worker
        n_frozen, n_other = len(recorder.of(Alive, 0)), len(recorder.of(Alive, 1))
        recorder.poll_until(lambda: len(recorder.of(Alive, 1)) >= n_other + 4, "signs of life of the other worker")
        assert len(recorder.of(Alive, 0)) <= n_frozen + 1  # one may have been sent before
        executor.kill(0)
        assert not is_running(first)
        assert all(message.worker == 1 for message in executor.poll(0.0))

        os.kill(second, signal.SIGKILL)
        recorder.poll_until(lambda: bool(recorder.of(Died, 1)), "the message that a worker died")
        executor.submit(1, task)  # too late, and no error
        for _ in range(3):
            recorder.messages += executor.poll(0.2)
        assert len(recorder.of(Died, 1)) == 1 and recorder.of(Died, 1)[0].reason
        assert not recorder.of(Done, 1) and not recorder.of(Failed, 1)
        executor.kill(1)

        third = recorder.start(1)
        executor.close()
        assert not is_running(third)

    def task(self, batch_runner: BatchRunner, attempt: int = 1, **changes: Any) -> Task:
        batch_runner.workspace.write_quick_jobs(1, output=OUTPUT)
        (job,) = open_batch(batch_runner.workspace.folder / "jobs.csv").jobs
        job.output.parent.mkdir(exist_ok=True)
        tag, log = f"test.{job.index}.{attempt}", batch_runner.state / "logs" / "s.log"
        return Task(
            replace(job, **changes), attempt, seed=0, fingerprint="f" * 64, tag=tag, log=log,
            staging=job.output.parent / f".s.{tag}-staged.part.mp4", parts=batch_runner.state / "parts" / "f",
        )  # fmt: skip

    def test_crashing_failing_and_freezing_jobs_fail_alone(
        self, batch_runner: BatchRunner, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(retry_policy, "RETRY_WAIT_S", 0.1)
        workspace = batch_runner.workspace
        workspace.write_quick_jobs(9, output=OUTPUT)
        (workspace.folder / "audio" / "s007.wav").write_bytes(b"RIFF, but no audio")
        faults = {"s002": signal.SIGSTOP, "s004": signal.SIGKILL}

        def cause_fault(event: str, fields: dict[str, Any]) -> None:
            if event == "job_started" and fields["id"] in faults:
                os.kill(fields["pid"], faults[fields["id"]])

        summary = batch_runner.run(cause_fault)

        good = {f"s{k:03d}" for k in range(9)} - {"s002", "s004", "s007"}
        assert (summary.done, summary.failed, summary.not_started) == (6, 3, 0)
        assert summary.exit == Exit.PARTIAL and summary.why is None
        assert {name.removesuffix(".mp4") for name in workspace.finished()} == good
        failures = {failure["id"]: failure for failure in summary.failures}
        assert failures["s004"]["code"] == failures["s002"]["code"] == "vast_worker_died"
        assert "froze" in failures["s002"]["message"]
        assert failures["s007"]["code"] == "vast_bad_media"
        assert all(failure["hint"] for failure in failures.values())
        attempts = Counter(workspace.journal_ids("job_started"))
        assert attempts == Counter(dict.fromkeys([*good, "s007"], 1) | {"s002": 2, "s004": 2})
        assert len(batch_runner.events_of("worker_died")) == 4
        assert {fields["id"] for fields in batch_runner.events_of("worker_died")} == set(faults)
        lines = {line["id"]: line for line in workspace.journal() if line["event"] == "job_done"}
        assert {name: lines[name.removesuffix(".mp4")]["sha256"] for name in workspace.finished()} == workspace.hashes()
        assert len(set(workspace.hashes().values())) == 6
        batch_runner.check_clean()
        assert capfd.readouterr() == ("", "")  # output is for results only

    def test_a_killed_coordinator_process_loses_nothing(self, batch_runner: BatchRunner) -> None:
        workspace = batch_runner.workspace
        workspace.write_quick_jobs(6, output=OUTPUT)
        command = [sys.executable, "-c", DRIVER, str(workspace.folder / "jobs.csv"), self.NAME, str(self.N_WORKERS)]
        pids: set[int] = set()
        with subprocess.Popen(
            command, env=workspace.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as driver:
            assert driver.stdout is not None and driver.stderr is not None
            for line in driver.stdout:
                event, _, pid = line.split()
                if event == "job_started":
                    pids.add(int(pid))
                    if len(pids) == self.N_WORKERS:
                        os.kill(int(pid), signal.SIGSTOP)  # a frozen worker must end with it too
                if event == "job_done" and len(pids) == self.N_WORKERS:
                    break
            else:
                pytest.fail(driver.stderr.read())
            driver.kill()
        before = workspace.finished()
        assert before
        wait_until(lambda: not any(map(is_running, pids)), "workers end with their coordinator")

        journal = len(workspace.journal())
        run = subprocess.run(
            command, env=workspace.environment(), capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT
        )
        assert run.returncode == 0, run.stderr
        after = workspace.finished()
        assert {name: after[name] for name in before} == before and len(after) == 6
        again = [line["id"] for line in workspace.journal()[journal:] if line["event"] == "job_started"]
        assert {f"{job}.mp4" for job in again} == after.keys() - before.keys() and len(set(again)) == len(again)
        assert workspace.temporary_files() == []
        assert all(len(line.split()) == 3 for line in run.stdout.splitlines())  # only events are printed

    def test_an_interruption_ends_all_workers_within_ten_seconds(self, batch_runner: BatchRunner) -> None:
        workspace = batch_runner.workspace
        workspace.write_quick_jobs(4, seconds=3.0, output=OUTPUT)

        def cause_fault(event: str, fields: dict[str, Any]) -> None:
            if event == "job_started" and len(batch_runner.events_of("job_started")) == self.N_WORKERS:
                os.kill(fields["pid"], signal.SIGSTOP)
                batch_runner.events.append(("interrupted", {"at": time.monotonic()}))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            batch_runner.run(cause_fault)
        assert time.monotonic() - batch_runner.events_of("interrupted")[0]["at"] < 10
        interrupted = set(workspace.journal_ids("job_interrupted"))
        assert interrupted and interrupted <= {fields["id"] for fields in batch_runner.events_of("job_started")}
        (end,) = batch_runner.events_of("run_done")
        assert (end["why"], end["exit"], end["failed"]) == ("interrupted", Exit.SIGINT, 0)
        batch_runner.check_clean()

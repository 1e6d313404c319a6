"""What every executor must stand: workers that crash, hang and lie idle, a driver that is killed. Faults are real."""

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

from tests.batch.batches import ROOT, World, sha256
from vast_cli.batch import execution
from vast_cli.batch.execution import RunSettings, Summary, retry_policy
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

# a run of its own that says which processes work for it
DRIVER = """
import sys
from pathlib import Path
from vast_cli.batch.state.folder import open_batch
from vast_cli.batch.options import BatchOptions
from vast_cli.batch.run import run_batch
def tell(event, fields):
    print(event, fields.get("id"), fields.get("pid"), flush=True)
if __name__ == "__main__":
    batch = open_batch(Path(sys.argv[1]))
    options = BatchOptions(executor=sys.argv[2], workers=int(sys.argv[3]), report=False)
    sys.exit(int(run_batch(batch, options, make_listeners=lambda _: [tell]).exit))
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


class Hearing:
    """An executor and all that it said."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.said: list[Message] = []

    def of(self, kind: type[Message], slot: int) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind) and message.slot == slot]

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"in vain: {what}; it said {self.said[-20:]}"
            self.said += self.executor.poll(0.5)

    def start(self, slot: int) -> int:
        """A worker that can work; its process."""
        before = len(self.of(Ready, slot))
        self.executor.start(slot)
        self.until(lambda: len(self.of(Ready, slot)) > before, f"a worker in slot {slot}")
        return int(self.of(Ready, slot)[-1].pid)


class Batches:
    """Runs batches through the coordinator, in this process, with a listener that may do harm."""

    def __init__(self, world: World, executor: str, slots: int) -> None:
        self.world, self.name, self.slots = world, executor, slots
        self.events: list[Event] = []

    @property
    def state(self) -> Path:
        return self.world.folder / "jobs.vast"

    def worker_settings(self) -> WorkerSettings:
        return WorkerSettings(self.world.cache, scratch=self.state / "scratch", logs=self.state / "logs", device="cpu")

    def executor(self) -> Executor:
        return make_executor(self.name, self.worker_settings(), self.slots)

    def run(self, harm: Callable[[str, dict[str, Any]], None] = lambda event, fields: None, **settings: Any) -> Summary:
        """Run what is to be done of `jobs.csv`."""

        def tell(event: str, **fields: Any) -> None:
            self.events.append((event, fields))
            harm(event, fields)

        batch = open_batch(self.world.folder / "jobs.csv")
        path = self.state / "journal.jsonl"
        hashes = FileHashes(self.world.cache)
        with Journal.open(path, run=uuid.uuid4().hex[:8]) as journal:
            planned = decisions.plan_jobs(batch.jobs, replay_journals([path]), hashes)
            return execution.run(
                planned, executor=self.executor(), journal=journal, hashes=hashes, state_folder=self.state,
                settings=RunSettings(self.slots, silence_s=SILENCE_S, **settings), tell=tell,
            )  # fmt: skip

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def workers(self) -> set[int]:
        """Processes that were given a job."""
        return {fields["pid"] for fields in self.told("job_started")}

    def check_clean(self) -> None:
        """Nothing is left of anybody's work but results; the scratch folder is the run's, which empties it."""
        wait_until(lambda: not any(map(is_running, self.workers())), "workers end")
        assert self.world.temporary() == []


@pytest.mark.skipif(sys.platform != "linux", reason="stops and counts processes as Linux does")
class ExecutorSuite:
    """Subclassed for each executor."""

    NAME = ""
    SLOTS = 2

    @pytest.fixture
    def batches(self, world: World) -> Batches:
        return Batches(world, self.NAME, self.SLOTS)

    @pytest.fixture
    def hearing(self, batches: Batches) -> Iterator[Hearing]:
        executor = batches.executor()
        try:
            yield Hearing(executor)
        finally:
            executor.close()

    def test_a_worker_is_heard_fed_and_ended(self, hearing: Hearing, batches: Batches) -> None:
        """One after the other, because a worker takes seconds to start."""
        executor = hearing.executor
        first, second = hearing.start(0), hearing.start(1)
        assert first != second and is_running(first) and is_running(second)

        task = self.task(batches)
        executor.submit(0, task)
        hearing.until(lambda: bool(hearing.of(Done, 0)), "a result")
        (done,) = hearing.of(Done, 0)
        assert done.key == task.key and done.outcome.sha256 == sha256(task.staging)
        assert done.outcome.n_frames == 25

        missing = self.task(batches, audio=Path("/no such sound.wav"), attempt=2)
        executor.submit(0, missing)
        hearing.until(lambda: bool(hearing.of(Failed, 0)), "a failure")
        (failed,) = hearing.of(Failed, 0)
        assert failed.key == missing.key and failed.error.code == "vast_input_missing"
        assert failed.error.hint and not missing.staging.exists()

        os.kill(first, signal.SIGSTOP)  # idle and frozen
        n_frozen, n_well = len(hearing.of(Alive, 0)), len(hearing.of(Alive, 1))
        hearing.until(lambda: len(hearing.of(Alive, 1)) >= n_well + 4, "signs of life of the other")
        assert len(hearing.of(Alive, 0)) <= n_frozen + 1  # one may have been on its way
        executor.kill(0)
        assert not is_running(first)
        assert executor.poll(0.0) is not None

        os.kill(second, signal.SIGKILL)
        hearing.until(lambda: bool(hearing.of(Died, 1)), "news of a death")
        executor.submit(1, task)  # too late, and no error
        for _ in range(3):
            hearing.said += executor.poll(0.2)
        assert len(hearing.of(Died, 1)) == 1 and hearing.of(Died, 1)[0].reason
        assert not hearing.of(Done, 1) and not hearing.of(Failed, 1)
        executor.kill(1)

        third = hearing.start(1)
        executor.close()
        assert not is_running(third)

    def task(self, batches: Batches, attempt: int = 1, **changes: Any) -> Task:
        batches.world.quick(1, output=OUTPUT)
        (job,) = open_batch(batches.world.folder / "jobs.csv").jobs
        job.output.parent.mkdir(exist_ok=True)
        tag, log = f"test.{job.index}.{attempt}", batches.state / "logs" / "s.log"
        return Task(
            replace(job, **changes), attempt, seed=0, fingerprint="f" * 64, tag=tag, log=log,
            staging=job.output.parent / f".s.{tag}-staged.part.mp4", parts=batches.state / "parts" / "f",
        )  # fmt: skip

    def test_crashing_erroring_and_hanging_jobs_cost_nobody_else(
        self, batches: Batches, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(retry_policy, "WAIT_S", 0.1)
        world = batches.world
        world.quick(15, output=OUTPUT)
        (world.folder / "sound" / "s007.wav").write_bytes(b"RIFF, but no sound")
        faults = {"s002": signal.SIGSTOP, "s004": signal.SIGKILL}

        def harm(event: str, fields: dict[str, Any]) -> None:
            if event == "job_started" and fields["id"] in faults:
                os.kill(fields["pid"], faults[fields["id"]])

        summary = batches.run(harm)

        good = {f"s{k:03d}" for k in range(15)} - {"s002", "s004", "s007"}
        assert (summary.done, summary.failed, summary.not_started) == (12, 3, 0)
        assert summary.exit == Exit.PARTIAL and summary.why is None
        assert {name.removesuffix(".mp4") for name in world.finished()} == good
        failures = {failure["id"]: failure for failure in summary.failures}
        assert failures["s004"]["code"] == failures["s002"]["code"] == "vast_worker_died"
        assert "froze" in failures["s002"]["message"]
        assert failures["s007"]["code"] == "vast_bad_media"
        assert all(failure["hint"] for failure in failures.values())
        attempts = Counter(world.happened("job_started"))
        assert attempts == Counter(dict.fromkeys([*good, "s007"], 1) | {"s002": 2, "s004": 2})
        assert len(batches.told("worker_died")) == 4
        assert {fields["id"] for fields in batches.told("worker_died")} == set(faults)
        lines = {line["id"]: line for line in world.journal() if line["event"] == "job_done"}
        assert {name: lines[name.removesuffix(".mp4")]["sha256"] for name in world.finished()} == world.hashes()
        assert len(set(world.hashes().values())) == 12
        batches.check_clean()
        assert capfd.readouterr() == ("", "")  # people hear of it by events

    def test_a_killed_driver_loses_nothing(self, batches: Batches) -> None:
        world = batches.world
        world.quick(8, output=OUTPUT)
        command = [sys.executable, "-c", DRIVER, str(world.folder / "jobs.csv"), self.NAME, str(self.SLOTS)]
        pids: set[int] = set()
        with subprocess.Popen(
            command, env=world.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as driver:
            assert driver.stdout is not None and driver.stderr is not None
            for line in driver.stdout:
                event, _, pid = line.split()
                if event == "job_started":
                    pids.add(int(pid))
                    if len(pids) == self.SLOTS:
                        os.kill(int(pid), signal.SIGSTOP)  # not even a frozen worker may outlive it
                if event == "job_done" and len(pids) == self.SLOTS:
                    break
            else:
                pytest.fail(driver.stderr.read())
            driver.kill()
        before = world.finished()
        assert before
        wait_until(lambda: not any(map(is_running, pids)), "workers end with their driver")

        journal = len(world.journal())
        run = subprocess.run(
            command, env=world.environment(), capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT
        )
        assert run.returncode == 0, run.stderr
        after = world.finished()
        assert {name: after[name] for name in before} == before and len(after) == 8
        again = [line["id"] for line in world.journal()[journal:] if line["event"] == "job_started"]
        assert {f"{job}.mp4" for job in again} == after.keys() - before.keys() and len(set(again)) == len(again)
        assert world.temporary() == []
        assert all(len(line.split()) == 3 for line in run.stdout.splitlines())  # nobody else speaks there

    def test_an_interruption_ends_in_time_and_in_order(self, batches: Batches) -> None:
        world = batches.world
        world.quick(4, seconds=3.0, output=OUTPUT)

        def harm(event: str, fields: dict[str, Any]) -> None:
            if event == "job_started" and len(batches.told("job_started")) == self.SLOTS:
                os.kill(fields["pid"], signal.SIGSTOP)
                batches.events.append(("interrupted", {"at": time.monotonic()}))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            batches.run(harm)
        assert time.monotonic() - batches.told("interrupted")[0]["at"] < 10
        interrupted = set(world.happened("job_interrupted"))
        assert interrupted and interrupted <= {fields["id"] for fields in batches.told("job_started")}
        (ending,) = batches.told("run_done")
        assert (ending["why"], ending["exit"], ending["failed"]) == ("interrupted", Exit.SIGINT, 0)
        batches.check_clean()

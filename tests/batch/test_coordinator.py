"""The coordinator with fake workers: outputs and their names, retries, frozen workers, stops, interruptions."""

import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vast_cli.batch.execution import Coordinator, RunContext, RunSettings, Summary, retry_policy, worker_pool
from vast_cli.batch.execution.coordinator import REDRAW_SEED_STEP
from vast_cli.batch.job import Alive, Died, Done, Failed, Job, Message, Outcome, Progress, Ready, Task
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.batch.planning.fingerprint import Fingerprint
from vast_cli.batch.state.journal import Journal
from vast_cli.core.errors import Exit, VastError
from vast_cli.store.hashes import FileState

DIE = "dies"
HANG = "does not answer"
Answer = str | VastError | Outcome
Event = tuple[str, dict[str, Any]]

pytestmark = pytest.mark.timeout(60)


def outcome(task: Task, *, missed: tuple[str, ...] = (), **changes: Any) -> Outcome:
    """A staged file that names its attempt and seed, and its outcome."""
    data = f"{task.job.id} {task.attempt} {task.seed}".encode()
    task.staging.write_bytes(data)
    fields: dict[str, Any] = {
        "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "n_frames": 25, "duration_s": 1.0,
        "seconds": 0.1, "limited_share": 0.0, "stages": {"render": 0.1}, "warnings": (), "gates": {},
        "figures": None, "sidecar": None,
    }  # fmt: skip
    return Outcome(**fields | {"missed": missed} | changes)


class FakeExecutor:
    """Workers in this process; `answer` says how a task ends."""

    def __init__(self, answer: Callable[[Task], Answer], n_workers: int = 2) -> None:
        self.n_workers, self.answer = n_workers, answer
        self.messages: deque[Message] = deque()
        self.alive: set[int] = set()
        self.started: list[int] = []
        self.killed: list[int] = []
        self.tasks: list[Task] = []
        self.n_failed_starts = 0  # the first workers that die before they are ready
        self.sends_heartbeats: Callable[[int], bool] = lambda worker: True

    def start(self, worker: int) -> None:
        assert worker not in self.alive
        self.alive.add(worker)
        self.started.append(worker)
        if len(self.started) <= self.n_failed_starts:
            self.messages.append(Died(worker, "died"))
        else:
            self.messages.append(Ready(worker, pid=1000 + len(self.started)))

    def submit(self, worker: int, task: Task) -> None:
        assert worker in self.alive
        self.tasks.append(task)
        answer = self.answer(task)
        if isinstance(answer, Outcome):
            self.messages.append(Done(worker, task.key, answer))
        elif isinstance(answer, VastError):
            self.messages.append(Failed(worker, task.key, answer))
        elif answer == DIE:
            self.messages.append(Died(worker, "died"))

    def poll(self, timeout_s: float) -> list[Message]:
        if not self.messages:
            time.sleep(min(timeout_s, 0.005))
        messages = [*self.messages, *(Alive(worker) for worker in self.alive if self.sends_heartbeats(worker))]
        self.messages.clear()
        return messages

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        self.alive.discard(worker)
        self.messages = deque(message for message in self.messages if message.worker != worker)

    def close(self) -> None:
        self.alive.clear()


class FakeHashes:
    """Stands for the hashes of inputs, which fake workers do not read."""

    def state(self, path: Path) -> FileState:
        return 1, 1, "0" * 64


class Harness:
    """Runs planned jobs through the coordinator in a folder, and records its events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []

    def job(self, name: str, index: int = 1, **changes: Any) -> PlannedJob:
        job = Job(
            name, index, f"row {index}", audio=self.folder / f"{name}.wav", avatar=changes.pop("avatar", "anna"),
            output=self.folder / "out" / f"{name}.mp4", options=changes.pop("options", {}),
        )  # fmt: skip
        fingerprint = Fingerprint({"audio": name}, {}, {}, "avatar")
        return PlannedJob(job, changes.pop("action", "run"), changes.pop("reason", "new"), fingerprint, **changes)

    def jobs(self, n: int, **changes: Any) -> list[PlannedJob]:
        return [self.job(f"j{k:02d}", k + 1, **changes) for k in range(n)]

    def run(
        self,
        planned: list[PlannedJob],
        workers: FakeExecutor,
        on_event: Callable[[str, dict[str, Any]], None] = lambda event, fields: None,
        **settings: Any,
    ) -> Summary:
        def emit(event: str, **fields: Any) -> None:
            self.events.append((event, fields))
            on_event(event, fields)

        state = self.folder / "state"
        with Journal.open(state / "journal.jsonl", run="r1") as journal:
            context = RunContext(journal, state, RunSettings(n_workers=workers.n_workers, **settings), emit)
            hashes: Any = FakeHashes()
            return Coordinator(planned, executor=workers, hashes=hashes, context=context).run()

    def events_of(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]

    def journal(self, *events: str) -> list[dict[str, Any]]:
        lines = (self.folder / "state" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if not events or row["event"] in events]

    def outputs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "out").iterdir())}


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(retry_policy, "RETRY_WAIT_S", 0.01)
    return Harness(tmp_path)


def out_of_memory() -> VastError:
    return VastError("vast_out_of_memory", "no memory left")


# --- jobs that succeed ----------------------------------------------------------------------------------------------


def test_outputs_are_named_and_journalled_when_their_worker_is_done(harness: Harness) -> None:
    summary = harness.run(harness.jobs(5), FakeExecutor(outcome))
    assert (summary.done, summary.failed, summary.not_started, summary.exit) == (5, 0, 0, Exit.OK)
    assert harness.outputs() == {f"j{k:02d}.mp4": f"j{k:02d} 1 0" for k in range(5)}
    assert summary.frames == 125 and summary.why is None
    started, done = harness.journal("job_started"), harness.journal("job_done")
    assert {row["id"] for row in started} == {row["id"] for row in done} == {f"j{k:02d}" for k in range(5)}
    for row in done:
        path = Path(row["output"])
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (row["size"], row["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert harness.journal()[-1]["event"] == "run_done"


def test_skipped_adopted_and_refused_jobs_start_no_worker(harness: Harness) -> None:
    finished = harness.job("finished", action="adopt", reason="adopt")
    finished.job.output.parent.mkdir()
    finished.job.output.write_text("finished before a crash")
    refused = harness.job(
        "refused", action="refuse", reason="output_exists", error=VastError("vast_output_exists", "x")
    )
    workers = FakeExecutor(outcome)
    summary = harness.run([harness.job("old", action="skip", reason="done"), finished, refused], workers)
    assert workers.started == []
    assert (summary.skipped, summary.adopted, summary.failed, summary.done) == (1, 1, 1, 0)
    assert summary.exit == Exit.PARTIAL
    (line,) = harness.journal("job_done")
    assert line["action"] == "adopt" and line["sha256"] == hashlib.sha256(finished.job.output.read_bytes()).hexdigest()


def test_no_more_workers_than_jobs(harness: Harness) -> None:
    workers = FakeExecutor(outcome, n_workers=8)
    harness.run(harness.jobs(3), workers)
    assert len(workers.started) == 3


def test_a_worker_is_replaced_after_so_many_jobs(harness: Harness) -> None:
    workers = FakeExecutor(outcome, n_workers=1)
    assert harness.run(harness.jobs(5), workers, jobs_per_worker=2).done == 5
    assert len(workers.started) == 3


def test_a_file_that_appears_during_the_render_is_not_replaced(harness: Harness) -> None:
    def answer(task: Task) -> Answer:
        task.job.output.write_text("mine")
        return outcome(task)

    summary = harness.run(harness.jobs(1), FakeExecutor(answer))
    assert summary.failures[0]["code"] == "vast_output_exists"
    assert harness.outputs() == {"j00.mp4": "mine"}
    assert harness.run(harness.jobs(1), FakeExecutor(answer), overwrite=True).done == 1
    assert harness.outputs() == {"j00.mp4": "j00 1 0"}


def test_a_staged_file_that_changed_after_its_check_is_rendered_again(harness: Harness) -> None:
    def answer(task: Task) -> Answer:
        result = outcome(task)
        if task.attempt == 1:
            task.staging.write_text("half")
        return result

    assert harness.run(harness.jobs(1), FakeExecutor(answer)).done == 1
    assert harness.outputs() == {"j00.mp4": "j00 2 0"}
    assert harness.events_of("job_retried")[0]["code"] == "vast_write_failed"


# --- jobs that fail -------------------------------------------------------------------------------------------------


def test_an_error_of_the_job_itself_is_not_retried(harness: Harness) -> None:
    def answer(task: Task) -> Answer:
        return VastError("vast_no_speech", "no speech", where="0:01") if task.job.id == "j01" else outcome(task)

    summary = harness.run(harness.jobs(3), FakeExecutor(answer))
    assert (summary.done, summary.failed, summary.exit) == (2, 1, Exit.PARTIAL)
    (failure,) = summary.failures
    assert failure == {"id": "j01"} | VastError("vast_no_speech", "no speech", where="0:01").as_dict()
    (line,) = harness.journal("job_failed")
    assert line.items() >= failure.items() and line["attempt"] == 1


def test_out_of_memory_is_retried_with_half_the_batch_after_growing_waits(harness: Harness) -> None:
    def answer(task: Task) -> Answer:
        return out_of_memory() if task.attempt < 3 else outcome(task)

    workers = FakeExecutor(answer)
    assert harness.run(harness.jobs(1), workers, retries=2).done == 1
    assert [(e["attempt"], e["wait_s"], e["code"]) for e in harness.events_of("job_retried")] == [
        (2, 0.01, "vast_out_of_memory"), (3, 0.02, "vast_out_of_memory"),
    ]  # fmt: skip
    assert [task.batch_size for task in workers.tasks] == [8, 4, 2]
    assert len({task.tag for task in workers.tasks}) == len({task.staging for task in workers.tasks}) == 3


def test_retries_are_limited(harness: Harness) -> None:
    summary = harness.run(harness.jobs(1), FakeExecutor(lambda task: out_of_memory()), retries=1)
    assert summary.failed == 1 and harness.journal("job_failed")[0]["attempt"] == 2


def test_a_job_that_killed_two_workers_is_given_up(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: DIE if task.job.id == "j02" else outcome(task))
    summary = harness.run(harness.jobs(6), workers, retries=9)
    assert summary.done == 5
    assert [(f["id"], f["code"]) for f in summary.failures] == [("j02", "vast_worker_died")]
    assert Counter(task.job.id for task in workers.tasks) == Counter([f"j{k:02d}" for k in range(6)] + ["j02"])
    assert "worker-" in summary.failures[0]["hint"]


def test_an_internal_error_replaces_the_worker_and_is_retried_once(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: VastError("vast_internal", "bug"), n_workers=1)
    assert harness.run(harness.jobs(1), workers).failed == 1
    assert len(workers.tasks) == 2 and len(workers.killed) == 2


def test_a_worker_that_makes_no_progress_is_replaced(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: HANG if task.attempt == 1 else outcome(task), n_workers=1)
    assert harness.run(harness.jobs(1), workers, stall_s=0.05).done == 1
    assert harness.events_of("job_retried")[0]["code"] == "vast_timeout"
    assert harness.outputs() == {"j00.mp4": "j00 2 0"}


def test_progress_prevents_a_stall_but_not_the_timeout(harness: Harness) -> None:
    """Work goes on all the time, for longer than a stall; `timeout_s` ends it, twice."""
    workers = FakeExecutor(lambda task: HANG, n_workers=1)
    poll_workers = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        running = [Progress(0, workers.tasks[-1].key, "render", 1, 25)] if workers.tasks and workers.alive else []
        return poll_workers(timeout_s) + running

    workers.poll = poll  # type: ignore[method-assign]
    summary = harness.run(harness.jobs(1), workers, stall_s=0.1, timeout_s=0.4)
    assert [f["message"] for f in summary.failures] == ["not done after 0 s"]
    assert len(harness.events_of("stage")) == 2 and len(harness.events_of("progress")) <= 2  # one a second and attempt


def test_a_late_answer_of_a_given_up_attempt_is_dropped(harness: Harness) -> None:
    late: list[Message] = []

    def answer(task: Task) -> Answer:
        result = outcome(task, n_frames=24 + task.attempt)
        if task.attempt == 1:
            late.append(Done(0, task.key, result))
            return HANG
        workers.messages.extend(late)  # after its worker was ended, and before the answer that counts
        return result

    workers = FakeExecutor(answer, n_workers=1)
    summary = harness.run(harness.jobs(1), workers, timeout_s=0.05)
    assert summary.done == 1 and late
    assert harness.outputs() == {"j00.mp4": "j00 2 0"}
    assert [(line["attempt"], line["frames"]) for line in harness.journal("job_done")] == [(2, 26)]


def test_a_frozen_worker_is_replaced_and_its_job_fails(harness: Harness) -> None:
    running: dict[int, str] = {}  # worker -> job

    def on_event(event: str, fields: dict[str, Any]) -> None:
        if event == "job_started":
            running[fields["worker"]] = fields["id"]
        if event == "worker_died":
            del running[fields["worker"]]

    workers = FakeExecutor(lambda task: HANG if task.job.id == "j00" else outcome(task))
    workers.sends_heartbeats = lambda worker: running.get(worker) != "j00"
    summary = harness.run(harness.jobs(4), workers, on_event, silence_s=0.1)
    assert summary.done == 3
    assert "froze" in summary.failures[0]["message"]
    assert {e["id"] for e in harness.events_of("worker_died")} == {"j00"}


def test_an_idle_worker_that_freezes_fails_no_job(harness: Harness) -> None:
    started = time.monotonic()

    def answer(task: Task) -> Answer:
        return outcome(task) if task.job.id == "j00" else HANG

    workers = FakeExecutor(answer)
    workers.sends_heartbeats = lambda worker: worker != 0
    poll_workers = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        if time.monotonic() - started > 0.5 and workers.tasks[-1].job.id == "j01":
            workers.messages.append(Done(1, workers.tasks[-1].key, outcome(workers.tasks[-1])))
        return poll_workers(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    summary = harness.run(harness.jobs(2), workers, silence_s=0.2)
    assert summary.done == 2 and summary.failed == 0
    assert [(e["worker"], e["id"]) for e in harness.events_of("worker_died")] == [(0, None)]


@pytest.mark.parametrize(("suspended_s", "deaths"), [(0.1, 0), (60.0, 1)])
def test_a_suspended_coordinator_blames_no_worker(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, suspended_s: float, deaths: int
) -> None:
    monkeypatch.setattr(worker_pool, "SUSPENDED_S", suspended_s)
    monkeypatch.setattr(worker_pool, "POLL_S", 0.01)
    workers = FakeExecutor(lambda task: HANG if task.attempt == 1 else outcome(task), n_workers=1)
    workers.sends_heartbeats = lambda worker: False
    poll_workers = workers.poll
    suspended: list[bool] = []

    def poll(timeout_s: float) -> list[Message]:
        if workers.tasks and not suspended:
            suspended.append(True)
            time.sleep(0.6)  # Ctrl-Z and fg
            workers.messages.append(Alive(0))
            return []
        if suspended and len(workers.tasks) == 1:
            workers.messages.append(Done(0, workers.tasks[0].key, outcome(workers.tasks[0])))
        return poll_workers(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    assert harness.run(harness.jobs(1), workers, silence_s=0.5).done == 1
    assert len(harness.events_of("worker_died")) == deaths


# --- gates ----------------------------------------------------------------------------------------------------------


def test_a_missed_gate_is_rendered_with_other_seeds_and_then_rejected(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: outcome(task, missed=("sync 0.5 is below 0.8",), gates={"sync": 0.5}))
    summary = harness.run(harness.jobs(1, options={"seed": 5, "redraw": 2}), workers)
    assert [task.seed for task in workers.tasks] == [5, 5 + REDRAW_SEED_STEP, 5 + 2 * REDRAW_SEED_STEP]
    assert (summary.done, summary.failed, summary.rejected, summary.exit) == (0, 1, 1, Exit.PARTIAL)
    assert harness.outputs() == {"j00.rejected.mp4": f"j00 3 {5 + 2 * REDRAW_SEED_STEP}"}
    (line,) = harness.journal("job_failed")
    assert (line["code"], line["gates"]) == ("vast_gate_failed", {"sync": 0.5})
    assert line["rejected"] in line["hint"]


def test_another_seed_may_pass_the_gate(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: outcome(task, missed=("no",) if task.seed == 0 else ()))
    assert harness.run(harness.jobs(1, options={"redraw": 1}), workers).done == 1
    assert harness.outputs() == {"j00.mp4": f"j00 2 {REDRAW_SEED_STEP}"}
    assert harness.journal("job_done")[0]["seed"] == REDRAW_SEED_STEP


# --- batches that stop ----------------------------------------------------------------------------------------------


def test_max_failures_starts_no_new_jobs(harness: Harness) -> None:
    """The job that runs meanwhile is finished."""

    def answer(task: Task) -> Answer:
        return outcome(task) if task.job.id == "j01" else VastError("vast_no_face", "no face")

    summary = harness.run(harness.jobs(9), FakeExecutor(answer), max_failures=1)
    assert summary.why == "max_failures" and summary.exit == Exit.PARTIAL
    assert (summary.done, summary.failed, summary.not_started) == (1, 1, 7)


def test_a_stopping_batch_starts_no_workers(harness: Harness) -> None:
    """One worker dies idle while the other's last job goes on."""
    workers = FakeExecutor(lambda task: HANG if task.job.id == "j01" else VastError("vast_no_face", "no face"))
    poll_workers = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        if harness.events_of("worker_died"):
            workers.messages.append(Done(1, workers.tasks[1].key, outcome(workers.tasks[1])))
        elif harness.events_of("job_failed"):
            workers.messages.append(Died(0, "died"))
        return poll_workers(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    summary = harness.run(harness.jobs(9), workers, max_failures=1)
    assert (summary.done, summary.failed, workers.started) == (1, 1, [0, 1])


def test_jobs_that_fail_before_they_start_count_as_failures(harness: Harness) -> None:
    (harness.folder / "out").write_text("a file where the folder should be")
    workers = FakeExecutor(outcome)
    summary = harness.run(harness.jobs(5), workers, max_failures=1)
    assert (summary.failed, summary.not_started, workers.tasks) == (1, 4, [])
    assert summary.failures[0]["code"] == "vast_output_unwritable"


def test_repeated_machine_faults_stop_the_batch(harness: Harness) -> None:
    workers = FakeExecutor(lambda task: VastError("vast_no_ffmpeg", "no ffmpeg"), n_workers=1)
    summary = harness.run(harness.jobs(20), workers)
    assert summary.why == "breaker:vast_no_ffmpeg" and summary.exit == Exit.UNAVAILABLE
    assert (summary.failed, summary.not_started) == (retry_policy.BREAKER_LIMIT, 15)


def test_repeated_job_errors_do_not_stop_the_batch(harness: Harness) -> None:
    summary = harness.run(harness.jobs(20), FakeExecutor(lambda task: VastError("vast_no_face", "no face")))
    assert summary.why is None and summary.failed == 20


def test_workers_that_cannot_start_end_the_batch(harness: Harness) -> None:
    workers = FakeExecutor(outcome, n_workers=1)
    workers.n_failed_starts = 99
    with pytest.raises(VastError, match="workers do not start: the last one died") as caught:
        harness.run(harness.jobs(3), workers)
    assert caught.value.code == "vast_worker_died" and len(workers.started) == worker_pool.MAX_FAILED_STARTS


def test_a_worker_that_starts_at_the_third_attempt_runs_the_jobs(harness: Harness) -> None:
    workers = FakeExecutor(outcome, n_workers=1)
    workers.n_failed_starts = 2
    assert harness.run(harness.jobs(3), workers).done == 3


def test_one_ready_worker_is_enough(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that die while they start are started again after growing waits; they do not end the batch."""
    monkeypatch.setattr(worker_pool, "START_WAIT_S", 0.001)
    monkeypatch.setattr(worker_pool, "MAX_START_WAIT_S", 0.002)
    workers = FakeExecutor(outcome, n_workers=2)
    start = workers.start

    def start_first_only(worker: int) -> None:
        workers.n_failed_starts = 0 if worker == 0 else 999
        start(worker)

    workers.start = start_first_only  # type: ignore[method-assign]
    assert harness.run(harness.jobs(20), workers).done == 20
    assert workers.started.count(1) > worker_pool.MAX_FAILED_STARTS


def test_an_interruption_ends_workers_files_and_journal_in_order(harness: Harness) -> None:
    def answer(task: Task) -> Answer:
        task.staging.write_text("half")
        return HANG

    def on_event(event: str, fields: dict[str, Any]) -> None:
        if event == "job_started" and fields["id"] == "j01":
            raise KeyboardInterrupt

    workers = FakeExecutor(answer)
    with pytest.raises(KeyboardInterrupt):
        harness.run(harness.jobs(5), workers, on_event)
    assert workers.alive == set() and sorted(workers.killed) == [0, 1]
    assert harness.outputs() == {}
    assert {row["id"] for row in harness.journal("job_interrupted")} == {"j00", "j01"}
    (end,) = harness.journal("run_done")
    assert (end["why"], end["not_started"], end["failed"]) == ("interrupted", 5, 0)

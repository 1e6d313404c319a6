"""What becomes of jobs, told by a coordinator whose workers do as the test says; and the parts it is made of."""

import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.batch import execution
from vast_cli.batch.execution import RunSettings, Summary, retry_policy, worker_pool
from vast_cli.batch.execution.coordinator import DRAW_STEP
from vast_cli.batch.execution.job_queue import Backlog, Entry
from vast_cli.batch.job import Alive, Died, Done, Failed, FileState, Job, Message, Outcome, Progress, Ready, Task
from vast_cli.batch.planning.decisions import Planned
from vast_cli.batch.planning.fingerprint import Origin
from vast_cli.batch.state import Journal, leftovers
from vast_cli.core import errors
from vast_cli.core.errors import Exit, VastError
from vast_cli.pipeline import publish

DIE = "dies"
HANG = "does not answer"
Answer = str | VastError | Outcome
Event = tuple[str, dict[str, Any]]

pytestmark = pytest.mark.timeout(60)


def outcome(task: Task, *, missed: tuple[str, ...] = (), **changes: Any) -> Outcome:
    """A result that names its attempt and seed, written as a worker would."""
    data = f"{task.job.id} {task.attempt} {task.seed}".encode()
    task.staging.write_bytes(data)
    given: dict[str, Any] = {
        "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "n_frames": 25, "duration_s": 1.0,
        "seconds": 0.1, "limited_share": 0.0, "stages": {"render": 0.1}, "warnings": (), "gates": {},
        "figures": None, "sidecar": None,
    }  # fmt: skip
    return Outcome(**given | {"missed": missed} | changes)


class Puppets:
    """Workers in this process; `act` says what a task comes to."""

    def __init__(self, act: Callable[[Task], Answer], slots: int = 2) -> None:
        self.slots, self.act = slots, act
        self.said: deque[Message] = deque()
        self.living: set[int] = set()
        self.started: list[int] = []
        self.killed: list[int] = []
        self.begun: list[Task] = []
        self.stillborn = 0  # workers that die before they can work
        self.beating: Callable[[int], bool] = lambda slot: True

    def start(self, slot: int) -> None:
        assert slot not in self.living
        self.living.add(slot)
        self.started.append(slot)
        if len(self.started) <= self.stillborn:
            self.said.append(Died(slot, "died"))
        else:
            self.said.append(Ready(slot, pid=1000 + len(self.started)))

    def submit(self, slot: int, task: Task) -> None:
        assert slot in self.living
        self.begun.append(task)
        answer = self.act(task)
        if isinstance(answer, Outcome):
            self.said.append(Done(slot, task.key, answer))
        elif isinstance(answer, VastError):
            self.said.append(Failed(slot, task.key, answer))
        elif answer == DIE:
            self.said.append(Died(slot, "died"))

    def poll(self, timeout_s: float) -> list[Message]:
        if not self.said:
            time.sleep(min(timeout_s, 0.005))
        messages = [*self.said, *(Alive(slot) for slot in self.living if self.beating(slot))]
        self.said.clear()
        return messages

    def kill(self, slot: int) -> None:
        self.killed.append(slot)
        self.living.discard(slot)
        self.said = deque(message for message in self.said if message.slot != slot)

    def close(self) -> None:
        self.living.clear()


class Known:
    """Hashes nobody looks at."""

    def digest(self, path: Path) -> str:
        return "0" * 64

    def audio_s(self, path: Path, **_: object) -> float | None:
        return 1.0

    def state(self, path: Path) -> FileState:
        return 1, 1, "0" * 64


class Stage:
    """A folder, jobs and what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []

    def planned(self, name: str, index: int = 1, **changes: Any) -> Planned:
        job = Job(
            name, index, f"row {index}", audio=self.folder / f"{name}.wav", avatar=changes.pop("avatar", "anna"),
            output=self.folder / "out" / f"{name}.mp4", options=changes.pop("options", {}),
        )  # fmt: skip
        origin = Origin({"audio": name}, {}, {}, "avatar")
        return Planned(job, changes.pop("action", "run"), changes.pop("reason", "new"), origin, **changes)

    def jobs(self, n: int, **changes: Any) -> list[Planned]:
        return [self.planned(f"j{k:02d}", k + 1, **changes) for k in range(n)]

    def run(
        self,
        planned: list[Planned],
        workers: Puppets,
        tell: Callable[[str, dict[str, Any]], None] = lambda event, fields: None,
        **settings: Any,
    ) -> Summary:
        def note(event: str, **fields: Any) -> None:
            self.events.append((event, fields))
            tell(event, fields)

        with Journal.open(self.folder / "state" / "journal.jsonl", run="r1") as journal:
            return execution.run(
                planned, executor=workers, journal=journal, hashes=Known(), state_folder=self.folder / "state",
                settings=RunSettings(workers.slots, **settings), tell=note,
            )  # type: ignore[arg-type]  # fmt: skip

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def journal(self, *events: str) -> list[dict[str, Any]]:
        lines = (self.folder / "state" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if not events or row["event"] in events]

    def results(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "out").iterdir())}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(retry_policy, "WAIT_S", 0.01)
    return Stage(tmp_path)


def memory() -> VastError:
    return VastError("vast_out_of_memory", "no memory left")


# --- jobs that succeed ----------------------------------------------------------------------------------------------


def test_every_job_gets_its_name_after_its_worker_is_done(stage: Stage) -> None:
    summary = stage.run(stage.jobs(5), Puppets(outcome))
    assert (summary.done, summary.failed, summary.not_started, summary.exit) == (5, 0, 0, Exit.OK)
    assert stage.results() == {f"j{k:02d}.mp4": f"j{k:02d} 1 0" for k in range(5)}
    assert summary.frames == 125 and summary.why is None
    started, done = stage.journal("job_started"), stage.journal("job_done")
    assert {row["id"] for row in started} == {row["id"] for row in done} == {f"j{k:02d}" for k in range(5)}
    for row in done:
        path = Path(row["output"])
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (row["size"], row["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert stage.journal()[-1]["event"] == "run_done"


def test_what_needs_no_worker_starts_none(stage: Stage) -> None:
    there = stage.planned("there", action="adopt", reason="adopt")
    there.job.output.parent.mkdir()
    there.job.output.write_text("finished before a crash")
    refused = stage.planned(
        "refused", action="refuse", reason="output_exists", error=VastError("vast_output_exists", "x")
    )
    workers = Puppets(outcome)
    summary = stage.run([stage.planned("old", action="skip", reason="done"), there, refused], workers)
    assert workers.started == []
    assert (summary.skipped, summary.adopted, summary.failed, summary.done) == (1, 1, 1, 0)
    assert summary.exit == Exit.PARTIAL
    (line,) = stage.journal("job_done")
    assert line["action"] == "adopt" and line["sha256"] == hashlib.sha256(there.job.output.read_bytes()).hexdigest()


def test_no_more_workers_than_jobs(stage: Stage) -> None:
    workers = Puppets(outcome, slots=8)
    stage.run(stage.jobs(3), workers)
    assert len(workers.started) == 3


def test_a_worker_is_replaced_after_so_many_jobs(stage: Stage) -> None:
    workers = Puppets(outcome, slots=1)
    assert stage.run(stage.jobs(5), workers, jobs_per_worker=2).done == 5
    assert len(workers.started) == 3


def test_a_file_that_somebody_made_meanwhile_stays(stage: Stage) -> None:
    def act(task: Task) -> Answer:
        task.job.output.write_text("mine")
        return outcome(task)

    summary = stage.run(stage.jobs(1), Puppets(act))
    assert summary.failures[0]["code"] == "vast_output_exists"
    assert stage.results() == {"j00.mp4": "mine"}
    assert stage.run(stage.jobs(1), Puppets(act), overwrite=True).done == 1
    assert stage.results() == {"j00.mp4": "j00 1 0"}


def test_a_file_that_changed_after_it_was_checked_gets_no_name(stage: Stage) -> None:
    def act(task: Task) -> Answer:
        result = outcome(task)
        if task.attempt == 1:
            task.staging.write_text("half")
        return result

    assert stage.run(stage.jobs(1), Puppets(act)).done == 1
    assert stage.results() == {"j00.mp4": "j00 2 0"}
    assert stage.told("job_retried")[0]["code"] == "vast_write_failed"


# --- jobs that fail -------------------------------------------------------------------------------------------------


def test_a_fault_of_the_job_is_not_tried_again(stage: Stage) -> None:
    def act(task: Task) -> Answer:
        return VastError("vast_no_speech", "no speech", where="0:01") if task.job.id == "j01" else outcome(task)

    summary = stage.run(stage.jobs(3), Puppets(act))
    assert (summary.done, summary.failed, summary.exit) == (2, 1, Exit.PARTIAL)
    (failure,) = summary.failures
    assert failure == {"id": "j01"} | VastError("vast_no_speech", "no speech", where="0:01").as_dict()
    (line,) = stage.journal("job_failed")
    assert line.items() >= failure.items() and line["attempt"] == 1


def test_want_of_a_resource_is_tried_again_after_growing_waits(stage: Stage) -> None:
    def act(task: Task) -> Answer:
        return memory() if task.attempt < 3 else outcome(task)

    workers = Puppets(act)
    assert stage.run(stage.jobs(1), workers, retries=2).done == 1
    assert [(e["attempt"], e["wait_s"], e["code"]) for e in stage.told("job_retried")] == [
        (2, 0.01, "vast_out_of_memory"), (3, 0.02, "vast_out_of_memory"),
    ]  # fmt: skip
    assert [task.batch for task in workers.begun] == [8, 4, 2]
    assert len({task.tag for task in workers.begun}) == len({task.staging for task in workers.begun}) == 3


def test_retries_end(stage: Stage) -> None:
    summary = stage.run(stage.jobs(1), Puppets(lambda task: memory()), retries=1)
    assert summary.failed == 1 and stage.journal("job_failed")[0]["attempt"] == 2


def test_a_job_that_took_two_workers_with_it_is_set_aside(stage: Stage) -> None:
    workers = Puppets(lambda task: DIE if task.job.id == "j02" else outcome(task))
    summary = stage.run(stage.jobs(6), workers, retries=9)
    assert summary.done == 5
    assert [(f["id"], f["code"]) for f in summary.failures] == [("j02", "vast_worker_died")]
    assert Counter(task.job.id for task in workers.begun) == Counter([f"j{k:02d}" for k in range(6)] + ["j02"])
    assert "worker-" in summary.failures[0]["hint"]


def test_after_a_bug_the_worker_is_replaced(stage: Stage) -> None:
    workers = Puppets(lambda task: VastError("vast_internal", "bug"), slots=1)
    assert stage.run(stage.jobs(1), workers).failed == 1
    assert len(workers.begun) == 2 and len(workers.killed) == 2


def test_a_worker_that_makes_no_progress_is_replaced(stage: Stage) -> None:
    workers = Puppets(lambda task: HANG if task.attempt == 1 else outcome(task), slots=1)
    assert stage.run(stage.jobs(1), workers, stall_s=0.05).done == 1
    assert stage.told("job_retried")[0]["code"] == "vast_timeout"
    assert stage.results() == {"j00.mp4": "j00 2 0"}


def test_progress_keeps_a_worker_but_not_beyond_its_limit(stage: Stage) -> None:
    """Work goes on all the time, for longer than a stall; `timeout_s` ends it, twice."""
    workers = Puppets(lambda task: HANG, slots=1)
    workers_poll = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        running = [Progress(0, workers.begun[-1].key, "render", 1, 25)] if workers.begun and workers.living else []
        return workers_poll(timeout_s) + running

    workers.poll = poll  # type: ignore[method-assign]
    summary = stage.run(stage.jobs(1), workers, stall_s=0.1, timeout_s=0.4)
    assert [f["message"] for f in summary.failures] == ["not done after 0 s"]
    assert len(stage.told("stage")) == 2 and len(stage.told("progress")) <= 2  # one a second and attempt


def test_a_late_answer_of_a_given_up_attempt_is_dropped(stage: Stage) -> None:
    late: list[Message] = []

    def act(task: Task) -> Answer:
        result = outcome(task, n_frames=24 + task.attempt)
        if task.attempt == 1:
            late.append(Done(0, task.key, result))
            return HANG
        workers.said.extend(late)  # after its worker was ended, and before the answer that counts
        return result

    workers = Puppets(act, slots=1)
    summary = stage.run(stage.jobs(1), workers, timeout_s=0.05)
    assert summary.done == 1 and late
    assert stage.results() == {"j00.mp4": "j00 2 0"}
    assert [(line["attempt"], line["frames"]) for line in stage.journal("job_done")] == [(2, 26)]


def test_a_frozen_worker_is_replaced_and_its_job_charged(stage: Stage) -> None:
    at: dict[int, str] = {}

    def tell(event: str, fields: dict[str, Any]) -> None:
        if event == "job_started":
            at[fields["worker"]] = fields["id"]
        if event == "worker_died":
            del at[fields["worker"]]

    workers = Puppets(lambda task: HANG if task.job.id == "j00" else outcome(task))
    workers.beating = lambda slot: at.get(slot) != "j00"
    summary = stage.run(stage.jobs(4), workers, tell, silence_s=0.1)
    assert summary.done == 3
    assert "froze" in summary.failures[0]["message"]
    assert {e["id"] for e in stage.told("worker_died")} == {"j00"}


def test_an_idle_worker_that_freezes_costs_no_job(stage: Stage) -> None:
    begun = time.monotonic()

    def act(task: Task) -> Answer:
        return outcome(task) if task.job.id == "j00" else HANG

    workers = Puppets(act)
    workers.beating = lambda slot: slot != 0
    workers_poll = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        if time.monotonic() - begun > 0.5 and workers.begun[-1].job.id == "j01":
            workers.said.append(Done(1, workers.begun[-1].key, outcome(workers.begun[-1])))
        return workers_poll(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    summary = stage.run(stage.jobs(2), workers, silence_s=0.2)
    assert summary.done == 2 and summary.failed == 0
    assert [(e["worker"], e["id"]) for e in stage.told("worker_died")] == [(0, None)]


@pytest.mark.parametrize(("away_s", "deaths"), [(0.1, 0), (60.0, 1)])
def test_who_was_stopped_himself_blames_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, away_s: float, deaths: int
) -> None:
    monkeypatch.setattr(worker_pool, "AWAY_S", away_s)
    monkeypatch.setattr(worker_pool, "POLL_S", 0.01)
    workers = Puppets(lambda task: HANG if task.attempt == 1 else outcome(task), slots=1)
    workers.beating = lambda slot: False
    workers_poll = workers.poll
    stopped: list[bool] = []

    def poll(timeout_s: float) -> list[Message]:
        if workers.begun and not stopped:
            stopped.append(True)
            time.sleep(0.6)  # Ctrl-Z and fg
            workers.said.append(Alive(0))
            return []
        if stopped and len(workers.begun) == 1:
            workers.said.append(Done(0, workers.begun[0].key, outcome(workers.begun[0])))
        return workers_poll(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    assert stage.run(stage.jobs(1), workers, silence_s=0.5).done == 1
    assert len(stage.told("worker_died")) == deaths


# --- gates ----------------------------------------------------------------------------------------------------------


def test_a_missed_gate_is_drawn_again_and_then_rejected(stage: Stage) -> None:
    workers = Puppets(lambda task: outcome(task, missed=("sync 0.5 is below 0.8",), gates={"sync": 0.5}))
    summary = stage.run(stage.jobs(1, options={"seed": 5, "redraw": 2}), workers)
    assert [task.seed for task in workers.begun] == [5, 5 + DRAW_STEP, 5 + 2 * DRAW_STEP]
    assert (summary.done, summary.failed, summary.rejected, summary.exit) == (0, 1, 1, Exit.PARTIAL)
    assert stage.results() == {"j00.rejected.mp4": f"j00 3 {5 + 2 * DRAW_STEP}"}
    (line,) = stage.journal("job_failed")
    assert (line["code"], line["gates"]) == ("vast_gate_failed", {"sync": 0.5})
    assert line["rejected"] in line["hint"]


def test_another_draw_may_pass(stage: Stage) -> None:
    workers = Puppets(lambda task: outcome(task, missed=("no",) if task.seed == 0 else ()))
    assert stage.run(stage.jobs(1, options={"redraw": 1}), workers).done == 1
    assert stage.results() == {"j00.mp4": f"j00 2 {DRAW_STEP}"}
    assert stage.journal("job_done")[0]["seed"] == DRAW_STEP


# --- batches that stop ----------------------------------------------------------------------------------------------


def test_no_new_jobs_after_so_many_failures(stage: Stage) -> None:
    """The job that runs meanwhile is finished."""

    def act(task: Task) -> Answer:
        return outcome(task) if task.job.id == "j01" else VastError("vast_no_face", "no face")

    summary = stage.run(stage.jobs(9), Puppets(act), max_failures=1)
    assert summary.why == "max_failures" and summary.exit == Exit.PARTIAL
    assert (summary.done, summary.failed, summary.not_started) == (1, 1, 7)


def test_a_batch_that_stops_starts_no_workers(stage: Stage) -> None:
    """One worker dies idle while the other's last job goes on."""
    workers = Puppets(lambda task: HANG if task.job.id == "j01" else VastError("vast_no_face", "no face"))
    workers_poll = workers.poll

    def poll(timeout_s: float) -> list[Message]:
        if stage.told("worker_died"):
            workers.said.append(Done(1, workers.begun[1].key, outcome(workers.begun[1])))
        elif stage.told("job_failed"):
            workers.said.append(Died(0, "died"))
        return workers_poll(timeout_s)

    workers.poll = poll  # type: ignore[method-assign]
    summary = stage.run(stage.jobs(9), workers, max_failures=1)
    assert (summary.done, summary.failed, workers.started) == (1, 1, [0, 1])


def test_jobs_that_fail_before_they_are_begun_count(stage: Stage) -> None:
    (stage.folder / "out").write_text("a file where the folder should be")
    workers = Puppets(outcome)
    summary = stage.run(stage.jobs(5), workers, max_failures=1)
    assert (summary.failed, summary.not_started, workers.begun) == (1, 4, [])
    assert summary.failures[0]["code"] == "vast_output_unwritable"


def test_one_fault_of_the_machine_stops_the_batch(stage: Stage) -> None:
    workers = Puppets(lambda task: VastError("vast_no_ffmpeg", "no ffmpeg"), slots=1)
    summary = stage.run(stage.jobs(20), workers)
    assert summary.why == "breaker:vast_no_ffmpeg" and summary.exit == Exit.UNAVAILABLE
    assert (summary.failed, summary.not_started) == (retry_policy.BREAKER, 15)


def test_many_faults_of_jobs_do_not(stage: Stage) -> None:
    summary = stage.run(stage.jobs(20), Puppets(lambda task: VastError("vast_no_face", "no face")))
    assert summary.why is None and summary.failed == 20


def test_workers_that_cannot_start_end_the_batch(stage: Stage) -> None:
    workers = Puppets(outcome, slots=1)
    workers.stillborn = 99
    with pytest.raises(VastError, match="workers do not start: the last one died") as told:
        stage.run(stage.jobs(3), workers)
    assert told.value.code == "vast_worker_died" and len(workers.started) == worker_pool.MAX_STARTS


def test_a_worker_that_starts_at_the_second_try_will_do(stage: Stage) -> None:
    workers = Puppets(outcome, slots=1)
    workers.stillborn = 2
    assert stage.run(stage.jobs(3), workers).done == 3


def test_one_worker_is_enough(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that die while they start are tried again, later and later; they do not end the batch."""
    monkeypatch.setattr(worker_pool, "START_WAIT_S", 0.001)
    monkeypatch.setattr(worker_pool, "MAX_START_WAIT_S", 0.002)
    workers = Puppets(outcome, slots=2)
    start = workers.start

    def start_first_only(slot: int) -> None:
        workers.stillborn = 0 if slot == 0 else 999
        start(slot)

    workers.start = start_first_only  # type: ignore[method-assign]
    assert stage.run(stage.jobs(20), workers).done == 20
    assert workers.started.count(1) > worker_pool.MAX_STARTS


def test_an_interruption_leaves_things_in_order(stage: Stage) -> None:
    def act(task: Task) -> Answer:
        task.staging.write_text("half")
        return HANG

    def tell(event: str, fields: dict[str, Any]) -> None:
        if event == "job_started" and fields["id"] == "j01":
            raise KeyboardInterrupt

    workers = Puppets(act)
    with pytest.raises(KeyboardInterrupt):
        stage.run(stage.jobs(5), workers, tell)
    assert workers.living == set() and sorted(workers.killed) == [0, 1]
    assert stage.results() == {}
    assert {row["id"] for row in stage.journal("job_interrupted")} == {"j00", "j01"}
    (ending,) = stage.journal("run_done")
    assert (ending["why"], ending["not_started"], ending["failed"]) == ("interrupted", 5, 0)


# --- the parts ------------------------------------------------------------------------------------------------------


def entry(name: str = "a", *, avatar: str = "anna", index: int = 1, folder: Path = Path("/nowhere")) -> Entry:
    job = Job(name, index, "row 1", folder / "a.wav", avatar, folder / f"{name}.mp4")
    return Entry(Planned(job, "run", "new"))


RETRIED = {Exit.INTERNAL, Exit.RESOURCE, Exit.IOERROR}


@pytest.mark.parametrize("code", sorted(errors.KINDS))
def test_which_errors_are_tried_again(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "WAIT_S", 2.0)
    monkeypatch.setattr(retry_policy, "free_disk", lambda folder: retry_policy.ROOM)
    error, one = VastError(code, "x"), entry(folder=tmp_path)
    waits = [retry_policy.wait_before_retry(error, one, retries=3) for _ in range(4)]
    if error.exit not in RETRIED:
        assert waits == [None] * 4
    elif error.exit == Exit.INTERNAL:
        assert waits == [0.0, None, None, None]
    elif code in retry_policy.KILLERS:
        assert waits == [2.0, None, None, None]
    else:
        assert waits == [2.0, 4.0, 8.0, None]


def test_a_full_disk_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "free_disk", lambda folder: retry_policy.ROOM - 1)
    assert retry_policy.wait_before_retry(VastError("vast_disk_full", "full"), entry(), retries=3) is None


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert retry_policy.free_disk(tmp_path / "a" / "b") > 0


def test_the_breaker_counts_one_code_in_a_row() -> None:
    breaker = retry_policy.Breaker()
    died, memory_, face = (VastError(code, "x") for code in ("vast_worker_died", "vast_out_of_memory", "vast_no_face"))
    for other in (memory_, face, None):
        for _ in range(retry_policy.BREAKER - 1):
            assert not breaker.fail(died)
        assert not (breaker.succeed() if other is None else breaker.fail(other))
    breaker.succeed()
    assert [breaker.fail(died) for _ in range(retry_policy.BREAKER)] == [False] * (retry_policy.BREAKER - 1) + [True]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["xyz", "x", ""])), max_size=30))
def test_a_backlog_gives_every_entry_once_and_keeps_renderers_warm(jobs: list[tuple[str, str]]) -> None:
    backlog = Backlog(entry(f"j{k}", avatar=avatar, index=k) for k, (avatar, _) in enumerate(jobs))
    left = Counter(avatar for avatar, _ in jobs)
    warm: str | None = None
    seen = []
    for _, busy in jobs:
        one = backlog.take(warm=warm, busy=set(busy))
        assert one is not None
        avatar = one.job.avatar
        if warm is not None and left[warm]:
            assert avatar == warm
        elif any(left[name] for name in left if name not in busy):
            assert avatar not in busy
        left[avatar] -= 1
        seen.append(one.job.id)
        warm = avatar
    assert sorted(seen) == sorted(f"j{k}" for k in range(len(jobs)))
    assert len(backlog) == 0 and backlog.take(warm=warm, busy=()) is None


def test_what_waits_for_another_try_comes_first_when_its_time_has_come() -> None:
    backlog = Backlog([entry("new")])
    now, later = entry("now"), entry("later")
    backlog.put_back(later, wait_s=3600.0)
    backlog.put_back(now, wait_s=0.0)
    assert len(backlog) == 3
    assert [one and one.job.id for one in (backlog.take(warm=None, busy=()) for _ in range(3))] == ["now", "new", None]
    assert backlog.rest() == [later] and len(backlog) == 1


def test_only_files_of_the_attempt_are_removed(tmp_path: Path) -> None:
    tag = "ab12.3.1"
    ours = [publish.staging_path(tmp_path / "x.mp4", tag).name, f".x.{tag}-9f9f9f.part.mp4"]
    others = [
        publish.staging_path(tmp_path / "x.mp4", "ab12.3.10").name,
        publish.staging_path(tmp_path / "x.mp4", "ab12.13.1").name,
        f".x.{tag}-staged.mp4", f"x.{tag}-staged.part.mp4", "x.mp4", ".x.part.mp4",
    ]  # fmt: skip
    for name in (*ours, *others):
        (tmp_path / name).touch()
    assert leftovers.remove([tmp_path, tmp_path / "not there"], [tag]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    assert leftovers.remove([tmp_path], ["ab12"]) == 2  # the whole run


def test_a_folder_is_emptied_but_for_what_is_kept(tmp_path: Path) -> None:
    for name in ("a/b/c", "keep/d", "e"):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    leftovers.empty(tmp_path / "parts", keep=["keep"])
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["keep"]
    leftovers.empty(tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    leftovers.empty(tmp_path / "parts")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=200))
def test_staging_names_fit(stem: str) -> None:
    output = Path("/out") / f"{stem}.mp4"
    staging = publish.staging_path(output, "0123abcd.10000.12")
    assert staging.parent == output.parent and staging.suffix == ".mp4"
    assert staging.name.startswith(".") and ".part" in staging.name
    assert len(staging.name.encode()) <= 255


def test_a_sidecar_names_the_final_file(tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    planned = Stage(tmp_path).planned("a")
    task = Task(planned.job, 1, 0, "f", tmp_path / ".a.part.mp4", tmp_path / "parts", "r.1.1", tmp_path / "a.log")
    result = outcome(task, sidecar={"output": {"file": task.staging.name, "sha256": "x"}, "made": "now"})
    told = {"size": result.size, "sha256": result.sha256, "sidecar": result.sidecar}
    record = publish.give_name(task.staging, output, **told, replace=False)
    assert json.loads((tmp_path / "a.mp4.json").read_text()) == {
        "output": {"file": "a.mp4", "sha256": "x"},
        "made": "now",
    }
    assert record["size"] == output.stat().st_size and not task.staging.exists()
    with pytest.raises(VastError, match="somebody made"):
        publish.give_name(task.staging, output, **told, replace=False)
    with pytest.raises(VastError):  # nothing is there to be named
        publish.give_name(task.staging, output, **told, replace=True)

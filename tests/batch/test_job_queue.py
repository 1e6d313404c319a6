"""The order of the job queue: every job once, workers keep their avatar, retries come first when they are due."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vast_cli.batch.execution import job_queue
from vast_cli.batch.execution.job_queue import JobQueue, QueuedJob
from vast_cli.batch.job import Job
from vast_cli.batch.planning.decisions import PlannedJob


def queued_job(name: str = "a", *, avatar: str = "anna", index: int = 1) -> QueuedJob:
    folder = Path("/nowhere")
    job = Job(name, index, "row 1", folder / "a.wav", avatar, folder / f"{name}.mp4")
    return QueuedJob(PlannedJob(job, "run", "new"))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["xyz", "x", ""])), max_size=30))
def test_every_job_is_taken_once_and_a_worker_keeps_its_avatar(jobs: list[tuple[str, str]]) -> None:
    queue = JobQueue(queued_job(f"j{k}", avatar=avatar, index=k) for k, (avatar, _) in enumerate(jobs))
    left = Counter(avatar for avatar, _ in jobs)
    loaded: str | None = None
    taken = []
    for _, busy in jobs:
        queued = queue.take(loaded_avatar=loaded, busy_avatars=set(busy))
        assert queued is not None
        avatar = queued.job.avatar
        if loaded is not None and left[loaded]:
            assert avatar == loaded
        elif any(left[name] for name in left if name not in busy):
            assert avatar not in busy
        left[avatar] -= 1
        taken.append(queued.job.id)
        loaded = avatar
    assert sorted(taken) == sorted(f"j{k}" for k in range(len(jobs)))
    assert len(queue) == 0 and queue.take(loaded_avatar=loaded, busy_avatars=()) is None


def test_a_retry_is_taken_first_once_its_wait_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(job_queue.time, "monotonic", lambda: now[0])
    queue = JobQueue([queued_job("new")])
    queue.requeue(queued_job("later"), wait_s=3600.0)
    queue.requeue(queued_job("due"), wait_s=0.0)
    assert len(queue) == 3
    taken = [queue.take(loaded_avatar=None, busy_avatars=()) for _ in range(3)]
    assert [queued and queued.job.id for queued in taken] == ["due", "new", None]
    assert len(queue) == 1
    now[0] = 3600.0
    last = queue.take(loaded_avatar=None, busy_avatars=())
    assert last is not None and last.job.id == "later" and len(queue) == 0

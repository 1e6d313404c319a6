"""Which errors are retried, how often and after which wait, and which of them stop the batch."""

from pathlib import Path

import pytest

from vast_cli.batch.execution import retry_policy
from vast_cli.batch.execution.job_queue import QueuedJob
from vast_cli.batch.job import Job
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.core import errors
from vast_cli.core.errors import Exit, VastError

RETRIED = {Exit.INTERNAL, Exit.RESOURCE, Exit.IOERROR}


def queued_job(folder: Path = Path("/nowhere")) -> QueuedJob:
    return QueuedJob(PlannedJob(Job("a", 1, "row 1", folder / "a.wav", "anna", folder / "a.mp4"), "run", "new"))


@pytest.mark.parametrize("code", sorted(errors.ERROR_KINDS))
def test_waits_before_retries_of_every_error_code(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "RETRY_WAIT_S", 2.0)
    monkeypatch.setattr(retry_policy, "free_disk", lambda folder: retry_policy.MIN_FREE_BYTES)
    error, queued = VastError(code, "x"), queued_job(tmp_path)
    waits = [retry_policy.wait_before_retry(error, queued, retries=3) for _ in range(4)]
    if error.exit not in RETRIED:
        assert waits == [None] * 4
    elif error.exit == Exit.INTERNAL:
        assert waits == [0.0, None, None, None]
    elif code in retry_policy.KILLS_WORKER:
        assert waits == [2.0, None, None, None]
    else:
        assert waits == [2.0, 4.0, 8.0, None]


def test_a_full_disk_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "free_disk", lambda folder: retry_policy.MIN_FREE_BYTES - 1)
    assert retry_policy.wait_before_retry(VastError("vast_disk_full", "full"), queued_job(), retries=3) is None


def test_free_disk_of_a_folder_that_does_not_exist_is_that_of_its_parent(tmp_path: Path) -> None:
    assert 0 < retry_policy.free_disk(tmp_path / "a" / "b") == pytest.approx(retry_policy.free_disk(tmp_path), rel=0.1)


def test_the_breaker_trips_on_one_code_in_a_row() -> None:
    breaker = retry_policy.CircuitBreaker()
    died, memory, face = (VastError(code, "x") for code in ("vast_worker_died", "vast_out_of_memory", "vast_no_face"))
    for other in (memory, face, None):
        for _ in range(retry_policy.BREAKER_LIMIT - 1):
            assert not breaker.record_failure(died)
        if other is None:
            breaker.record_success()
        else:
            assert not breaker.record_failure(other)
    breaker.record_success()
    trips = [breaker.record_failure(died) for _ in range(retry_policy.BREAKER_LIMIT)]
    assert trips == [False] * (retry_policy.BREAKER_LIMIT - 1) + [True]

"""Every job belongs to exactly one shard on every machine, and tasks of job arrays find theirs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vast_cli.batch.planning.shards import Shard, journal_name, lock_name, parse_shard
from vast_cli.core.errors import VastError

IDS = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=30)


@settings(deadline=None)
@given(job=IDS, n=st.integers(1, 300))
def test_each_job_has_exactly_one_shard(job: str, n: int) -> None:
    assert sum(Shard(i, n).holds(job) for i in range(1, n + 1)) == 1


def test_shards_have_similar_sizes() -> None:
    sizes = [sum(Shard(i, 8).holds(f"job-{k}") for k in range(8000)) for i in range(1, 9)]
    assert sum(sizes) == 8000
    assert 850 < min(sizes) and max(sizes) < 1150  # 5 standard deviations are 150


def test_explicit_shards() -> None:
    assert parse_shard("3/16", {}) == Shard(3, 16)
    assert parse_shard(" 1/1 ", {}) == Shard(1, 1)


def test_file_names() -> None:
    assert (journal_name(None), lock_name(None)) == ("journal.jsonl", "lock")
    assert journal_name(Shard(3, 16)) == "journal.3-of-16.jsonl"
    assert lock_name(Shard(3, 16)) == "lock.3-of-16"


def slurm(task: int, **more: int) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in {"ID": task, **more}.items()}


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [(0, 15, 1), (1, 16, 1), (7, 7, 1), (0, 30, 2), (3, 17, 5)],
)
def test_a_slurm_array_covers_all_shards(low: int, high: int, step: int) -> None:
    tasks = range(low, high + 1, step)
    settings = {"MIN": low, "MAX": high, "STEP": step}
    for count in ({}, {"COUNT": len(tasks)}):
        found = [parse_shard("auto", slurm(task, **settings, **count)) for task in tasks]
        assert found == [Shard(i, len(tasks)) for i in range(1, len(tasks) + 1)]


def test_slurm_with_only_a_count() -> None:
    assert parse_shard("auto", slurm(4, MIN=1, COUNT=16)) == Shard(4, 16)


def test_single_tasks_submitted_again_keep_their_shard() -> None:
    whole = {task: parse_shard("auto/16", slurm(task, MIN=0, MAX=15, COUNT=16)) for task in range(16)}
    assert {shard.i for shard in whole.values()} == set(range(1, 17))
    assert parse_shard("auto/16", slurm(3, MIN=3, MAX=9, COUNT=2)) == whole[3]
    assert {parse_shard("auto/16", slurm(task)).i for task in range(1, 17)} == set(range(1, 17))


def test_kubernetes_and_aws() -> None:
    assert parse_shard("auto/4", {"JOB_COMPLETION_INDEX": "0"}) == Shard(1, 4)
    assert parse_shard("auto", {"JOB_COMPLETION_INDEX": "3", "VAST_SHARDS": "4"}) == Shard(4, 4)
    aws = {"AWS_BATCH_JOB_ARRAY_INDEX": "9", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}
    assert parse_shard("auto", aws) == Shard(10, 10)


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("0/4", {}, "no shard 0 of 4"),
        ("5/4", {}, "no shard 5 of 4"),
        ("3", {}, "not understood"),
        ("3/x", {}, "not understood"),
        ("-1/4", {}, "not understood"),
        ("", {}, "not understood"),
        ("auto", {}, "none of SLURM_ARRAY_TASK_ID"),
        ("auto/0", {"JOB_COMPLETION_INDEX": "0"}, "no 0 shards"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "how many"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}, "how many"),
        ("auto", {"JOB_COMPLETION_INDEX": "4", "VAST_SHARDS": "4"}, "no shard 5 of 4"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "x"}, "`SLURM_ARRAY_TASK_ID` is `x`"),
        ("auto", slurm(3), "SLURM_ARRAY_TASK_MIN"),
        ("auto", slurm(3, MIN=0, MAX=7, COUNT=3), "gaps"),
        ("auto", slurm(3, MIN=0, MAX=8, STEP=2), "gaps"),
    ],
)
def test_the_error_names_what_is_missing(text: str, environment: dict[str, str], expected: str) -> None:
    with pytest.raises(VastError) as error:
        parse_shard(text, environment)
    assert error.value.code == "vast_option_invalid"
    assert expected in error.value.message
    assert "--shard" in error.value.hint or "VAST_SHARDS" in error.value.hint


def test_the_hint_names_the_variable_to_set() -> None:
    with pytest.raises(VastError, match="how many") as error:
        parse_shard("auto", {"JOB_COMPLETION_INDEX": "2"})
    assert "VAST_SHARDS" in error.value.hint and "auto/16" in error.value.hint

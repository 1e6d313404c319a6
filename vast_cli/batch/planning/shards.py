"""Splits a manifest over machines that do not communicate: each takes the jobs whose ids hash to its shard."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vast_cli.core.errors import VastError

HINT = "`--shard 3/16`, or `--shard auto` in an array of Slurm, Kubernetes or AWS Batch"


@dataclass(frozen=True)
class Shard:
    """Part `i` of `n`, counted from 1.

    Raises:
        VastError: `vast_option_invalid` if there is no such part.
    """

    i: int
    n: int

    def __post_init__(self) -> None:
        if not 1 <= self.i <= self.n:
            raise VastError("vast_option_invalid", f"there is no shard {self.i} of {self.n}", hint=HINT)

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"

    def holds(self, job_id: str) -> bool:
        """Whether the job belongs to this shard; depends only on its id, so other jobs cannot move it."""
        digest = hashlib.sha256(job_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.n == self.i - 1


def journal_name(shard: Shard | None) -> str:
    """Name of the journal in the state folder."""
    return "journal.jsonl" if shard is None else f"journal.{shard.i}-of-{shard.n}.jsonl"


def lock_name(shard: Shard | None) -> str:
    """Name of the lock in the state folder."""
    return "lock" if shard is None else f"lock.{shard.i}-of-{shard.n}"


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The option `--shard`: `3/16`, `auto`, or `auto/16` where the array does not say how large it is.

    `auto/16` takes the task's number modulo 16, so that single tasks of an array can be submitted again.

    Raises:
        VastError: `vast_option_invalid`, naming what the environment lacks.
    """
    match = re.fullmatch(r"(\d{1,9}|auto)(?:/(\d{1,9}))?", text.strip())
    if not match or (match[1] != "auto" and match[2] is None):
        raise VastError("vast_option_invalid", f"`--shard {text}` is not understood", hint=HINT)
    count = None if match[2] is None else int(match[2])
    if match[1] != "auto":
        assert count is not None
        return Shard(int(match[1]), count)
    if count is None:
        count = _number(environment, "VAST_SHARDS")
    if count == 0:
        raise VastError("vast_option_invalid", "there are no 0 shards", hint=HINT)
    return _array_shard(environment, count)


def _array_shard(environment: Mapping[str, str], count: int | None) -> Shard:
    """The shard of this task of an array of Slurm, AWS Batch or Kubernetes."""
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    if task is not None:
        return Shard(task % count + 1, count) if count else _slurm_shard(task, environment)
    for index_name, size_name in (
        ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
        ("JOB_COMPLETION_INDEX", "VAST_SHARDS"),  # Kubernetes sets only the index
    ):
        index = _number(environment, index_name)
        if index is None:
            continue
        size = count or _number(environment, size_name)
        if not size:
            raise VastError(
                "vast_option_invalid",
                f"`--shard auto` found `{index_name}` but not how many shards there are",
                hint=f"set `{size_name}`, or give the number: `--shard auto/16`",
            )
        return Shard(index + 1, size)
    raise VastError(
        "vast_option_invalid",
        "`--shard auto` found none of SLURM_ARRAY_TASK_ID, AWS_BATCH_JOB_ARRAY_INDEX, JOB_COMPLETION_INDEX",
        hint="start it as a job array, or give the shard: `--shard 3/16`",
    )


def _slurm_shard(task: int, environment: Mapping[str, str]) -> Shard:
    """The shard of a task of the Slurm array `MIN-MAX:STEP`."""
    low, high = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "MAX"))
    step = _number(environment, "SLURM_ARRAY_TASK_STEP") or 1
    count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
    if low is None or (high is None and count is None):
        raise VastError(
            "vast_option_invalid",
            "`--shard auto` found SLURM_ARRAY_TASK_ID but not SLURM_ARRAY_TASK_MIN with _MAX or _COUNT",
            hint="give the number of shards: `--shard auto/16`",
        )
    n = count if high is None else (high - low) // step + 1
    index, rest = divmod(task - low, step)
    if rest or n is None or (count is not None and n != count):
        raise VastError(
            "vast_option_invalid",
            f"the Slurm array has gaps: {count} tasks from {low} to {high} in steps of {step}",
            hint="give the total number of shards: `--shard auto/16`",
        )
    return Shard(index + 1, n)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise VastError("vast_option_invalid", f"`{name}` is `{text}`, not a number", hint=HINT)
    return int(text)

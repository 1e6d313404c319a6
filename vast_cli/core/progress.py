"""Progress callbacks: functions of stage, work done and total."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int | None], None]  # stage, done, total


def silent(_stage: str, _done: int, _total: int | None) -> None:
    """Ignore progress."""


def counted(items: Iterable[T], stage: str, total: int | None, progress: Progress) -> Iterator[T]:
    """Yield `items` and report how many were yielded."""
    done = 0
    for item in items:
        yield item
        done += 1
        progress(stage, done, total)
    progress(stage, done, done)

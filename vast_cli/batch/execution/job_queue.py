"""What is left to do, in the order that keeps renderers warm."""

import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vast_cli.batch.job import Job
from vast_cli.batch.planning.decisions import Planned

BATCH = 8  # frames through the network at once, until memory runs out


@dataclass
class Entry:
    """A job on its way: what happened to it in this run."""

    planned: Planned
    attempt: int = 0
    retries: int = 0  # by class of the error
    deaths: int = 0  # workers it took with it
    internal: int = 0  # bugs it met
    draws: int = 0  # other seeds tried after a missed gate
    batch: int = BATCH
    not_before: float = 0.0  # monotonic seconds

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.planned.job


class Backlog:
    """Entries by avatar, within an avatar by prompt; those that wait for another try come when their time has."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._ready: OrderedDict[str, deque[Entry]] = OrderedDict()
        self._waiting: list[Entry] = []
        for entry in sorted(entries, key=lambda e: (e.job.avatar, str(e.job.prompt or e.job.style or ""), e.job.index)):
            self._ready.setdefault(entry.job.avatar, deque()).append(entry)

    def __len__(self) -> int:
        return sum(map(len, self._ready.values())) + len(self._waiting)

    def put_back(self, entry: Entry, *, wait_s: float) -> None:
        """Try `entry` again after `wait_s` seconds, before what is new."""
        entry.not_before = time.monotonic() + wait_s
        self._waiting.append(entry)

    def take(self, *, warm: str | None, busy: Collection[str]) -> Entry | None:
        """The next entry for a worker whose renderer is `warm` for an avatar, while others are `busy` with theirs.

        Nothing if all that is left still has to wait.
        """
        now = time.monotonic()
        due = min((e for e in self._waiting if e.not_before <= now), key=lambda e: e.not_before, default=None)
        if due is not None:
            self._waiting.remove(due)
            return due
        if not self._ready:
            return None
        free = next((name for name in self._ready if name not in busy), next(iter(self._ready)))
        name = warm if warm in self._ready else free
        assert name is not None
        entry = self._ready[name].popleft()
        if not self._ready[name]:
            del self._ready[name]
        return entry

    def rest(self) -> list[Entry]:
        """Everything that was not taken."""
        return [entry for entries in self._ready.values() for entry in entries] + self._waiting

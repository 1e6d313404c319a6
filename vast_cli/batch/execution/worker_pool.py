"""The workers of a batch in their slots: started while there is work, heard, watched for silence and standstill."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from vast_cli.batch.execution.executors import Executor
from vast_cli.batch.execution.job_queue import Entry
from vast_cli.batch.execution.settings import RunSettings
from vast_cli.batch.job import Message, Progress, Ready, Task
from vast_cli.batch.monitor.events import PROGRESS_EVERY_S, Tell
from vast_cli.core.errors import VastError

POLL_S = 0.5
START_S = 300.0  # a worker's time to load its libraries from a slow disk
MAX_STARTS = 3  # workers in a row that died before they could work, with none that can
START_WAIT_S = 2.0  # before another one is tried while others work; doubles, up to
MAX_START_WAIT_S = 60.0
AWAY_S = 5.0  # a turn of the loop that took longer: we were stopped, or a disk was; nobody else is to blame


@dataclass
class Slot:
    """A worker, what it is at, and when it gave which sign; times are monotonic seconds."""

    ready: bool = False
    pid: int = 0
    entry: Entry | None = None
    task: Task | None = None
    warm: str | None = None  # avatar whose renderer it has loaded
    jobs: int = 0  # that it answered
    heard: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    moved: float = 0.0  # when progress was last made
    stage: str = ""
    stage_began: float = 0.0
    told: float = 0.0

    def begin(self, entry: Entry, task: Task) -> None:
        """It is given a job."""
        now = time.monotonic()
        self.entry, self.task, self.started, self.moved, self.stage, self.told = entry, task, now, now, "", 0.0
        self.warm = entry.job.avatar

    def end(self) -> None:
        """It answered."""
        self.entry = self.task = None
        self.jobs += 1


class Crew:
    """Workers by their number.

    Args:
        executor: where they live; closed by `close`.
        settings: how many, and their limits.
        logs: folder of what they print, for messages.
        tell: listener of events.
    """

    def __init__(self, executor: Executor, settings: RunSettings, *, logs: Path, tell: Tell) -> None:
        self.slots: dict[int, Slot] = {}
        self._executor, self._settings, self._logs, self._tell = executor, settings, logs, tell
        self._failed_starts = self._failed_alone = 0  # in a row; of these, while nobody could work
        self._next_start = 0.0  # monotonic seconds
        self._watched = time.monotonic()

    def busy(self) -> list[Slot]:
        """Those that are at a job."""
        return [slot for slot in self.slots.values() if slot.entry is not None]

    def staff(self, n_waiting: int) -> None:
        """Start workers while there is work for them: what is `n_waiting`, and what they are at."""
        if time.monotonic() < self._next_start:
            return
        wanted = min(self._settings.workers, self._executor.slots, n_waiting + len(self.busy()))
        for number in range(self._settings.workers):
            if len(self.slots) >= wanted:
                return
            if number not in self.slots:
                self._executor.start(number)
                self.slots[number] = Slot()

    def begin(self, number: int, entry: Entry, task: Task) -> None:
        """Give a worker a job."""
        self.slots[number].begin(entry, task)
        self._executor.submit(number, task)

    def retire(self, number: int) -> None:
        """End a worker at once; another one may take its slot."""
        self._executor.kill(number)
        self.slots.pop(number, None)

    def close(self) -> None:
        """End all workers; idle ones in peace."""
        self._executor.close()

    # --- what they say ----------------------------------------------------------------------------------------------

    def poll(self) -> list[Message]:
        """What they said since; waits a moment for it."""
        return self._executor.poll(POLL_S)

    def welcome(self, message: Ready) -> None:
        """A worker can work."""
        slot = self.slots[message.slot]
        slot.ready, slot.pid, self._failed_starts, self._failed_alone = True, message.pid, 0, 0

    def progress(self, number: int, message: Progress) -> None:
        """A worker moved on: told at each stage, and now and then within one."""
        slot = self.slots[number]
        now = time.monotonic()
        slot.moved = now
        assert slot.entry is not None
        job_id = slot.entry.job.id
        if message.stage != slot.stage:
            slot.stage, slot.stage_began = message.stage, now
            self._tell("stage", id=job_id, worker=number, stage=message.stage)
        elif now - slot.told >= PROGRESS_EVERY_S:
            slot.told = now
            fps = message.done / max(now - slot.stage_began, 1e-3)
            left = None if message.total is None or not fps else (message.total - message.done) / fps
            self._tell(
                "progress", id=job_id, worker=number, stage=message.stage, frames_done=message.done,
                frames_total=message.total, fps=round(fps, 2), eta_s=None if left is None else round(left, 1),
            )  # fmt: skip

    # --- what they do not say ---------------------------------------------------------------------------------------

    def watch(self) -> list[tuple[int, VastError]]:
        """Workers that froze, take too long or do not start, and why they have to go."""
        now = time.monotonic()
        turn_s, self._watched = now - self._watched, now
        if turn_s > POLL_S + AWAY_S:
            for slot in self.slots.values():
                slot.heard = now
                slot.started += turn_s
                slot.moved += turn_s
        troubles = [(number, self._trouble(slot, now)) for number, slot in self.slots.items()]
        return [(number, trouble) for number, trouble in troubles if trouble is not None]

    def _trouble(self, slot: Slot, now: float) -> VastError | None:
        settings = self._settings
        if not slot.ready:
            late = now - slot.started > START_S
            return VastError("vast_worker_died", f"its worker did not start within {START_S:.0f} s") if late else None
        if now - slot.heard > settings.silence_s:
            return VastError("vast_worker_died", f"its worker froze: no sign of life for {settings.silence_s:.0f} s")
        if slot.entry is None:
            return None
        if settings.timeout_s is not None and now - slot.started > settings.timeout_s:
            return VastError("vast_timeout", f"not done after {settings.timeout_s:.0f} s", hint="raise `--timeout`")
        if now - slot.moved > settings.stall_s:
            return VastError("vast_timeout", f"no progress for {settings.stall_s:.0f} s", hint="raise `--stall`")
        return None

    def count_failed_start(self, number: int, reason: str) -> None:
        """A worker went before it could work; others go on without it for a while.

        Raises:
            VastError: `vast_worker_died`: so did all others of late, and nobody is left.
        """
        self._failed_starts += 1
        if any(slot.ready for slot in self.slots.values()):
            wait_s = min(MAX_START_WAIT_S, START_WAIT_S * 2 ** (self._failed_starts - 1))
            self._next_start, self._failed_alone = time.monotonic() + wait_s, 0
            return
        self._failed_alone += 1
        if self._failed_alone >= MAX_STARTS:
            hint = f"see `{self.log(number)}`"
            raise VastError("vast_worker_died", f"workers do not start: the last one {reason}", hint=hint)

    def log(self, number: int) -> Path:
        """Where what a worker prints goes."""
        return self._logs / f"worker-{number}.log"

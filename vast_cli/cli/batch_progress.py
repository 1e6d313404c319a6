"""Counts of a running batch: which worker does what, how fast, and the time left."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FRAMES = "render"  # the stage whose units are frames of the video
WINDOW_S = 60.0  # over which frames a second are counted
PRIOR_S = 30.0  # how much the estimate weighs against what is measured


@dataclass
class WorkerRow:
    """A worker's current job."""

    worker: int
    id: str
    stage: str = "start"
    done: int = 0
    total: int | None = None
    fps: float | None = None
    rendered: int = 0  # frames of this attempt

    @property
    def share(self) -> float | None:
        """How much of the stage is finished, 0 - 1, if known."""
        return min(self.done / self.total, 1.0) if self.total else None


class BatchProgress:
    """Listener that counts jobs and frames.

    Args:
        weights: how much of the work each job is; without, all count alike.
        estimate_s: expected wall time of the batch.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        estimate_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.RLock()  # the terminal is redrawn by another thread
        self.jobs = self.to_run = self.skipped = self.done = self.failed = self.frames = 0
        self.workers = 1
        self.rows: dict[int, WorkerRow] = {}
        self.codes: Counter[str] = Counter()
        self._weights = weights or {}
        self._total_weight = sum(self._weights.values())
        self._estimate_s = estimate_s
        self._finished = 0.0  # weight
        self._clock = clock
        self._start = clock()
        self._history: deque[tuple[float, int]] = deque([(self._start, 0)])  # when, frames rendered until then

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Handle an event."""
        with self.lock:
            handler = getattr(self, f"_{event}", None)
            if handler is not None:
                handler(**fields)
            self._count_frames()

    @property
    def left(self) -> int:
        """Jobs that are neither finished nor failed, running ones included."""
        return self.to_run - self.done - self.failed

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    @property
    def fps(self) -> float | None:
        """Frames a second of all workers together, lately."""
        (first, before), (last, now) = self._history[0], self._history[-1]
        return (now - before) / (last - first) if last > first and now > before else None

    @property
    def share(self) -> float:
        """How much of the work is finished, 0 - 1."""
        total = self._total()
        return min(1.0, (self._finished + self._in_progress()) / total) if total > 0 else 1.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left: the estimate, corrected by how this run does so far."""
        total, done = self._total(), self._finished + self._in_progress()
        left = max(0.0, total - done)
        if self._estimate_s and total > 0:  # as if PRIOR_S had gone by as estimated before the start
            return left * (self.seconds + PRIOR_S) / (done + PRIOR_S * total / self._estimate_s)
        return self.seconds * left / done if done > 0 else None

    def _total(self) -> float:
        return self._total_weight if self._weights else float(self.to_run)

    def _weight(self, job: str) -> float:
        return self._weights.get(job, 0.0) if self._weights else 1.0

    def _in_progress(self) -> float:
        rows = [row for row in self.rows.values() if row.stage == FRAMES]  # other stages are short
        return sum(self._weight(row.id) * (row.share or 0.0) for row in rows)

    def _count_frames(self) -> None:
        now, frames = self._clock(), self.frames + sum(row.rendered for row in self.rows.values())
        if now - self._history[-1][0] >= 1.0:
            self._history.append((now, max(frames, self._history[-1][1])))
            while len(self._history) > 2 and now - self._history[1][0] >= WINDOW_S:
                self._history.popleft()

    def _clear(self, worker: int | None, job: str) -> None:
        for key in [key for key, row in self.rows.items() if row.id == job or key == worker]:
            del self.rows[key]

    # --- events -------------------------------------------------------------------------------------------------

    def _run_started(self, *, jobs: int, to_run: int, skipped: int, slots: int, **_: Any) -> None:
        self.jobs, self.to_run, self.skipped, self.workers = jobs, to_run, skipped, slots

    def _job_started(self, *, id: str, worker: int, **_: Any) -> None:
        self.rows[worker] = WorkerRow(worker, id)

    def _stage(self, *, id: str, worker: int, stage: str, **_: Any) -> None:
        row = self.rows.setdefault(worker, WorkerRow(worker, id))
        row.stage, row.done, row.total, row.fps = stage, 0, None, None

    def _progress(
        self,
        *,
        id: str,
        worker: int,
        stage: str,
        frames_done: int,
        frames_total: int | None,
        fps: float | None,
        **_: Any,
    ) -> None:
        row = self.rows.setdefault(worker, WorkerRow(worker, id))
        row.stage, row.done, row.total, row.fps = stage, frames_done, frames_total, fps
        if stage == FRAMES:
            row.rendered = frames_done

    def _job_done(self, *, id: str, worker: int | None, frames: int, action: str, **_: Any) -> None:
        self.done += 1
        self.frames += frames if action == "run" else 0
        self._finished += self._weight(id)
        self._clear(worker, id)

    def _job_failed(self, *, id: str, worker: int | None, code: str, **_: Any) -> None:
        self.failed += 1
        self.codes[code] += 1
        self._finished += self._weight(id)
        self._clear(worker, id)

    def _job_retried(self, *, id: str, **_: Any) -> None:
        self._clear(None, id)

    def _worker_died(self, *, worker: int, **_: Any) -> None:
        self.rows.pop(worker, None)

"""Runs workers as processes of this machine, each with a pipe to the coordinator.

Processes are spawned: a forked worker would inherit the batch's lock and keep it after the coordinator was killed.
Workers end themselves at the end of file on their pipe, which comes however the coordinator dies; their ffmpeg ends
with them.
"""

import contextlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from vast_cli.batch.execution.local_worker import work
from vast_cli.batch.job import Died, Message, Task, WorkerSettings

END_S = 5.0  # time for an idle worker to end by itself


@dataclass
class _Child:
    process: BaseProcess
    connection: "Connection[object, object]"
    reported_dead: bool = False


class LocalExecutor:
    """Spawned processes; see `Executor`."""

    def __init__(self, settings: WorkerSettings, n_workers: int) -> None:
        self.n_workers = n_workers
        self._settings = settings
        self._processes: dict[int, _Child] = {}
        self._context = multiprocessing.get_context("spawn")

    def start(self, worker: int) -> None:
        """Start the process of a worker."""
        assert worker not in self._processes, f"worker {worker} runs already"
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, worker, self._settings), name=f"vast-worker-{worker}", daemon=True
        )
        with _main_module_hidden():
            process.start()
        theirs.close()  # or the end of file would never come
        self._processes[worker] = _Child(process, ours)

    def submit(self, worker: int, task: Task) -> None:
        """Send a worker a task."""
        with contextlib.suppress(OSError):
            self._processes[worker].connection.send(task)

    def poll(self, timeout_s: float) -> list[Message]:
        """Return the messages that arrived, with one `Died` for each worker that is gone."""
        sources: dict[object, int] = {}
        for worker, child in self._processes.items():
            if not child.reported_dead:
                sources[child.connection] = worker
                sources[child.process.sentinel] = worker
        if not sources:
            time.sleep(timeout_s)
            return []
        messages: list[Message] = []
        for worker in sorted({sources[ready] for ready in wait(list(sources), timeout_s)}):  # type: ignore[arg-type]
            messages += self._receive(worker)
        return messages

    def _receive(self, worker: int) -> list[Message]:
        child = self._processes[worker]
        messages: list[Message] = []
        pipe_closed = False
        try:
            while child.connection.poll():
                messages.append(child.connection.recv())  # type: ignore[arg-type]
        except (EOFError, OSError):
            pipe_closed = True
        if pipe_closed or not child.process.is_alive():
            child.process.join(END_S)
            child.reported_dead = True
            messages.append(Died(worker, _death_reason(child.process.exitcode)))
        return messages

    def kill(self, worker: int) -> None:
        """Kill the process of a worker and wait until it is gone."""
        child = self._processes.pop(worker, None)
        if child is None:
            return
        child.process.kill()  # SIGKILL ends a stopped process too
        child.process.join()
        child.connection.close()
        child.process.close()

    def close(self) -> None:
        """End all workers; idle ones get time to end by themselves."""
        for child in self._processes.values():
            with contextlib.suppress(OSError):
                child.connection.send(None)
        deadline = time.monotonic() + END_S
        for child in self._processes.values():
            child.process.join(max(0.0, deadline - time.monotonic()))
        for worker in list(self._processes):
            self.kill(worker)


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep a spawned worker from importing the calling script, which may start a batch without a `__main__` guard."""
    main = sys.modules["__main__"]
    spec, file = main.__spec__, main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


def _death_reason(exitcode: int | None) -> str:
    if exitcode is None:
        return "closed its pipe"
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was killed by {name}" + (" (by the system for want of memory?)" if name == "SIGKILL" else "")
    return f"ended with status {exitcode}"

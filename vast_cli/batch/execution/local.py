"""Workers as processes of this machine, started fresh (spawn), each with a pipe to the coordinator.

A forked worker would inherit the batch's lock and keep it after the coordinator was killed. Workers end themselves at
the end of file on their pipe, which comes when the coordinator dies however it dies; their ffmpeg ends with them.
"""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from vast_cli.batch.job import Alive, Died, Done, Failed, Message, Progress, Ready, Task, WorkerSettings
from vast_cli.core.errors import VastError

ALIVE_EVERY_S = 2.0
PROGRESS_EVERY_S = 0.2
END_S = 5.0  # an idle worker's time to end in peace
PR_SET_PDEATHSIG = 1


@dataclass
class _Worker:
    process: BaseProcess
    connection: "Connection[object, object]"
    told: bool = False  # `Died` was given


class LocalExecutor:
    """Spawned processes; see `Executor`."""

    def __init__(self, settings: WorkerSettings, slots: int) -> None:
        self.slots = slots
        self._settings = settings
        self._workers: dict[int, _Worker] = {}
        self._context = multiprocessing.get_context("spawn")

    def start(self, slot: int) -> None:
        """Begin a fresh worker in an empty slot."""
        assert slot not in self._workers, f"slot {slot} is taken"
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, slot, self._settings), name=f"vast-worker-{slot}", daemon=True
        )
        with _main_left_alone():
            process.start()
        theirs.close()  # or the end of file would never come
        self._workers[slot] = _Worker(process, ours)

    def submit(self, slot: int, task: Task) -> None:
        """Give the worker of a slot a job."""
        with contextlib.suppress(OSError):
            self._workers[slot].connection.send(task)

    def poll(self, timeout_s: float) -> list[Message]:
        """Messages that came, `Died` once for a worker that is gone."""
        sources: dict[object, int] = {}
        for slot, worker in self._workers.items():
            if not worker.told:
                sources[worker.connection] = slot
                sources[worker.process.sentinel] = slot
        if not sources:
            time.sleep(timeout_s)
            return []
        messages: list[Message] = []
        for slot in sorted({sources[ready] for ready in wait(list(sources), timeout_s)}):  # type: ignore[arg-type]
            messages += self._hear(slot)
        return messages

    def _hear(self, slot: int) -> list[Message]:
        worker = self._workers[slot]
        messages: list[Message] = []
        gone = False
        try:
            while worker.connection.poll():
                messages.append(worker.connection.recv())  # type: ignore[arg-type]
        except (EOFError, OSError):
            gone = True
        if gone or not worker.process.is_alive():
            worker.process.join(END_S)
            worker.told = True
            messages.append(Died(slot, _reason(worker.process.exitcode)))
        return messages

    def kill(self, slot: int) -> None:
        """End the worker of a slot at once and wait until it is gone."""
        worker = self._workers.pop(slot, None)
        if worker is None:
            return
        worker.process.kill()  # a frozen process dies of it too
        worker.process.join()
        worker.connection.close()
        worker.process.close()

    def close(self) -> None:
        """End all workers, idle ones in peace."""
        for worker in self._workers.values():
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        deadline = time.monotonic() + END_S
        for worker in self._workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
        for slot in list(self._workers):
            self.kill(slot)


@contextlib.contextmanager
def _main_left_alone() -> Iterator[None]:
    """Keep a worker from importing the script that called us: it may run a batch without asking for its own name."""
    main = sys.modules["__main__"]
    spec, file = main.__spec__, main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


def _reason(exitcode: int | None) -> str:
    if exitcode is None:
        return "closed its pipe"
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"was killed by {name}" + (" (by the system for want of memory?)" if name == "SIGKILL" else "")
    return f"ended with status {exitcode}"


# --- in the worker's process ----------------------------------------------------------------------------------------


class _Line:
    """The pipe to the coordinator, used by two threads."""

    def __init__(self, connection: "Connection[object, object]", slot: int) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.slot = slot
        self.tasks: queue.Queue[Task | None] = queue.Queue()

    def send(self, message: Message) -> None:
        with self._lock, contextlib.suppress(OSError):  # the reader notices the coordinator's end
            self._connection.send(message)

    def read(self) -> None:
        """Take tasks; the end of file ends the process, whatever it is doing."""
        try:
            while True:
                self.tasks.put(self._connection.recv())  # type: ignore[arg-type]
        except (EOFError, OSError):
            os._exit(1)

    def beat(self) -> None:
        while True:
            time.sleep(ALIVE_EVERY_S)
            self.send(Alive(self.slot))


def work(connection: "Connection[object, object]", slot: int, settings: WorkerSettings) -> None:
    """Main function of a worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the coordinator decides
    _die_with_parent()
    redirect(settings.logs / f"worker-{slot}.log")
    line = _Line(connection, slot)
    threading.Thread(target=line.read, daemon=True, name="tasks").start()
    threading.Thread(target=line.beat, daemon=True, name="alive").start()
    from vast_cli.batch.execution.worker import Runner

    runner = Runner(settings, slot=slot)
    runner.warm_up()
    line.send(Ready(slot, os.getpid()))
    while (task := line.tasks.get()) is not None:
        report = _Reporter(line, task)
        try:
            line.send(Done(slot, task.key, runner.run(task, report)))
        except VastError as error:
            line.send(Failed(slot, task.key, error))
    os._exit(0)  # all is said and written; taking the interpreter down takes seconds


class _Reporter:
    """Progress a few times a second, every stage's begin and end always."""

    def __init__(self, line: _Line, task: Task) -> None:
        self._line, self._task = line, task
        self._stage, self._last = "", 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._last < PROGRESS_EVERY_S and done != total:
            return
        self._stage, self._last = stage, now
        self._line.send(Progress(self._line.slot, self._task.key, stage, done, total))


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent, even if it hangs in native code."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def redirect(path: Path) -> None:
    """Send what libraries print to a file: standard output is for results, standard error for the table."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        handle = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )

"""The main function of a worker process on this machine: receives tasks through a pipe, sends messages back."""

import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from vast_cli.batch.execution.worker_output import redirect_output
from vast_cli.batch.job import Alive, Done, Failed, Message, Progress, Ready, Task, WorkerSettings
from vast_cli.core.errors import VastError

ALIVE_EVERY_S = 2.0
PROGRESS_EVERY_S = 0.2
PR_SET_PDEATHSIG = 1


def work(connection: "Connection[object, object]", worker: int, settings: WorkerSettings) -> None:
    """Run tasks from the pipe until `None` comes, then end the process.

    Args:
        connection: this process's end of the pipe.
        worker: number of this worker.
        settings: what all its jobs share.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the coordinator decides
    _die_with_parent()
    redirect_output(settings.logs / f"worker-{worker}.log")
    channel = _Channel(connection, worker)
    threading.Thread(target=channel.receive_tasks, daemon=True, name="tasks").start()
    threading.Thread(target=channel.send_heartbeats, daemon=True, name="alive").start()
    from vast_cli.batch.execution.worker import JobRunner

    runner = JobRunner(settings, worker=worker)
    runner.warm_up()
    channel.send(Ready(worker, os.getpid()))
    while (task := channel.tasks.get()) is not None:
        try:
            channel.send(Done(worker, task.key, runner.run(task, _ProgressSender(channel, task))))
        except VastError as error:
            channel.send(Failed(worker, task.key, error))
    os._exit(0)  # everything is sent and written; finalizing the interpreter takes seconds


class _Channel:
    """The pipe to the coordinator, shared by the threads of a worker."""

    def __init__(self, connection: "Connection[object, object]", worker: int) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.worker = worker
        self.tasks: queue.Queue[Task | None] = queue.Queue()

    def send(self, message: Message) -> None:
        with self._lock, contextlib.suppress(OSError):  # the receiving thread notices that the coordinator is gone
            self._connection.send(message)

    def receive_tasks(self) -> None:
        """Queue incoming tasks; the end of file ends the process, whatever it is doing."""
        try:
            while True:
                self.tasks.put(self._connection.recv())  # type: ignore[arg-type]
        except (EOFError, OSError):
            os._exit(1)

    def send_heartbeats(self) -> None:
        while True:
            time.sleep(ALIVE_EVERY_S)
            self.send(Alive(self.worker))


class _ProgressSender:
    """Sends progress a few times a second; the begin and the end of a stage always."""

    def __init__(self, channel: _Channel, task: Task) -> None:
        self._channel, self._task = channel, task
        self._stage, self._last_sent = "", 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._last_sent < PROGRESS_EVERY_S and done != total:
            return
        self._stage, self._last_sent = stage, now
        self._channel.send(Progress(self._channel.worker, self._task.key, stage, done, total))


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent, even if it hangs in native code."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

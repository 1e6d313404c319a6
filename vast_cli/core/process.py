"""The only place that starts programs: run one to its end, or feed one through a pipe.

Commands are lists, there is no shell. A program's standard input is closed or a pipe, its standard error is kept for
messages, and it has a process group of its own: Ctrl-C reaches only us, who then clean up, and ending the program ends
its children, too. Worker processes that run Python are `multiprocessing`'s (`batch/execution/local_executor.py`,
`evaluate/engine.py`).
"""

import logging
import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

MAX_LINES = 50  # of a fed program's standard error kept
MAX_LINE = 400  # characters of each kept
LAST_LINES_S = 30  # time for the rest of standard error after the end
OWN_GROUP: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if os.name == "nt"
    else {"start_new_session": True}
)


@dataclass(frozen=True)
class Result:
    """A program that ran to its end."""

    status: int
    stdout: str
    stderr: str


def run(args: Sequence[str], *, timeout_s: float) -> Result:
    """Run a program to its end with its input closed; on any exception it is ended with its children.

    Raises:
        TimeoutError: it ran longer than `timeout_s`.
        OSError: it does not start.
    """
    process = subprocess.Popen(
        list(args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        **OWN_GROUP,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        raise TimeoutError(f"`{args[0]}` ran longer than {timeout_s:.0f} s") from None
    except BaseException:
        _end(process)
        raise
    return Result(process.returncode, stdout, stderr)


class FedProcess:
    """A running program whose standard input is a pipe and whose standard output is dropped.

    Args:
        args: command line.

    Attributes:
        stderr_lines: the last lines it wrote to standard error, complete after `wait`.

    Raises:
        OSError: it does not start.
    """

    def __init__(self, args: Sequence[str]) -> None:
        log.debug("%s", shlex.join(args))
        self.stderr_lines: deque[str] = deque(maxlen=MAX_LINES)
        self._process = subprocess.Popen(
            list(args), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **OWN_GROUP
        )
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()

    def _read_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while line := stream.readline(1 << 16):
            text = line.decode(errors="replace").strip()
            if text:
                self.stderr_lines.append(text[:MAX_LINE])

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._process.poll() is None

    def write(self, data: memoryview | bytes) -> None:
        """Send bytes; waits while the program is busy.

        Raises:
            OSError: it closed its input (`BrokenPipeError`; on Windows EINVAL).
        """
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def close_input(self) -> None:
        """Tell the program that no more data comes.

        Raises:
            OSError: it closed its input before it took all.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, *, timeout_s: float) -> int:
        """Wait for the end and return the exit status; after `timeout_s` the program is killed.

        Raises:
            TimeoutError: it ran longer than `timeout_s`.
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"pid {self.pid} ran longer than {timeout_s:.0f} s") from None
        self._close()
        return status

    def kill(self) -> int:
        """End the program with its children at once, if it still runs, and return its exit status."""
        if self.is_running:
            _end_group(self._process)
        status = self._process.wait()
        self._close()
        return status

    def _close(self) -> None:
        self._reader.join(LAST_LINES_S)
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # bytes that a dead process never took
                    log.debug("unsent bytes for pid %d were dropped", self.pid)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program with its children; it may have ended and left those behind."""
    _end_group(process)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _end_group(process: "subprocess.Popen[Any]") -> None:
    if os.name == "nt":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group that has ended
            os.killpg(process.pid, signal.SIGKILL)

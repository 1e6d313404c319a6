"""A program of the user's that looks at one video and prints one line.

`CMD {video}`: split as a shell would, but run without one; `{video}` becomes one argument, whatever the file is called.
The program has its input closed, a session of its own and a time limit.
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core.errors import VastError

PLACE = "{video}"
TIMEOUT_S = 600.0
ASK_S = 30.0  # for the version
MAX_LINE = 100_000  # characters of an answer
MAX_SHOWN = 200  # characters of a message


class Program:
    """A program of the user's that judges videos.

    Attributes:
        command: as the user gave it.
        version: what it says of itself, or None.
    """

    def __init__(self, command: str) -> None:
        """Check the command.

        Raises:
            VastError: `vast_option_invalid`.
        """
        self._command = Command.parse(command)
        self.command = command
        self.version = self._command.version()


@dataclass(frozen=True)
class Command:
    """A checked command line."""

    text: str  # as the user gave it
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Command":
        """Check a command line.

        Raises:
            VastError: `vast_option_invalid`: it cannot be split, has no `{video}`, or names no program.
        """
        hint = f'a program and its arguments, such as "reader --fast {PLACE}"'
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise VastError("vast_option_invalid", f"`{text}` is no command: {error}", hint=hint) from error
        if not any(PLACE in word for word in words[1:]):
            raise VastError("vast_option_invalid", f"command `{text}` does not say where {PLACE} goes", hint=hint)
        if shutil.which(words[0]) is None:
            raise VastError("vast_option_invalid", f"there is no program `{words[0]}`", hint=hint)
        return cls(text, words)

    def ask(self, video: Path, *, timeout_s: float = TIMEOUT_S) -> str:
        """The line that the program prints about a video, without its end; empty if it prints nothing.

        Raises:
            VastError: `vast_timeout`, `vast_worker_died` (it failed), `vast_record_invalid` (more than one line).
        """
        path = str(video.absolute())  # never an option
        status, out, err = _run([word.replace(PLACE, path) for word in self.words], timeout_s=timeout_s)
        if status is None:
            message = f"`{self.words[0]}` did not judge `{video}` within {timeout_s:.0f} s"
            raise VastError("vast_timeout", message, hint="try it alone on this video")
        if status:
            said = (err.strip().splitlines() or ["it said nothing"])[-1][:MAX_SHOWN]
            message = f"`{self.words[0]}` ended with status {status} on `{video}`: {said}"
            raise VastError("vast_worker_died", message, hint="try it alone on this video")
        lines = [line.strip() for line in out.splitlines() if line.strip()]
        if len(lines) > 1 or len(out) > MAX_LINE:
            message = f"`{self.words[0]}` printed {len(lines)} lines ({len(out)} characters) about `{video}`, not one"
            raise VastError("vast_record_invalid", message, hint="let it write everything else to its standard error")
        return lines[0] if lines else ""

    def version(self) -> str | None:
        """First line of what the program prints with `--version` in the video's place, or None."""
        words = [word.replace(PLACE, "--version") for word in self.words]
        try:
            status, out, err = _run(words, timeout_s=ASK_S)
        except VastError:  # a version is a courtesy
            return None
        lines = (out.strip() or err.strip()).splitlines()
        return lines[0][:MAX_SHOWN] if status == 0 and lines else None


def _run(words: Sequence[str], *, timeout_s: float) -> tuple[int | None, str, str]:
    """Exit status (None: out of time), standard output and standard error."""
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=os.name != "nt",
        )
    except OSError as error:
        raise VastError("vast_option_invalid", f"`{words[0]}` does not start: {error}") from error
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return None, "", ""
    except BaseException:
        _end(process)
        raise
    return process.returncode, out, err


def _end(process: "subprocess.Popen[str]") -> None:
    """End the program with everything that it started; it may have ended and left those behind."""
    if os.name == "nt":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()

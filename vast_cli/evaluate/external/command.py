"""A program of the user's that takes one video and prints one line.

`CMD {video}`: split as a shell would, but run without one; `{video}` becomes one argument, whatever its name.
The program has its input closed, a session of its own and a time limit.
"""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import process
from vast_cli.core.errors import VastError

PLACEHOLDER = "{video}"
TIMEOUT_S = 600.0
VERSION_S = 30.0
MAX_OUTPUT = 100_000  # characters
MAX_MESSAGE = 200  # characters


class Program:
    """An external model that is a program of the user's.

    Attributes:
        command: as the user gave it.
        version: what it prints with `--version`, or None.
    """

    def __init__(self, command: str) -> None:
        """Check the command.

        Raises:
            VastError: `vast_option_invalid`.
        """
        self._command = CommandTemplate.parse(command)
        self.command = command
        self.version = self._command.version()


@dataclass(frozen=True)
class CommandTemplate:
    """A checked command line with a placeholder for the video."""

    text: str  # as the user gave it
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "CommandTemplate":
        """Check a command line.

        Raises:
            VastError: `vast_option_invalid`: it cannot be split, has no `{video}`, or names no program.
        """
        hint = f'a program and its arguments, such as "reader --fast {PLACEHOLDER}"'
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise VastError("vast_option_invalid", f"`{text}` is no command: {error}", hint=hint) from error
        if not any(PLACEHOLDER in word for word in words[1:]):
            raise VastError("vast_option_invalid", f"command `{text}` does not say where {PLACEHOLDER} goes", hint=hint)
        if shutil.which(words[0]) is None:
            raise VastError("vast_option_invalid", f"there is no program `{words[0]}`", hint=hint)
        return cls(text, words)

    def run(self, video: Path, *, timeout_s: float = TIMEOUT_S) -> str:
        """The line that the program prints about a video, without its end; empty if it prints nothing.

        Raises:
            VastError: `vast_timeout`, `vast_worker_died` (it failed), `vast_record_invalid` (more than one line).
        """
        path = str(video.absolute())  # never an option
        program = self.words[0]
        try:
            result = process.run([word.replace(PLACEHOLDER, path) for word in self.words], timeout_s=timeout_s)
        except TimeoutError as error:
            message = f"`{program}` did not finish `{video}` within {timeout_s:.0f} s"
            raise VastError("vast_timeout", message, hint="try it alone on this video") from error
        except OSError as error:
            raise VastError("vast_option_invalid", f"`{program}` does not start: {error}") from error
        if result.status:
            reason = (result.stderr.strip().splitlines() or ["no message"])[-1][:MAX_MESSAGE]
            message = f"`{program}` ended with status {result.status} on `{video}`: {reason}"
            raise VastError("vast_worker_died", message, hint="try it alone on this video")
        lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
        if len(lines) > 1 or len(result.stdout) > MAX_OUTPUT:
            message = (
                f"`{program}` printed {len(lines)} lines ({len(result.stdout)} characters) about `{video}`, not one"
            )
            raise VastError("vast_record_invalid", message, hint="let it write everything else to its standard error")
        return lines[0] if lines else ""

    def version(self) -> str | None:
        """First line of what the program prints with `--version` in the video's place, or None."""
        words = [word.replace(PLACEHOLDER, "--version") for word in self.words]
        try:
            result = process.run(words, timeout_s=VERSION_S)
        except OSError:  # does not start or takes too long: the version is optional
            return None
        lines = (result.stdout.strip() or result.stderr.strip()).splitlines()
        return lines[0][:MAX_MESSAGE] if result.status == 0 and lines else None

"""The job log of `--joblog`: one line per job, in the columns of GNU parallel and some more."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from vast_cli.core.files import write_error

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Code", "Id", "Output")


class JobLog:
    """Listener that appends a line of tab-separated columns when a job ends.

    As in GNU parallel, `Seq` is the job's number, `Starttime` is in seconds since 1970 and `JobRuntime` in seconds;
    `Send`, `Receive` and `Signal` are 0. `Code` is empty if the job succeeded.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._host = socket.gethostname()
        self._started: dict[str, tuple[int, str]] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write a line if a job ended."""
        if event == "job_started":
            self._started[fields["id"]] = fields["index"], fields["output"]
        elif event in ("job_done", "job_failed"):
            self._write(fields)

    def _write(self, fields: Mapping[str, Any]) -> None:
        index, output = self._started.get(fields["id"], (fields.get("index", 0), ""))
        seconds = fields["seconds"]
        row = (
            index, self._host, f"{time.time() - seconds:.3f}", f"{seconds:.3f}", 0, 0, fields.get("exit", 0), 0,
            fields.get("code", ""), fields["id"], fields.get("output", output),
        )  # fmt: skip
        self._stream.write("\t".join(_cell(value) for value in row) + "\n")
        self._stream.flush()


def _cell(value: Any) -> str:
    """Escape tabs and line ends, which a path may hold."""
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


@contextmanager
def job_log(path: Path) -> Iterator[JobLog]:
    """A `JobLog` that appends to `path`; a new file gets a line of column names.

    Raises:
        VastError: `vast_output_unwritable`.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise write_error(error, path) from error
    with stream:
        if path.stat().st_size == 0:
            stream.write("\t".join(COLUMNS) + "\n")
        yield JobLog(stream)

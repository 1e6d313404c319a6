"""The events of a batch: their fields and JSON Schema, a JSON Lines writer, and a thread that delivers them."""

import io
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from vast_cli.batch.timestamps import utc_timestamp
from vast_cli.core.errors import ERROR_KINDS
from vast_cli.core.files import write_error

VERSION = 1
PROGRESS_EVERY_S = 1.0  # of one job
MAX_QUEUED = 2_000  # events; a listener further behind misses progress, never anything else
log = logging.getLogger(__name__)

EventSink: TypeAlias = Callable[..., None]  # (event, **fields)
Listener: TypeAlias = Callable[[str, Mapping[str, Any]], None]  # an event of `EVENTS` and its fields; in one thread
Stream: TypeAlias = IO[bytes] | io.FileIO


def _field(kind: str | list[str], description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


_ID = _field("string", "id of the job")
_INDEX = _field("integer", "position in the manifest, from 1")
_WORKER = _field("integer", "number of the worker, from 0")
_ATTEMPT = _field("integer", "from 1")
_STAGE = _field("string", "name of the stage")
_OUTPUT = _field("string", "path of the video")
_SECONDS = _field("number", "wall time")
_CODE = {"enum": sorted(ERROR_KINDS), "description": "error code"}
_X = {"type": "object", "description": "the manifest's `x_...` cells", "additionalProperties": {"type": "string"}}
_COUNTS = {"type": "object", "description": "jobs by reason", "additionalProperties": {"type": "integer"}}
_GATES = {"type": "object", "additionalProperties": {"type": ["number", "null"]}, "description": "measured values"}

# event -> fields that are always present; new versions only add fields
EVENTS: dict[str, dict[str, dict[str, Any]]] = {
    "run_started": {
        "jobs": _field("integer", "in the manifest, or in this shard of it"),
        "to_run": _field("integer", "jobs that need work"),
        "skipped": _field("integer", "jobs that are done already"),
        "executor": _field("string", "local or ray"),
        "slots": _field("integer", "workers at once"),
        "state": _field("string", "path of the state folder"),
    },
    "plan": {
        "counts": _COUNTS,
        "estimate_s": _field(["number", "null"], "wall time expected"),
        "estimate_bytes": _field(["integer", "null"], "disk space expected"),
    },
    "job_started": {
        "id": _ID,
        "index": _INDEX,
        "worker": _WORKER,
        "pid": _field("integer", "process of the worker"),
        "attempt": _ATTEMPT,
        "output": _OUTPUT,
        "sound_s": _field(["number", "null"], "length of the audio, if known"),
    },
    "stage": {"id": _ID, "worker": _WORKER, "stage": _STAGE},
    "progress": {
        "id": _ID,
        "worker": _WORKER,
        "stage": _STAGE,
        "frames_done": _field("integer", "units of the stage that are finished"),
        "frames_total": _field(["integer", "null"], "units of the stage, if known"),
        "fps": _field(["number", "null"], "units a second, lately"),
        "eta_s": _field(["number", "null"], "seconds left of the stage"),
    },
    "warning": {
        "id": _field(["string", "null"], "id of the job, if it concerns one"),
        "message": _field("string", "text"),
    },
    "job_done": {
        "id": _ID,
        "worker": _field(["integer", "null"], "number of the worker; null if adopted"),
        "attempt": _field("integer", "from 1; 0 if adopted"),
        "output": _OUTPUT,
        "seconds": _SECONDS,
        "frames": _field("integer", "rendered by this run"),
        "duration_s": _field(["number", "null"], "of the video"),
        "gates": _GATES,
        "action": {"enum": ["run", "adopt"], "description": "rendered, or found finished"},
    },
    "job_failed": {
        "id": _ID,
        "worker": _field(["integer", "null"], "number of the worker; null if it never reached one"),
        "attempt": _field("integer", "the last one; 0 if it was never tried"),
        "code": _CODE,
        "exit": _field("integer", "exit status of the code"),
        "message": _field("string", "what happened"),
        "where": _field(["string", "null"], "file, time or row"),
        "hint": _field("string", "how to fix it"),
        "seconds": _SECONDS,
    },
    "job_retried": {
        "id": _ID,
        "attempt": _field("integer", "the next one"),
        "wait_s": _field("number", "pause before it"),
        "code": _CODE,
    },
    "job_skipped": {"id": _ID, "reason": _field("string", "why it needs no work")},
    "worker_died": {
        "worker": _WORKER,
        "id": _field(["string", "null"], "job it was running"),
        "reason": _field("string", "how it ended, as far as known"),
    },
    "run_done": {
        "done": _field("integer", "jobs rendered by this run"),
        "adopted": _field("integer", "jobs found finished"),
        "failed": _field("integer", "jobs that were given up"),
        "skipped": _field("integer", "jobs that were done already"),
        "not_started": _field("integer", "jobs left over"),
        "seconds": _SECONDS,
        "frames": _field("integer", "rendered by this run"),
        "exit": _field("integer", "exit status"),
        "why": _field(
            ["string", "null"], "why it stopped early: max_failures, breaker:CODE, interrupted; null if it did not"
        ),
    },
}
OPTIONAL: dict[str, dict[str, dict[str, Any]]] = {
    name: {"x": _X} for name in ("job_started", "job_done", "job_failed")
}  # present if the manifest has `x_...` columns


def schema() -> dict[str, Any]:
    """JSON Schema of one line of `--events`."""
    return {
        "title": "One line of `--events` (JSON Lines)",
        "type": "object",
        "required": ["v", "t", "run", "event"],
        "properties": {
            "v": {"const": VERSION},
            "t": {"type": "string", "description": "UTC, ISO 8601 with milliseconds"},
            "run": {"type": "string", "description": "id of the run"},
            "event": {"enum": list(EVENTS)},
        },
        "oneOf": [
            {
                "properties": {"event": {"const": name}} | fields | OPTIONAL.get(name, {}),
                "required": ["event", *fields],
            }
            for name, fields in EVENTS.items()
        ],
    }


class JsonLines:
    """Listener that writes each event at once as one line of JSON.

    A reader that went away, or a full disk, ends the writing, not the batch.
    """

    def __init__(self, stream: Stream, run: str) -> None:
        self._stream: Stream | None = stream
        self._run = run
        self._last_progress: dict[str, float] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._stream is None or self._is_too_soon(event, fields):
            return
        document = {"v": VERSION, "t": utc_timestamp(), "run": self._run, "event": event, **fields}
        line = json.dumps(document, ensure_ascii=False)
        try:
            # a file name that is not UTF-8 becomes a JSON escape, so the line stays UTF-8
            _write_all(self._stream, (line + "\n").encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            self._stream = None
        except OSError as error:
            self._stream = None
            log.warning("events are no longer written: %s", error.strerror or error)

    def _is_too_soon(self, event: str, fields: Mapping[str, Any]) -> bool:
        if event != "progress":
            return False
        instant = time.monotonic()
        if instant - self._last_progress.get(fields["id"], -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
            return True
        self._last_progress[fields["id"]] = instant
        return False


@contextmanager
def json_lines(path: Path, run: str) -> Iterator[JsonLines]:
    """A `JsonLines` that appends to the file or pipe `path`; `-` is standard output.

    The stream has no buffer, so a reader that goes away cannot cause an error when it is closed.

    Raises:
        VastError: `vast_output_unwritable`.
    """
    try:
        if str(path) == "-":
            stream = io.FileIO(sys.stdout.fileno(), "w", closefd=False)
        else:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            stream = io.FileIO(path, "a")
    except OSError as error:
        raise write_error(error, path) from error
    with stream:
        yield JsonLines(stream, run)


def _write_all(stream: Stream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # an unbuffered stream may write only a part
        rest = rest[stream.write(rest) :]
    stream.flush()


class Broadcast:
    """Delivers events to listeners in a thread of its own, so that a slow terminal or pipe never holds up a batch.

    A listener that raises is removed with one line in the log.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = list(listeners)
        self._queue: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="events", daemon=True)
        self._thread.start()

    def emit(self, event: str, **fields: Any) -> None:
        """Queue an event; returns at once."""
        if event == "progress" and self._queue.qsize() > MAX_QUEUED:
            return
        self._queue.put((event, fields))

    def close(self, timeout_s: float | None = None) -> None:
        """Wait until all events are delivered, at most `timeout_s`."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _deliver(self) -> None:
        while (item := self._queue.get()) is not None:
            for listener in list(self._listeners):
                try:
                    listener(*item)
                except BrokenPipeError:
                    self._listeners.remove(listener)
                except Exception as error:
                    self._listeners.remove(listener)
                    detail = log.isEnabledFor(logging.DEBUG)
                    log.warning("a listener failed at `%s` and is removed: %s", item[0], error, exc_info=detail)

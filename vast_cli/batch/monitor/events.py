"""What a batch tells while it runs: the vocabulary, its schema, JSON Lines, the thread that carries it to listeners."""

import io
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, TypeAlias

from vast_cli.core.errors import KINDS
from vast_cli.core.files import write_error

VERSION = 1
PROGRESS_EVERY_S = 1.0  # of one job
MAX_WAITING = 2_000  # events; a listener that hangs further back misses progress, never anything else
log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[..., None]  # (event, **fields)
Listener: TypeAlias = Callable[[str, Mapping[str, Any]], None]  # of one thread; an event of `EVENTS`, its fields
Stream: TypeAlias = IO[bytes] | io.FileIO


def _of(kind: str | list[str], description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


_ID = _of("string", "id of the job")
_INDEX = _of("integer", "place in the manifest, from 1")
_WORKER = _of("integer", "slot of the worker, from 0")
_ATTEMPT = _of("integer", "from 1")
_STAGE = _of("string", "name of the stage")
_OUTPUT = _of("string", "path of the video")
_SECONDS = _of("number", "wall time")
_CODE = {"enum": sorted(KINDS), "description": "error code"}
_X = {"type": "object", "description": "the manifest's `x_...` cells", "additionalProperties": {"type": "string"}}
_COUNTS = {"type": "object", "description": "jobs by reason", "additionalProperties": {"type": "integer"}}
_GATES = {"type": "object", "additionalProperties": {"type": ["number", "null"]}, "description": "figures measured"}

# event -> fields that are always there; only added to
EVENTS: dict[str, dict[str, dict[str, Any]]] = {
    "run_started": {
        "jobs": _of("integer", "in the manifest, or in this shard of it"),
        "to_run": _of("integer", "jobs that need work"),
        "skipped": _of("integer", "jobs that are done already"),
        "executor": _of("string", "local or ray"),
        "slots": _of("integer", "workers at once"),
        "state": _of("string", "path of the state folder"),
    },
    "plan": {
        "counts": _COUNTS,
        "estimate_s": _of(["number", "null"], "wall time expected"),
        "estimate_bytes": _of(["integer", "null"], "disk space expected"),
    },
    "job_started": {
        "id": _ID,
        "index": _INDEX,
        "worker": _WORKER,
        "pid": _of("integer", "process of the worker"),
        "attempt": _ATTEMPT,
        "output": _OUTPUT,
        "sound_s": _of(["number", "null"], "length of the sound, if known"),
    },
    "stage": {"id": _ID, "worker": _WORKER, "stage": _STAGE},
    "progress": {
        "id": _ID,
        "worker": _WORKER,
        "stage": _STAGE,
        "frames_done": _of("integer", "units of the stage that are finished"),
        "frames_total": _of(["integer", "null"], "units of the stage, if known"),
        "fps": _of(["number", "null"], "units a second, lately"),
        "eta_s": _of(["number", "null"], "seconds left of the stage"),
    },
    "warning": {"id": _of(["string", "null"], "id of the job, if it concerns one"), "message": _of("string", "text")},
    "job_done": {
        "id": _ID,
        "worker": _of(["integer", "null"], "slot of the worker; null if adopted"),
        "attempt": _of("integer", "from 1; 0 if adopted"),
        "output": _OUTPUT,
        "seconds": _SECONDS,
        "frames": _of("integer", "made now"),
        "duration_s": _of(["number", "null"], "of the video"),
        "gates": _GATES,
        "action": {"enum": ["run", "adopt"], "description": "made, or found finished"},
    },
    "job_failed": {
        "id": _ID,
        "worker": _of(["integer", "null"], "slot of the worker; null if it never reached one"),
        "attempt": _of("integer", "the last one; 0 if it was never tried"),
        "code": _CODE,
        "exit": _of("integer", "exit status of the code"),
        "message": _of("string", "what happened"),
        "where": _of(["string", "null"], "file, time or row"),
        "hint": _of("string", "what helps"),
        "seconds": _SECONDS,
    },
    "job_retried": {
        "id": _ID,
        "attempt": _of("integer", "the coming one"),
        "wait_s": _of("number", "pause before it"),
        "code": _CODE,
    },
    "job_skipped": {"id": _ID, "reason": _of("string", "why it needs no work")},
    "worker_died": {
        "worker": _WORKER,
        "id": _of(["string", "null"], "job it was running"),
        "reason": _of("string", "what is known of its end"),
    },
    "run_done": {
        "done": _of("integer", "jobs made now"),
        "adopted": _of("integer", "jobs found finished"),
        "failed": _of("integer", "jobs that failed for good"),
        "skipped": _of("integer", "jobs that were done already"),
        "not_started": _of("integer", "jobs left over"),
        "seconds": _SECONDS,
        "frames": _of("integer", "made now"),
        "exit": _of("integer", "exit status"),
        "why": _of(["string", "null"], "max_failures, breaker:CODE, interrupted, or null: it went to its end"),
    },
}
OPTIONAL: dict[str, dict[str, dict[str, Any]]] = {
    name: {"x": _X} for name in ("job_started", "job_done", "job_failed")
}  # present where there is something to say


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


def now() -> str:
    """This instant as events and journals have it: UTC with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines:
    """Listener that writes each event as one line of JSON, at once.

    A reader that went away, or a full disk, ends the writing, never the batch.
    """

    def __init__(self, stream: Stream, run: str) -> None:
        self._stream: Stream | None = stream
        self._run = run
        self._last: dict[str, float] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._stream is None or self._too_soon(event, fields):
            return
        line = json.dumps({"v": VERSION, "t": now(), "run": self._run, "event": event, **fields}, ensure_ascii=False)
        try:
            # a name that is not UTF-8 becomes a JSON escape, so the line stays UTF-8
            _write_whole(self._stream, (line + "\n").encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            self._stream = None
        except OSError as error:
            self._stream = None
            log.warning("events are no longer written: %s", error.strerror or error)

    def _too_soon(self, event: str, fields: Mapping[str, Any]) -> bool:
        if event != "progress":
            return False
        instant = time.monotonic()
        if instant - self._last.get(fields["id"], -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
            return True
        self._last[fields["id"]] = instant
        return False


@contextmanager
def json_lines(path: Path, run: str) -> Iterator[JsonLines]:
    """A `JsonLines` at the end of file or pipe `path`; `-` is standard output.

    Nothing waits in a buffer: what a reader has not got when it goes away is lost, not an error at the end.

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


def _write_whole(stream: Stream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # an unbuffered stream may take less than it is given
        rest = rest[stream.write(rest) :]
    stream.flush()


class Broadcast:
    """Carries events to listeners in a thread of its own, so that a slow terminal or pipe never holds up a batch.

    A listener that raises is dropped with one line in the log. `close` waits until all was heard.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = list(listeners)
        self._queue: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._carry, name="events", daemon=True)
        self._thread.start()

    def tell(self, event: str, **fields: Any) -> None:
        """Send an event; returns at once."""
        if event == "progress" and self._queue.qsize() > MAX_WAITING:
            return
        self._queue.put((event, fields))

    def close(self, timeout_s: float | None = None) -> None:
        """Wait until the listeners have heard everything, `timeout_s` at most."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _carry(self) -> None:
        while (item := self._queue.get()) is not None:
            for listener in list(self._listeners):
                try:
                    listener(*item)
                except BrokenPipeError:
                    self._listeners.remove(listener)
                except Exception as error:
                    self._listeners.remove(listener)
                    detail = log.isEnabledFor(logging.DEBUG)
                    log.warning("a listener of `%s` failed and hears no more: %s", item[0], error, exc_info=detail)

"""JSON Schema of a journal's lines."""

from typing import Any

from vast_cli.batch.state.lines import EVENTS, VERSION

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}


def journal_schema() -> dict[str, Any]:
    """JSON Schema of one line of a journal."""
    ended = {name: WHOLE for name in ("done", "failed", "skipped", "not_started", "exit")}
    job = {"id": TEXT, "attempt": {"type": "integer", "minimum": 0}}
    fields: dict[str, dict[str, Any]] = {
        "run_started": {},
        "job_started": job | {"fp": TEXT, "output": TEXT},
        "job_done": job
        | {
            "fp": TEXT,
            "origin": _origin_schema(),
            "output": TEXT,
            "size": WHOLE,
            "mtime_ns": WHOLE,
            "sha256": TEXT,
            "action": {"enum": ["run", "adopt"]},
        },
        "job_failed": job | {"code": TEXT, "message": TEXT, "hint": TEXT},
        "job_interrupted": job,
        "run_done": ended | {"seconds": NUMBER, "why": {"type": ["string", "null"]}},
    }
    assert tuple(fields) == EVENTS
    return {
        "title": "One line of a batch's journal (JSON Lines)",
        "type": "object",
        "required": ["v", "seq", "t", "run", "event", "crc"],
        "properties": {
            "v": {"const": VERSION},
            "seq": {"type": "integer", "minimum": 1, "description": "counts up by one; order is that of lines"},
            "t": {"type": "string", "description": "UTC, ISO 8601 with milliseconds; clocks may jump"},
            "run": {"type": "string", "description": "id of the run"},
            "event": {"enum": list(EVENTS)},
            "crc": {
                "type": "string",
                "pattern": "^[0-9a-f]{8}$",
                "description": 'CRC-32 of the line\'s bytes with `,"crc":"..."` taken out',
            },
        },
        "oneOf": [
            {"properties": {"event": {"const": name}} | rows, "required": ["event", *rows]}
            for name, rows in fields.items()
        ],
    }


def _origin_schema() -> dict[str, Any]:
    hashes = {"type": "object", "additionalProperties": TEXT}
    return {
        "type": "object",
        "description": "what the bytes depend on; `fp` is the SHA-256 of its canonical JSON",
        "required": ["inputs", "options", "models", "avatar", "format"],
        "properties": {
            "inputs": hashes | {"description": "role -> SHA-256"},
            "options": {"type": "object"},
            "models": hashes | {"description": "name -> first 16 digits of its SHA-256"},
            "avatar": TEXT,
            "format": WHOLE,
        },
    }

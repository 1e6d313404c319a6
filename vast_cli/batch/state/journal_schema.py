"""Describes the lines of a journal as JSON Schema."""

from typing import Any

from vast_cli.batch.state.journal_lines import EVENTS, VERSION

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}


def journal_schema() -> dict[str, Any]:
    """JSON Schema of one line of a journal."""
    run_counts = {name: INTEGER for name in ("done", "failed", "skipped", "not_started", "exit")}
    job = {"id": STRING, "attempt": {"type": "integer", "minimum": 0}}
    fields: dict[str, dict[str, Any]] = {
        "run_started": {},
        "job_started": job | {"fp": STRING, "output": STRING},
        "job_done": job
        | {
            "fp": STRING,
            "origin": _fingerprint_schema(),
            "output": STRING,
            "size": INTEGER,
            "mtime_ns": INTEGER,
            "sha256": STRING,
            "action": {"enum": ["run", "adopt"]},
        },
        "job_failed": job | {"code": STRING, "message": STRING, "hint": STRING},
        "job_interrupted": job,
        "run_done": run_counts | {"seconds": NUMBER, "why": {"type": ["string", "null"]}},
    }
    assert tuple(fields) == EVENTS
    return {
        "title": "One line of a batch's journal (JSON Lines)",
        "type": "object",
        "required": ["v", "seq", "t", "run", "event", "crc"],
        "properties": {
            "v": {"const": VERSION},
            "seq": {"type": "integer", "minimum": 1, "description": "counts up by one; the order is that of the lines"},
            "t": {"type": "string", "description": "UTC, ISO 8601 with milliseconds; clocks may jump"},
            "run": {"type": "string", "description": "id of the run"},
            "event": {"enum": list(EVENTS)},
            "crc": {
                "type": "string",
                "pattern": "^[0-9a-f]{8}$",
                "description": 'CRC-32 of the line\'s bytes without `,"crc":"..."`',
            },
        },
        "oneOf": [
            {"properties": {"event": {"const": name}} | properties, "required": ["event", *properties]}
            for name, properties in fields.items()
        ],
    }


def _fingerprint_schema() -> dict[str, Any]:
    hashes = {"type": "object", "additionalProperties": STRING}
    return {
        "type": "object",
        "description": "what the bytes of the result depend on; `fp` is the SHA-256 of its canonical JSON",
        "required": ["inputs", "options", "models", "avatar", "format"],
        "properties": {
            "inputs": hashes | {"description": "role -> SHA-256"},
            "options": {"type": "object"},
            "models": hashes | {"description": "name -> first 16 digits of its SHA-256"},
            "avatar": STRING,
            "format": INTEGER,
        },
    }

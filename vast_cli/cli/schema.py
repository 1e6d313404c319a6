"""`vast schema`: JSON Schemas of what vast writes."""

import dataclasses
import json
from typing import Annotated, Any

import typer

from vast_cli import records
from vast_cli.cli import console
from vast_cli.core.errors import ERROR_KINDS, VastError

RECORDS: dict[str, type[records.Record]] = {
    "track": records.FaceTrack,
    "ppg": records.Posteriorgram,
    "style": records.Style,
    "motion": records.Motion,
}
JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", dict: "object"}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


SIDECAR: dict[str, Any] = {
    "title": "What a video was made from",
    "type": "object",
    "required": ["format", "format_version", "producer", "synthetic", "output", "inputs", "models", "options"],
    "properties": {
        "format": {"const": "vast.sidecar"},
        "format_version": {"const": 1},
        "producer": _text("name and version of the program"),
        "synthetic": {"const": True},
        "output": {
            "type": "object",
            "required": ["file", "sha256", "n_frames", "duration_s", "fps"],
            "properties": {
                "file": _text("name of the video"),
                "sha256": _text("hash of its bytes"),
                "n_frames": {"type": "integer"},
                "duration_s": {"type": "number"},
                "fps": {"const": 25},
            },
        },
        "inputs": {
            "type": "object",
            "description": "audio, prompt or style, avatar: name and hash each",
            "additionalProperties": {
                "type": "object",
                "required": ["name", "sha256"],
                "properties": {"name": _text("file name"), "sha256": _text("hash of its bytes")},
            },
        },
        "avatar": {"type": "object", "description": "subject, licence and consent as its card has them"},
        "models": {"type": "object", "additionalProperties": _text("hash of a model")},
        "options": {"type": "object"},
        "fingerprint": {
            "type": ["string", "null"],
            "description": "of the batch job that it is the result of; null for a single render",
        },
        "limited_share": {"type": "number"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}
CURVES: dict[str, Any] = {
    "title": "Curves of `vast predict --format json`",
    "type": "object",
    "required": ["format", "format_version", "producer", "synthetic", "fps", "n_frames", "names", "frames"],
    "properties": {
        "format": {"const": "vast.curves"},
        "format_version": {"const": 1},
        "producer": _text("name and version of the program"),
        "synthetic": {"const": True},
        "fps": {"type": "number"},
        "n_frames": {"type": "integer"},
        "duration_s": {"type": "number", "description": "length of the audio"},
        "limited_share": {"type": "number"},
        "audio": _text("name of the audio file"),
        "avatar": _text("name of the avatar"),
        "style": {"type": ["string", "null"], "description": "as it was given; null: the avatar's own"},
        "options": {"type": "object"},
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 52, "maxItems": 52},
        "frames": {
            "type": "array",
            "description": "a row a frame: weights in the order of `names`",
            "items": {
                "type": "array",
                "items": {"type": "number", "minimum": 0, "maximum": 1},
                "minItems": 52,
                "maxItems": 52,
            },
        },
        "rotation_names": {"type": "array", "items": {"type": "string"}, "minItems": 9, "maxItems": 9},
        "rotations": {
            "type": "array",
            "description": "a row a frame: radians in the order of `rotation_names`",
            "items": {"type": "array", "items": {"type": "number"}, "minItems": 9, "maxItems": 9},
        },
    },
}
ERROR: dict[str, Any] = {
    "title": "A failure, as `--json` prints it",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "exit", "message", "where", "hint"],
            "properties": {
                "code": {"enum": sorted(ERROR_KINDS)},
                "exit": {"type": "integer"},
                "message": {"type": "string"},
                "where": {"type": ["string", "null"]},
                "hint": {"type": "string"},
            },
        }
    },
}


NUMBER: dict[str, Any] = {"type": ["number", "null"]}
CONTROLS: dict[str, Any] = {"type": "object", "additionalProperties": NUMBER}
EVALUATION: dict[str, Any] = {
    "title": "Figures of `vast evaluate --json`",
    "type": "object",
    "required": ["schema", "version", "seed", "set", "measures", "clips"],
    "properties": {
        "schema": {"const": "vast.evaluate/1"},
        "version": _text("name and version of the program"),
        "seed": {"type": "integer"},
        "set": {"type": "object", "required": ["clips", "failed", "frames", "fps", "crop", "models"]},
        "measures": {
            "type": "object",
            "description": "of the set; docs/measures.md says what each is",
            "additionalProperties": {
                "type": "object",
                "required": ["value", "ci95", "n", "unit", "better", "skill", "version", "controls", "valid", "reason"],
                "properties": {
                    "value": NUMBER,
                    "ci95": {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                    "n": {"type": "integer"},
                    "skill": NUMBER | {"description": "0 at the floor, 1 at the ceiling"},
                    "ceiling": NUMBER,
                    "floor": NUMBER,
                    "controls": CONTROLS,
                    "valid": {"type": ["boolean", "null"], "description": "null: no controls to check it by"},
                    "reason": {"type": ["string", "null"], "description": "why there is no value, or why not valid"},
                },
            },
        },
        "clips": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "output", "measures", "flags", "error"],
                "properties": {
                    "measures": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["value", "reason", "controls"],
                            "properties": {"value": NUMBER, "controls": CONTROLS},
                        },
                    },
                    "flags": {"type": "array", "items": {"type": "object", "required": ["measure", "level", "text"]}},
                    "error": {"type": ["object", "null"]},
                },
            },
        },
    },
}


COUNT: dict[str, Any] = {"type": ["integer", "null"]}
REPORT: dict[str, Any] = {
    "title": "A batch as `report.json` has it, worst jobs first",
    "type": "object",
    "required": ["schema", "manifest", "folder", "exit", "why", "counts", "this_run", "groups", "jobs"],
    "properties": {
        "schema": {"const": "vast.batch-report/1"},
        "exit": COUNT,
        "why": {"type": ["string", "null"], "description": "what stopped the run early"},
        "seconds": NUMBER,
        "frames": COUNT,
        "fps": NUMBER,
        "counts": {"type": "object", "description": "jobs by state", "additionalProperties": {"type": "integer"}},
        "this_run": {"type": "object", "description": "what the last run did"},
        "groups": {
            "type": "array",
            "description": "failures by code, the most frequent first",
            "items": {"type": "object", "required": ["code", "count", "hint"]},
        },
        "jobs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "index", "state", "code", "message", "hint", "output", "gates", "missed", "x"],
                "properties": {
                    "id": _text("of the job"),
                    "state": {"enum": ["failed", "rejected", "interrupted", "warned", "not_started", "done"]},
                    "code": {"enum": [*sorted(ERROR_KINDS), None]},
                    "seconds": NUMBER,
                    "frames": COUNT,
                    "duration_s": NUMBER,
                    "gates": {"type": "object", "additionalProperties": NUMBER},
                    "missed": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


def record_schema(kind: type[records.Record]) -> dict[str, Any]:
    """Schema of a record's JSON header, with its tensors described beside it."""
    header = {f.name: f for f in dataclasses.fields(kind) if f.name not in kind.SHAPES}
    annotations: dict[str, Any] = {name: getattr(f.type, "__origin__", f.type) for name, f in header.items()}
    return {
        "title": f"Header of a {kind.FORMAT} file (safetensors)",
        "type": "object",
        "required": sorted(header),
        "properties": {name: {"type": JSON_TYPES.get(kind_, "string")} for name, kind_ in annotations.items()},
        "x-format": kind.FORMAT,
        "x-format-version": kind.VERSION,
        "x-tensors": {
            name: {"shape": list(dims), "dtype": kind.DTYPES.get(name, "float32")} for name, dims in kind.SHAPES.items()
        },
    }


def schemas() -> dict[str, dict[str, Any]]:
    """All schemas by name."""
    from vast_cli.batch import manifest  # pydantic is not needed for the rest
    from vast_cli.batch.monitor import events  # pydantic is not needed for the rest
    from vast_cli.batch.state.journal_schema import journal_schema

    fixed = {"sidecar": SIDECAR, "curves": CURVES, "error": ERROR, "evaluation": EVALUATION, "report": REPORT}
    of_batches = {"manifest": manifest.manifest_schema(), "journal": journal_schema(), "events": events.schema()}
    return fixed | of_batches | {name: record_schema(kind) for name, kind in RECORDS.items()}


def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="manifest, events, journal, report, sidecar, error, evaluation, track, ppg, style, motion or curves."
        ),
    ],
) -> None:
    """Print the JSON Schema of a file that vast writes.

    vast schema events
    """
    with console.run():
        known = schemas()
        if name not in known:
            raise VastError("vast_option_invalid", f"no schema `{name}`", hint=f"known: {', '.join(known)}")
        typer.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | known[name], indent=2))

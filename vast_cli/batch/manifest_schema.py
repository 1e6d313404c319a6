"""JSON Schema of manifests, made from the model that reads them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vast_cli.batch.options import KEYS, Options

SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
LISTS: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"anyOf": [{"enum": []}, {"pattern": "^x[-_]"}]},
    "additionalProperties": {"anyOf": [SCALAR, {"type": "array", "items": SCALAR, "minItems": 1}]},
}


class _Job(Options):
    """One job: its files and what differs from `defaults`. Relative paths start at the manifest's folder."""

    model_config = ConfigDict(title="Job")

    id: str | int | None = Field(None, description="A-Z a-z 0-9 . _ -; made of the files' stems if not given")
    audio: str | None = Field(None, description="sound to speak: any audio or video file")
    prompt: str | None = Field(None, description="video whose manner is imitated")
    style: str | None = Field(None, description="style file instead of a prompt")
    avatar: str | None = Field(None, description="name of an avatar, or the path of a bundle")
    preset: str | None = Field(None, description="named set of options")
    output: str | None = Field(None, description="template of the output: out/{x_lang|en}/{id}.mp4")


class _Document(BaseModel):
    """A manifest in YAML or JSON."""

    model_config = ConfigDict(extra="forbid", title="Manifest")

    version: Literal[1] = 1
    defaults: _Job | None = Field(None, description="hold where a job says nothing")
    jobs: list[_Job] | None = None
    matrix: dict[str, Any] | None = Field(None, description="every combination of these lists; files may be globs")
    zip: dict[str, Any] | None = Field(None, description="these lists side by side")
    exclude: list[_Job] | None = Field(None, description="combinations left out; text may hold * and ?")


def schema() -> dict[str, Any]:
    """JSON Schema of a manifest in YAML or JSON, or of one line of JSON Lines."""
    document = _Document.model_json_schema()
    definitions = document.pop("$defs")
    job = definitions.pop("_Job")
    _spell_both_ways(job)
    rule: dict[str, Any] = {
        "type": "object",
        "propertyNames": {"anyOf": [{"enum": sorted(job["properties"])}, {"pattern": "^x[-_]"}]},
        "additionalProperties": SCALAR,
    }
    lists = LISTS | {"propertyNames": rule["propertyNames"]}
    for name in ("matrix", "zip"):
        document["properties"][name] = {"anyOf": [lists, {"type": "null"}]}
    document["properties"]["exclude"] = {"anyOf": [{"type": "array", "items": rule}, {"type": "null"}]}
    text = {"$ref": "#/$defs/Job"}
    for name in ("defaults", "jobs"):
        _point(document["properties"][name], text)
    return {
        "title": "A batch of renders: a YAML or JSON document, or one line of JSON Lines",
        "anyOf": [{"$ref": "#/$defs/Manifest"}, text],
        "$defs": {"Manifest": document, "Job": job, **definitions},
    }


def _spell_both_ways(job: dict[str, Any]) -> None:
    """`style-strength` is as good as `style_strength`; `x_anything` is carried along."""
    job["properties"] |= {key.replace("_", "-"): value for key, value in job["properties"].items() if "_" in key}
    job["patternProperties"] = {"^x[-_][A-Za-z0-9_-]{1,64}$": SCALAR}
    for name in KEYS:
        job["properties"][name].pop("title", None)


def _point(node: Any, target: dict[str, Any]) -> None:
    """Let references to the job's model lead to where it lies now."""
    if isinstance(node, dict):
        if node.get("$ref") == "#/$defs/_Job":
            node.update(target)
        for value in node.values():
            _point(value, target)
    elif isinstance(node, list):
        for value in node:
            _point(value, target)

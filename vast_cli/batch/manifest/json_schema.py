"""JSON Schema of manifests, generated from the models of their options."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vast_cli.batch.manifest.options import JobOptions

SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
LIST: dict[str, Any] = {"anyOf": [SCALAR, {"type": "array", "items": SCALAR, "minItems": 1}]}


class ManifestJob(JobOptions):
    """One job: its files and what differs from `defaults`. Relative paths start at the manifest's folder."""

    model_config = ConfigDict(title="Job")

    id: str | int | None = Field(None, description="A-Z a-z 0-9 . _ -; made from the names of its files if not given")
    audio: str | None = Field(None, description="audio to speak: any audio or video file")
    prompt: str | None = Field(None, description="video whose speaking style is imitated")
    style: str | None = Field(None, description="style instead of a prompt: a name or a file")
    avatar: str | None = Field(None, description="name of an avatar, or the path of a bundle")
    preset: str | None = Field(None, description="named set of options")
    output: str | None = Field(None, description="template of the output: out/{x_lang|en}/{id}.mp4")


class ManifestDocument(BaseModel):
    """A manifest in YAML or JSON."""

    model_config = ConfigDict(extra="forbid", title="Manifest")

    version: Literal[1] = 1
    defaults: ManifestJob | None = Field(None, description="values of jobs that do not set their own")
    jobs: list[ManifestJob] | None = None
    matrix: dict[str, Any] | None = Field(None, description="every combination of these lists; files may be globs")
    zip: dict[str, Any] | None = Field(None, description="these lists side by side")
    exclude: list[ManifestJob] | None = Field(None, description="combinations left out; text may hold * and ?")


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of a manifest in YAML or JSON, or of one line of JSON Lines."""
    text = json.dumps(ManifestDocument.model_json_schema())
    document = json.loads(text.replace("#/$defs/ManifestJob", "#/$defs/Job"))  # users know it as `Job`
    definitions = document.pop("$defs")
    job = definitions.pop("ManifestJob")
    _allow_spellings(job)
    names = {"anyOf": [{"enum": sorted(job["properties"])}, {"pattern": "^x[-_]"}]}
    rules = {"type": "object", "propertyNames": names, "additionalProperties": SCALAR}
    lists = rules | {"additionalProperties": LIST}
    for name, kind in {"matrix": lists, "zip": lists, "exclude": {"type": "array", "items": rules}}.items():
        document["properties"][name] |= {"anyOf": [kind, {"type": "null"}]}
    return {
        "title": "A batch of renders: a YAML or JSON document, or one line of JSON Lines",
        "anyOf": [{"$ref": "#/$defs/Manifest"}, {"$ref": "#/$defs/Job"}],
        "$defs": {"Manifest": document, "Job": job, **definitions},
    }


def _allow_spellings(job: dict[str, Any]) -> None:
    """Allow `style-strength` for `style_strength`, any `x_...`, and null where a value may be missing."""
    job["patternProperties"] = {"^x[-_][A-Za-z0-9_-]{1,64}$": SCALAR}
    for name, value in job["properties"].items():
        value.pop("default", None)  # `defaults`, preset and environment come before it
        if {"type": "null"} not in value.get("anyOf", []):
            description = value.pop("description")
            job["properties"][name] = {"anyOf": [value, {"type": "null"}], "description": description}
    job["properties"] |= {key.replace("_", "-"): value for key, value in job["properties"].items() if "_" in key}

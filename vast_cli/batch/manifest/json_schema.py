"""JSON Schema of manifests, made from the model that reads them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vast_cli.batch.manifest.options import Options

SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
LIST: dict[str, Any] = {"anyOf": [SCALAR, {"type": "array", "items": SCALAR, "minItems": 1}]}


class Job(Options):
    """One job: its files and what differs from `defaults`. Relative paths start at the manifest's folder."""

    model_config = ConfigDict(title="Job")

    id: str | int | None = Field(None, description="A-Z a-z 0-9 . _ -; made of the files' stems if not given")
    audio: str | None = Field(None, description="sound to speak: any audio or video file")
    prompt: str | None = Field(None, description="video whose manner is imitated")
    style: str | None = Field(None, description="style file instead of a prompt")
    avatar: str | None = Field(None, description="name of an avatar, or the path of a bundle")
    preset: str | None = Field(None, description="named set of options")
    output: str | None = Field(None, description="template of the output: out/{x_lang|en}/{id}.mp4")


class Document(BaseModel):
    """A manifest in YAML or JSON."""

    model_config = ConfigDict(extra="forbid", title="Manifest")

    version: Literal[1] = 1
    defaults: Job | None = Field(None, description="hold where a job says nothing")
    jobs: list[Job] | None = None
    matrix: dict[str, Any] | None = Field(None, description="every combination of these lists; files may be globs")
    zip: dict[str, Any] | None = Field(None, description="these lists side by side")
    exclude: list[Job] | None = Field(None, description="combinations left out; text may hold * and ?")


def schema() -> dict[str, Any]:
    """JSON Schema of a manifest in YAML or JSON, or of one line of JSON Lines."""
    document = Document.model_json_schema()
    definitions = document.pop("$defs")
    job = definitions.pop("Job")
    _spell_both_ways(job)
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


def _spell_both_ways(job: dict[str, Any]) -> None:
    """`style-strength` is as good as `style_strength`; `x_anything` is carried along; null is as good as nothing."""
    job["patternProperties"] = {"^x[-_][A-Za-z0-9_-]{1,64}$": SCALAR}
    for name, value in job["properties"].items():
        value.pop("default", None)  # `defaults`, preset and environment come before it
        if {"type": "null"} not in value.get("anyOf", []):
            about = value.pop("description")
            job["properties"][name] = {"anyOf": [value, {"type": "null"}], "description": about}
    job["properties"] |= {key.replace("_", "-"): value for key, value in job["properties"].items() if "_" in key}

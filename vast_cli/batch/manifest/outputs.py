"""Fills in the output of each job, and reports outputs that collide with each other or with inputs."""

import functools
import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from vast_cli.batch.job import Job
from vast_cli.batch.manifest.cells import has_separator
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.ids import stem
from vast_cli.batch.manifest.output_template import FieldValue, OutputTemplate
from vast_cli.core.errors import VastError
from vast_cli.pipeline.publish import rejected_path
from vast_cli.store import styles

# fields of templates whose values change with the manifest or the day
UNSTABLE_FIELDS = {"index": "a job's position", "total": "the number of jobs", "date": "the day"}


@dataclass(frozen=True)
class UnnamedJob:
    """A job whose output is not filled in yet.

    Attributes:
        job: the job, without its output.
        template: of its output.
        order: of its faults.
    """

    job: Job
    template: OutputTemplate
    order: int


def fill_outputs(unnamed: Sequence[UnnamedJob], folder: Path, faults: Faults, warnings: list[str]) -> list[Job]:
    """The jobs with their outputs. An output that two jobs share, or that is an input, is a fault."""
    now = datetime.now().astimezone()
    keys = _PathKeys()
    named: list[tuple[Job, int]] = []
    taken: dict[str, Job] = {}  # key of an output -> the first job that has it
    for one in unnamed:
        job, template = one.job, one.template
        warnings += [
            f"`{template.text}`: `{{{name}}}` is {UNSTABLE_FIELDS[name]}; "
            "after a change of the manifest, finished outputs will not be found"
            for name in template.fields & UNSTABLE_FIELDS.keys()
        ]
        try:
            output = template.fill(_field_values(job, template, len(unnamed), now, folder))
        except VastError as error:
            hint = f"; {error.hint}" if error.hint.startswith("`{") else ""
            faults.add(job.where, f"`{template.text}`: {error.message}{hint}", key="output", order=one.order)
            continue
        key = keys.key(str(output))
        first = taken.setdefault(key, job)
        if first.id.casefold() != job.id.casefold():  # equal ids were reported already
            faults.add(job.where, f"`{output}` is the output of {first.where} too", key="output", order=one.order)
        named.append((replace(job, output=output), one.order))
    places = {key: job.where for key, job in taken.items()}
    for job, order in named:
        _check_collisions(job, order, places, keys, faults)
    return [job for job, _ in named]


def _check_collisions(job: Job, order: int, places: Mapping[str, str], keys: "_PathKeys", faults: Faults) -> None:
    """Report inputs, and the name of a rejected result, that are the output of any job."""
    for role, source in job.inputs.items():
        other = places.get(keys.key(str(source)))
        if other is not None:
            faults.add(job.where, f"`{source}` is the output of {other}", key=role, order=order)
    rejected = rejected_path(job.output)
    other = places.get(keys.key(str(rejected)))
    if other is not None:
        text = f"below a gate it would be named `{rejected.name}`, the output of {other}"
        faults.add(job.where, text, key="output", order=order)


class _PathKeys:
    """Keys of paths that follow links and ignore case."""

    def __init__(self) -> None:
        self._real = functools.lru_cache(maxsize=None)(os.path.realpath)

    def key(self, path: str) -> str:
        """Equal for paths that name one file on some common file system."""
        folder, name = os.path.split(path)
        text = f"{self._real(folder)}/{name}"
        return (text if text.isascii() else unicodedata.normalize("NFC", text)).casefold()


def _field_values(job: Job, template: OutputTemplate, total: int, now: datetime, folder: Path) -> dict[str, FieldValue]:
    """The values of this job for the fields of templates."""
    values: dict[str, FieldValue] = dict(job.extra)
    values |= {
        "id": job.id,
        "index": job.index,
        "total": total,
        "audio": job.audio.stem,
        "preset": job.preset,
        "prompt": job.prompt.stem if job.prompt else None,
        "style": job.style.stem if job.style else None,
        "avatar": stem(job.avatar) if has_separator(job.avatar) else job.avatar,
        "seed": job.options["seed"],
        "date": now,
        "ext": "mp4",
    }
    if "hash" in template.fields:
        values["hash"] = settings_hash(job, folder)
    return values


def settings_hash(job: Job, folder: Path) -> str:
    """SHA-256 of a job's own settings and paths, relative to the manifest: `{hash}` in an output's name.

    It is not the fingerprint, which needs the contents of all files. It changes when the manifest says something else,
    but neither when the manifest is sorted nor when its folder moves.
    """
    paths = {role: os.path.relpath(path, folder) for role, path in job.inputs.items()}
    if job.style is not None and (name := styles.name_of(job.style)) is not None:
        paths["style"] = name
    avatar = os.path.relpath(job.avatar, folder) if has_separator(job.avatar) else job.avatar
    document = {"id": job.id, "inputs": paths, "avatar": avatar, "options": job.options, "extra": job.extra}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode(errors="surrogatepass")).hexdigest()

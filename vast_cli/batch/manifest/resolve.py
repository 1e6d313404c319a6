"""Makes jobs from the values of a manifest: merges the layers, names the jobs, and fills in their outputs."""

import functools
import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import output_template
from vast_cli.batch.manifest.cells import Values, has_separator
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.ids import derive_ids
from vast_cli.batch.manifest.options import BUILT_IN, OPTIONS, PRESET_OPTIONS, as_text, check_options
from vast_cli.batch.manifest.output_template import FieldValue, OutputTemplate
from vast_cli.core.errors import ERROR_KINDS, VastError
from vast_cli.pipeline.options import MachineOptions
from vast_cli.pipeline.publish import rejected_path
from vast_cli.store import presets

AVATAR, PRESET = "obama", "standard"  # as `vast render`
# fields of templates whose values change with the manifest or the day
UNSTABLE_FIELDS = {"index": "a job's position", "total": "the number of jobs", "date": "the day"}


@dataclass(frozen=True)
class ManifestEntry:
    """A job as it is written, with its cells parsed into values."""

    where: str
    order: int
    values: Values


@dataclass(frozen=True)
class ManifestSource:
    """What jobs are made from; kept so that they can be made again with changes.

    Attributes:
        entries: of the manifest, in its order.
        layers: place and values, from weak to strong: environment, defaults, command line.
        overrides: `--set`.
        noun: what a key of the manifest is called.
    """

    entries: list[ManifestEntry]
    layers: list[tuple[str, Values]]
    overrides: Values
    noun: str


@dataclass
class _Draft:
    """A job in the making.

    Attributes:
        entry: the job as it is written.
        values: of all layers and `--set`.
        naming_values: without `--set`, which does not rename jobs.
    """

    entry: ManifestEntry
    values: Values
    naming_values: Values


def make_jobs(
    source: ManifestSource,
    folder: Path,
    path: Path | None,
    faults: Faults,
    *,
    patches: Mapping[str, Values] | None = None,
) -> tuple[list[Job], list[str]]:
    """The jobs of all entries, and warnings.

    Args:
        source: of the manifest.
        folder: where its relative paths start.
        path: of the manifest; None for standard input.
        faults: of the manifest so far.
        patches: further values of single jobs, by id, stronger than all others.

    Raises:
        VastError: `vast_manifest_invalid` with every fault; `vast_option_invalid`, `vast_preset_unknown` for a preset
            that the command line or the environment names.
    """
    warnings: list[str] = []
    base = _BaseValues(source, folder, faults, warnings)
    drafts = _drafts(source, base, faults)
    ids = _ids(drafts, faults)
    if patches:
        for draft, job_id in zip(drafts, ids, strict=True):
            _patch(draft, base, source.overrides, patches.get(job_id))
    jobs = _with_outputs(drafts, ids, folder, faults, warnings)
    faults.check(path)
    return jobs, list(dict.fromkeys(warnings))


# --- values ---------------------------------------------------------------------------------------------------------


def _merge(*layers: Values) -> Values:
    """Layers merged from weak to strong. A prompt replaces a weaker style, and a style a weaker prompt."""
    merged: Values = {}
    for layer in layers:
        if "prompt" in layer:
            merged.pop("style", None)
        if "style" in layer:
            merged.pop("prompt", None)
        merged.update(layer)
    return merged


class _BaseValues:
    """The values of jobs that set nothing themselves, for each preset."""

    def __init__(self, source: ManifestSource, folder: Path, faults: Faults, warnings: list[str]) -> None:
        self._source, self._faults, self._warnings = source, faults, warnings
        default_output = output_template.parse_template(output_template.DEFAULT, folder)
        self._built_in = dict(BUILT_IN) | {"avatar": AVATAR, "output": default_output}
        self._values: dict[str, Values] = {}
        self._errors: dict[str, VastError] = {}
        self.preset, self._where = PRESET, ""
        for where, layer in source.layers:
            if "preset" in layer:
                self.preset, self._where = layer["preset"], where

    def of_preset(self, own: str | None, where: str, order: int) -> Values:
        """Values under the preset `own`, or under that of all jobs.

        Raises:
            VastError: the preset that the command line or the environment names is not usable.
        """
        name = own or self.preset
        if name not in self._values:
            self._load(name)
        error = self._errors.get(name)
        if error is not None:
            place = where if own else self._where
            if not place:
                raise error
            hint = f"; {error.hint}" if error.hint != ERROR_KINDS[error.code].hint else ""
            self._faults.add(place, f"{error.message}{hint}", key="preset", order=order)
        return self._values[name]

    def _load(self, name: str) -> None:
        try:
            self._values[name] = self._merged(name)
        except VastError as error:  # the other values of its jobs are checked all the same
            self._errors[name] = error
            layers = [layer for _, layer in self._source.layers]
            self._values[name] = _merge(self._built_in, *layers, {"preset": name})

    def _merged(self, name: str) -> Values:
        values = presets.load(name, PRESET_OPTIONS)
        for key in MachineOptions.model_fields:
            if values.pop(key, None) is not None:
                self._warnings.append(f"preset `{name}`: `{key}` is taken from the command line only")

        def raise_fault(key: str, text: str) -> None:
            raise VastError("vast_option_invalid", f"preset `{name}`, {key}: {text}")

        texts = {key: text for key, value in values.items() if (text := as_text(value)) is not None}
        environment, *others = [layer for _, layer in self._source.layers]
        return _merge(self._built_in, environment, check_options(texts, raise_fault), *others) | {"preset": name}


def _drafts(source: ManifestSource, base: _BaseValues, faults: Faults) -> list[_Draft]:
    """A draft of each entry with audio; the others are faults."""
    drafts: list[_Draft] = []
    without_audio: list[ManifestEntry] = []
    for entry in source.entries:
        if "preset" in source.overrides:
            weak = base.of_preset(source.overrides["preset"], "", 0)
        else:
            weak = base.of_preset(entry.values.get("preset"), entry.where, entry.order)
        values = _merge(weak, entry.values)
        if "audio" in values or "audio" in source.overrides:
            drafts.append(_Draft(entry, _merge(values, source.overrides), values))
        else:
            without_audio.append(entry)
    if len(without_audio) == len(source.entries) > 1:
        faults.add("", "is missing in all jobs", key="audio")
    else:
        for entry in without_audio:
            faults.add(entry.where, "is missing", key="audio", order=entry.order)
    return drafts


def _patch(draft: _Draft, base: _BaseValues, overrides: Values, patch: Values | None) -> None:
    if not patch:
        return
    if "preset" in patch:
        draft.values = _merge(base.of_preset(patch["preset"], "", 0), draft.entry.values, overrides)
    draft.values = _merge(draft.values, patch)


# --- ids ------------------------------------------------------------------------------------------------------------


def _ids(drafts: list[_Draft], faults: Faults) -> list[str]:
    """The id of each job: its own, which no other job may have, or a derived one."""
    places: dict[str, str] = {}
    for draft in drafts:
        job_id = draft.values.get("id")
        if job_id is None:
            continue
        entry, key = draft.entry, job_id.casefold()
        if key in places:
            faults.add(entry.where, f"`{job_id}` is the id of {places[key]} too", key="id", order=entry.order)
        places.setdefault(key, entry.where)
    stems = [_naming_stems(draft.naming_values) for draft in drafts if "id" not in draft.values]
    derived = iter(derive_ids(stems, places))
    return [draft.values["id"] if "id" in draft.values else next(derived) for draft in drafts]


def _naming_stems(values: Values) -> list[str]:
    return [_stem(values.get("audio")), _stem(values.get("prompt") or values.get("style")), _stem(values["avatar"])]


def _stem(path: str | None) -> str:
    return "" if path is None else os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122


# --- outputs --------------------------------------------------------------------------------------------------------


def _with_outputs(drafts: list[_Draft], ids: list[str], folder: Path, faults: Faults, warnings: list[str]) -> list[Job]:
    """Jobs with their outputs. An output that two jobs share, or that is an input, is a fault."""
    now = datetime.now().astimezone()
    keys = _PathKeys()
    jobs: list[Job] = []
    taken: dict[str, tuple[str, str]] = {}  # key of an output -> place and id of the first job that has it
    orders: list[int] = []
    for index, (draft, job_id) in enumerate(zip(drafts, ids, strict=True), start=1):
        entry, template = draft.entry, draft.values["output"]
        for used in template.fields & UNSTABLE_FIELDS.keys():
            warnings.append(
                f"`{template.text}`: `{{{used}}}` is {UNSTABLE_FIELDS[used]}; "
                "after a change of the manifest, finished outputs will not be found"
            )
        job = _job(draft, job_id, index)
        try:
            output = template.fill(_field_values(job, template, len(drafts), now, folder))
        except VastError as error:
            hint = f"; {error.hint}" if error.hint.startswith("`{") else ""
            faults.add(entry.where, f"`{template.text}`: {error.message}{hint}", key="output", order=entry.order)
            continue
        key = keys.key(str(output))
        if key in taken and taken[key][1].casefold() != job_id.casefold():  # equal ids were reported already
            faults.add(entry.where, f"`{output}` is the output of {taken[key][0]} too", key="output", order=entry.order)
        taken.setdefault(key, (entry.where, job_id))
        jobs.append(replace(job, output=output))
        orders.append(entry.order)
    places = {key: where for key, (where, _) in taken.items()}
    for job, order in zip(jobs, orders, strict=True):
        _check_collisions(job, order, places, keys, faults)
    return jobs


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


def _job(draft: _Draft, job_id: str, index: int) -> Job:
    values = draft.values
    return Job(
        id=job_id,
        index=index,
        where=draft.entry.where,
        audio=Path(values["audio"]),
        avatar=values["avatar"],
        output=Path(),
        prompt=Path(values["prompt"]) if "prompt" in values else None,
        style=Path(values["style"]) if "style" in values else None,
        preset=values["preset"],
        options={key: values[key] for key in OPTIONS},
        extra={key: value for key, value in values.items() if key.startswith("x_")},
    )


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
        "avatar": _stem(job.avatar) if has_separator(job.avatar) else job.avatar,
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
    avatar = os.path.relpath(job.avatar, folder) if has_separator(job.avatar) else job.avatar
    document = {"id": job.id, "inputs": paths, "avatar": avatar, "options": job.options, "extra": job.extra}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode(errors="surrogatepass")).hexdigest()

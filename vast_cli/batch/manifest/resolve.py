"""Values to jobs: which layer holds, what each job is called, where its output goes."""

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
from vast_cli.batch.manifest import template
from vast_cli.batch.manifest.cells import Values, has_separator
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.ids import derive
from vast_cli.batch.manifest.options import BUILT_IN, OPTIONS, as_text, check_options
from vast_cli.batch.manifest.template import Template
from vast_cli.core.errors import KINDS, VastError
from vast_cli.pipeline.publish import rejected_path
from vast_cli.store import presets

AVATAR, PRESET = "obama", "standard"  # as `vast render`
PRESET_MACHINE = ("device", "dtype", "threads")  # a preset may set them, for `vast render`
CHANGING = {"index": "a job's place", "total": "the number of jobs", "date": "the day"}


@dataclass(frozen=True)
class Entry:
    """A job as it is written, its cells turned into values."""

    where: str
    order: int
    values: Values


@dataclass(frozen=True)
class Source:
    """What jobs are made from; kept so that `apply` can make them again."""

    entries: list[Entry]
    layers: list[tuple[str, Values]]  # weak to strong: environment, defaults, command line
    overrides: Values
    noun: str


def _over(*layers: Values) -> Values:
    """Layers from weak to strong; who names a prompt wants no weaker style, and the other way round."""
    merged: Values = {}
    for layer in layers:
        if "prompt" in layer:
            merged.pop("style", None)
        if "style" in layer:
            merged.pop("prompt", None)
        merged.update(layer)
    return merged


class _Base:
    """What holds where a job says nothing, for each preset."""

    def __init__(self, source: Source, folder: Path, faults: Faults, warnings: list[str]) -> None:
        self._source, self._faults, self._warnings = source, faults, warnings
        self._built_in = dict(BUILT_IN) | {"avatar": AVATAR, "output": template.parse(template.DEFAULT, folder)}
        self._known: dict[str, Values] = {}
        self._wrong: dict[str, VastError] = {}
        self.preset, self._where = PRESET, ""
        for where, layer in source.layers:
            if "preset" in layer:
                self.preset, self._where = layer["preset"], where

    def of(self, own: str | None, where: str, order: int) -> Values:
        """Values under the preset `own`, or under that of all jobs.

        Raises:
            VastError: the preset that the command line or the environment names is not usable.
        """
        name = own or self.preset
        if name not in self._known:
            try:
                self._known[name] = self._merged(name)
            except VastError as wrong:  # the rest of its jobs is looked at all the same
                self._wrong[name] = wrong
                self._known[name] = _over(
                    self._built_in, *(layer for _, layer in self._source.layers), {"preset": name}
                )
        error = self._wrong.get(name)
        if error is not None:
            place = where if own else self._where
            if not place:
                raise error
            hint = f"; {error.hint}" if error.hint != KINDS[error.code].hint else ""
            self._faults.add(place, f"{error.message}{hint}", key="preset", order=order)
        return self._known[name]

    def _merged(self, name: str) -> Values:
        values = presets.load(name, [*OPTIONS, *PRESET_MACHINE])
        for key in PRESET_MACHINE:
            if values.pop(key, None) is not None:
                self._warnings.append(f"preset `{name}`: `{key}` is taken from the command line only")

        def tell(key: str, text: str) -> None:
            raise VastError("vast_option_invalid", f"preset `{name}`, {key}: {text}")

        texts = {key: text for key, value in values.items() if (text := as_text(value)) is not None}
        environment, *others = [layer for _, layer in self._source.layers]
        return _over(self._built_in, environment, check_options(texts, tell), *others) | {"preset": name}


def make_jobs(
    source: Source,
    folder: Path,
    path: Path | None,
    faults: Faults,
    *,
    patches: Mapping[str, Values] | None = None,
) -> tuple[list[Job], list[str]]:
    """Jobs of all entries, or every fault."""
    warnings: list[str] = []
    base = _Base(source, folder, faults, warnings)
    drafts: list[tuple[Entry, Values, Values]] = []  # with the values it is named by
    silent: list[Entry] = []
    for entry in source.entries:
        if "preset" in source.overrides:
            weak = base.of(source.overrides["preset"], "", 0)
        else:
            weak = base.of(entry.values.get("preset"), entry.where, entry.order)
        plain = _over(weak, entry.values)
        if "audio" in plain or "audio" in source.overrides:
            drafts.append((entry, _over(plain, source.overrides), plain))
        else:
            silent.append(entry)
    if len(silent) == len(source.entries) > 1:
        faults.add("", "is missing in all jobs", key="audio")
    else:
        for entry in silent:
            faults.add(entry.where, "is missing", key="audio", order=entry.order)
    ids = _ids(drafts, faults)
    if patches:
        drafts = [
            (entry, _patched(base, entry, values, source.overrides, patches.get(name)), plain)
            for (entry, values, plain), name in zip(drafts, ids, strict=True)
        ]
    jobs = _outputs([(entry, values) for entry, values, _ in drafts], ids, folder, faults, warnings)
    faults.check(path)
    return jobs, list(dict.fromkeys(warnings))


def _patched(base: _Base, entry: Entry, values: Values, overrides: Values, patch: Values | None) -> Values:
    if not patch:
        return values
    if "preset" in patch:
        values = _over(base.of(patch["preset"], "", 0), entry.values, overrides)
    return _over(values, patch)


def _ids(drafts: list[tuple[Entry, Values, Values]], faults: Faults) -> list[str]:
    """Given ids, checked to differ; and derived ones. `--set` does not rename jobs."""
    seen: dict[str, str] = {}
    for entry, values, _ in drafts:
        name = values.get("id")
        if name is None:
            continue
        if name.casefold() in seen:
            faults.add(entry.where, f"`{name}` is the id of {seen[name.casefold()]} too", key="id", order=entry.order)
        seen.setdefault(name.casefold(), entry.where)
    nameless = [
        [_stem(plain.get("audio")), _stem(plain.get("prompt") or plain.get("style")), _stem(plain["avatar"])]
        for _, values, plain in drafts
        if "id" not in values
    ]
    derived = iter(derive(nameless, seen))
    return [values["id"] if "id" in values else next(derived) for _, values, _ in drafts]


def _stem(path: str | None) -> str:
    return "" if path is None else os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122


def _outputs(
    drafts: list[tuple[Entry, Values]], ids: list[str], folder: Path, faults: Faults, warnings: list[str]
) -> list[Job]:
    """Jobs with their outputs; two of one name are a fault, as is one that is an input."""
    now = datetime.now().astimezone()
    places = _Places()
    jobs: list[Job] = []
    taken: dict[str, tuple[str, str]] = {}  # where, id
    orders: list[int] = []
    for index, ((entry, values), name) in enumerate(zip(drafts, ids, strict=True), start=1):
        pattern: Template = values["output"]
        for used in pattern.fields & CHANGING.keys():
            warnings.append(
                f"`{pattern.text}`: `{{{used}}}` is {CHANGING[used]}; a changed manifest will not find outputs again"
            )
        job = _job(entry, values, name, index)
        try:
            output = pattern.fill(_fields(job, values, pattern, len(drafts), now, folder))
        except VastError as error:
            hint = f"; {error.hint}" if error.hint.startswith("`{") else ""
            faults.add(entry.where, f"`{pattern.text}`: {error.message}{hint}", key="output", order=entry.order)
            continue
        key = places.key(str(output))
        if key in taken and taken[key][1].casefold() != name.casefold():  # else the id was told already
            faults.add(entry.where, f"`{output}` is the output of {taken[key][0]} too", key="output", order=entry.order)
        taken.setdefault(key, (entry.where, name))
        jobs.append(replace(job, output=output))
        orders.append(entry.order)
    for job, order in zip(jobs, orders, strict=True):
        for role, source in job.inputs.items():
            other = taken.get(places.key(str(source)))
            if other is not None:
                faults.add(job.where, f"`{source}` is the output of {other[0]}", key=role, order=order)
        rejected = rejected_path(job.output)
        if other := taken.get(places.key(str(rejected))):
            text = f"below a gate it would be named `{rejected.name}`, the output of {other[0]}"
            faults.add(job.where, text, key="output", order=order)
    return jobs


class _Places:
    """Where paths lead, links followed, whatever the case of letters."""

    def __init__(self) -> None:
        self._real = functools.lru_cache(maxsize=None)(os.path.realpath)

    def key(self, path: str) -> str:
        """Equal for paths that name one file on some common file system."""
        folder, name = os.path.split(path)
        text = f"{self._real(folder)}/{name}"
        return (text if text.isascii() else unicodedata.normalize("NFC", text)).casefold()


def _job(entry: Entry, values: Values, name: str, index: int) -> Job:
    return Job(
        id=name,
        index=index,
        where=entry.where,
        audio=Path(values["audio"]),
        avatar=values["avatar"],
        output=Path(),
        prompt=Path(values["prompt"]) if "prompt" in values else None,
        style=Path(values["style"]) if "style" in values else None,
        preset=values["preset"],
        options={key: values[key] for key in OPTIONS},
        extra={key: value for key, value in values.items() if key.startswith("x_")},
    )


def _fields(
    job: Job, values: Values, pattern: Template, total: int, now: datetime, folder: Path
) -> dict[str, template.Value]:
    """What a template may hold, of this job."""
    found: dict[str, template.Value] = dict(job.extra)
    found |= {
        "id": job.id, "index": job.index, "total": total, "audio": job.audio.stem, "preset": job.preset,
        "prompt": job.prompt.stem if job.prompt else None, "style": job.style.stem if job.style else None,
        "avatar": _stem(job.avatar) if has_separator(job.avatar) else job.avatar, "seed": values["seed"],
        "date": now, "ext": "mp4",
    }  # fmt: skip
    if "hash" in pattern.fields:
        found["hash"] = identity(job, folder)
    return found


def identity(job: Job, folder: Path) -> str:
    """SHA-256 of a job's own settings and paths, relative to the manifest: `{hash}` in an output's name.

    It is not the fingerprint, which needs the contents of all files; it changes when the manifest says something else,
    and neither when the manifest is sorted nor when its folder moves.
    """
    paths = {role: os.path.relpath(path, folder) for role, path in job.inputs.items()}
    avatar = os.path.relpath(job.avatar, folder) if has_separator(job.avatar) else job.avatar
    document = {"id": job.id, "inputs": paths, "avatar": avatar, "options": job.options, "extra": job.extra}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode(errors="surrogatepass")).hexdigest()

"""Makes jobs from the values of a manifest: merges the layers, names the jobs, and fills in their outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vast_cli.batch.job import Job
from vast_cli.batch.manifest.cells import Values
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.ids import derive_ids, stem
from vast_cli.batch.manifest.layers import BaseValues, ManifestEntry, ManifestSource, merge_layers
from vast_cli.batch.manifest.options import OPTIONS
from vast_cli.batch.manifest.outputs import UnnamedJob, fill_outputs


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
    base = BaseValues(source, folder, faults, warnings)
    drafts = _drafts(source, base, faults)
    ids = _ids(drafts, faults)
    if patches:
        for draft, job_id in zip(drafts, ids, strict=True):
            _patch(draft, base, source.overrides, patches.get(job_id))
    unnamed = [
        _unnamed_job(draft, job_id, index)
        for index, (draft, job_id) in enumerate(zip(drafts, ids, strict=True), start=1)
    ]
    jobs = fill_outputs(unnamed, folder, faults, warnings)
    faults.check(path)
    return jobs, list(dict.fromkeys(warnings))


def _drafts(source: ManifestSource, base: BaseValues, faults: Faults) -> list[_Draft]:
    """A draft of each entry with audio; the others are faults."""
    drafts: list[_Draft] = []
    without_audio: list[ManifestEntry] = []
    for entry in source.entries:
        if "preset" in source.overrides:
            weak = base.of_preset(source.overrides["preset"], "", 0)
        else:
            weak = base.of_preset(entry.values.get("preset"), entry.where, entry.order)
        values = merge_layers(weak, entry.values)
        if "audio" in values or "audio" in source.overrides:
            drafts.append(_Draft(entry, merge_layers(values, source.overrides), values))
        else:
            without_audio.append(entry)
    if len(without_audio) == len(source.entries) > 1:
        faults.add("", "is missing in all jobs", key="audio")
    else:
        for entry in without_audio:
            faults.add(entry.where, "is missing", key="audio", order=entry.order)
    return drafts


def _patch(draft: _Draft, base: BaseValues, overrides: Values, patch: Values | None) -> None:
    if not patch:
        return
    if "preset" in patch:
        draft.values = merge_layers(base.of_preset(patch["preset"], "", 0), draft.entry.values, overrides)
    draft.values = merge_layers(draft.values, patch)


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
    return [stem(values.get("audio")), stem(values.get("prompt") or values.get("style")), stem(values["avatar"])]


def _unnamed_job(draft: _Draft, job_id: str, index: int) -> UnnamedJob:
    values = draft.values
    job = Job(
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
    return UnnamedJob(job, values["output"], draft.entry.order)

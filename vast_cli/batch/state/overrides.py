"""What `vast retry --set` changed for single jobs, kept so that the next plain `vast batch` does not undo it.

A change lapses by itself when the manifest's own value becomes another one: whoever edits the row means the row.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import Manifest
from vast_cli.batch.manifest.cells import Cleaner, Values
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import FILES, key_of
from vast_cli.batch.manifest.resolve import make_jobs
from vast_cli.batch.state.command import way_from
from vast_cli.core import files, locks
from vast_cli.core.errors import VastError

NAME = "overrides.json"
VERSION = 1

Changes = dict[str, dict[str, dict[str, Any]]]  # id -> key -> {value, instead_of}


def load(folder: Path) -> Changes:
    """The changes kept in a state folder.

    Raises:
        VastError: `vast_record_invalid`, `vast_input_unreadable`.
    """
    path = folder / NAME
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION or not isinstance(document["jobs"], dict):
            raise ValueError
        return dict(document["jobs"])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VastError(
            "vast_record_invalid", f"`{path}` is not what `vast retry --set` wrote", hint="mend or remove it"
        ) from error


def apply(manifest: Manifest, changes: Changes, *, fixed: Collection[str] = ()) -> Manifest:
    """The manifest with the changes that still hold.

    Args:
        manifest: as it was read.
        changes: of `load`.
        fixed: keys that `--set` gives now; they stay as they are.

    Raises:
        VastError: `vast_option_invalid`; `vast_manifest_invalid` if the outputs of two jobs meet then.
    """
    patches: dict[str, Values] = {}
    for job in manifest.jobs:
        cells = {
            key: change["value"]
            for key, change in changes.get(job.id, {}).items()
            if key not in fixed and change["instead_of"] == _own(job, key, manifest.folder)
        }
        if cells:
            patches[job.id] = Cleaner().strictly(cells, manifest.folder, _said)
    if not patches:
        return manifest
    faults = Faults(manifest.source.noun)
    jobs, _ = make_jobs(manifest.source, manifest.folder, manifest.path, faults, patches=patches)
    return replace(manifest, jobs=tuple(jobs))


def record(folder: Path, manifest: Manifest, ids: Collection[str], cells: Mapping[str, str]) -> None:
    """Keep `cells` for the jobs `ids`, beside what was kept before. Paths in them start at the current folder.

    Args:
        folder: the state folder.
        manifest: as it was read, without changes.
        ids: of jobs.
        cells: key -> text.

    Raises:
        VastError: `vast_option_invalid`; `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    Cleaner().strictly(cells, Path.cwd(), _said)
    texts = {key_of(name): text for name, text in cells.items()}
    for role in texts.keys() & set(FILES):
        texts[role] = way_from(Path(texts[role]).absolute(), manifest.folder)
    with locks.hold(folder / f"{NAME}.lock", wait_s=60, named=False, keep=False):  # shards share the file
        changes = load(folder)
        for job in manifest.jobs:
            if job.id in ids:
                new = {k: {"value": v, "instead_of": _own(job, k, manifest.folder)} for k, v in texts.items()}
                changes[job.id] = changes.get(job.id, {}) | new
        with files.atomic_write(folder / NAME) as part:
            part.write_text(json.dumps({"version": VERSION, "jobs": changes}, indent=1), encoding="utf-8")


def _said(key: str) -> str:
    return f"`--set {key}`"


def _own(job: Job, key: str, base: Path) -> Any:
    """The manifest's value as JSON gives it back."""
    value = job.extra.get(key) if key.startswith("x_") else job.options.get(key, getattr(job, key, None))
    return way_from(value, base) if isinstance(value, Path) else json.loads(json.dumps(value, default=str))

"""Keeps what `vast retry --set` changed for single jobs, so that the next plain `vast batch` does not undo it.

A change lapses when the manifest's own value of the option changes: an edited row has the last word.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import Manifest
from vast_cli.batch.manifest.cells import CellParser, Values, names_file
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import FILES, key_of
from vast_cli.batch.manifest.resolve import make_jobs
from vast_cli.batch.state.command_line import relative_path
from vast_cli.core import files, locks
from vast_cli.core.errors import VastError
from vast_cli.store import styles

FILE_NAME = "overrides.json"
VERSION = 1

JobOverrides = dict[str, dict[str, dict[str, Any]]]  # id -> key -> {value, instead_of}


def load_overrides(folder: Path) -> JobOverrides:
    """The overrides kept in a state folder.

    Raises:
        VastError: `vast_record_invalid`, `vast_input_unreadable`.
    """
    path = folder / FILE_NAME
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
            "vast_record_invalid", f"`{path}` is not what `vast retry --set` wrote", hint="fix or remove it"
        ) from error


def apply_overrides(manifest: Manifest, overrides: JobOverrides, *, fixed: Collection[str] = ()) -> Manifest:
    """The manifest with the overrides that still hold.

    Args:
        manifest: as it was read.
        overrides: of `load_overrides`.
        fixed: keys that `--set` sets now; they stay as they are.

    Raises:
        VastError: `vast_option_invalid`; `vast_manifest_invalid` if two jobs have one output then.
    """
    patches: dict[str, Values] = {}
    for job in manifest.jobs:
        cells = {
            key: override["value"]
            for key, override in overrides.get(job.id, {}).items()
            if key not in fixed and override["instead_of"] == _manifest_value(job, key, manifest.folder)
        }
        if cells:
            patches[job.id] = CellParser().parse_strictly(cells, manifest.folder, _label)
    if not patches:
        return manifest
    faults = Faults(manifest.source.noun)
    jobs, _ = make_jobs(manifest.source, manifest.folder, manifest.path, faults, patches=patches)
    return replace(manifest, jobs=tuple(jobs))


def record_overrides(folder: Path, manifest: Manifest, ids: Collection[str], cells: Mapping[str, str]) -> None:
    """Keep `cells` for the jobs `ids`, beside the overrides kept before. Paths in them start at the current folder.

    Args:
        folder: the state folder.
        manifest: as it was read, without overrides.
        ids: of jobs.
        cells: key -> text.

    Raises:
        VastError: `vast_option_invalid`; `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    CellParser().parse_strictly(cells, Path.cwd(), _label)
    texts = {key_of(name): text for name, text in cells.items()}
    for role in texts.keys() & set(FILES):
        if names_file(role, texts[role]):
            texts[role] = relative_path(Path(texts[role]).absolute(), manifest.folder)
    # shards share the file
    with locks.hold(folder / f"{FILE_NAME}.lock", wait_s=60, record_owner=False, keep_file=False):
        overrides = load_overrides(folder)
        for job in manifest.jobs:
            if job.id in ids:
                new = {
                    key: {"value": text, "instead_of": _manifest_value(job, key, manifest.folder)}
                    for key, text in texts.items()
                }
                overrides[job.id] = overrides.get(job.id, {}) | new
        with files.atomic_write(folder / FILE_NAME) as part:
            part.write_text(json.dumps({"version": VERSION, "jobs": overrides}, indent=1), encoding="utf-8")


def _label(key: str) -> str:
    return f"`--set {key}`"


def _manifest_value(job: Job, key: str, base: Path) -> Any:
    """The manifest's value as JSON gives it back."""
    value = job.extra.get(key) if key.startswith("x_") else job.options.get(key, getattr(job, key, None))
    if key == "style" and job.style is not None and (name := styles.name_of(job.style)) is not None:
        return name
    return relative_path(value, base) if isinstance(value, Path) else json.loads(json.dumps(value, default=str))

"""Opens a batch (its manifest and its state folder) and locks it: anybody may look, one run at a time may write."""

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import Manifest, load_manifest
from vast_cli.batch.planning import shards
from vast_cli.batch.planning.shards import Shard
from vast_cli.batch.state.command_line import CommandLine, last_command_line
from vast_cli.batch.state.overrides import apply_overrides, load_overrides, record_overrides
from vast_cli.core import locks
from vast_cli.core.errors import VastError


@dataclass(frozen=True)
class OpenBatch:
    """A manifest that was read, and its state folder.

    Attributes:
        manifest: all its jobs, as written.
        jobs: those of this shard, with what `vast retry --set` changed.
        folder: the state folder.
        shard: part of the manifest; None: all of it.
        command_line: what was said beside the manifest, as the journal keeps it.
    """

    manifest: Manifest
    jobs: tuple[Job, ...]
    folder: Path
    shard: Shard | None
    command_line: CommandLine

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.manifest.path is None else str(self.manifest.path)

    @property
    def report(self) -> Path:
        """The HTML report that a run writes at its end."""
        return self.folder / "report.html"


def open_batch(
    path: Path | None,
    *,
    output: str | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    state: Path | None = None,
    shard: Shard | None = None,
    reuse_options: bool = False,
) -> OpenBatch:
    """Read a manifest and find its state folder; writes nothing.

    Args:
        path: the manifest; None or `-`: JSON Lines from standard input.
        output: template of the outputs' names.
        options: for all jobs, weaker than their own cells.
        overrides: `--set key=value`: stronger than anything.
        state: the state folder; `NAME.vast` beside the manifest if not given.
        shard: only this part of the jobs.
        reuse_options: take what is not given from the last run of this batch.

    Raises:
        VastError: `vast_manifest_invalid` with a line for each fault; `vast_option_invalid`; `vast_input_missing`.
    """
    if path is not None and str(path) == "-":
        path = None
    folder = _state_folder(path, state)
    base = Path.cwd() if path is None else path.absolute().parent
    command_line = CommandLine.of(base, output=output, options=options or {}, overrides=overrides or {})
    if reuse_options:
        command_line = command_line.completed_by(last_command_line(folder))
    manifest = load_manifest(
        path,
        output=command_line.output_template(base),
        command_line=command_line.absolute_options(base),
        overrides=command_line.absolute_overrides(base),
    )
    return OpenBatch(manifest, _jobs(manifest, folder, shard, command_line), folder, shard, command_line)


def _state_folder(manifest: Path | None, state: Path | None) -> Path:
    if state is not None:
        return state.absolute()
    if manifest is None:
        raise VastError(
            "vast_option_invalid",
            "a manifest from standard input has no place for its state",
            hint="name a folder: `--state FOLDER`",
        )
    return manifest.with_name(manifest.stem + ".vast").absolute()


def _jobs(manifest: Manifest, folder: Path, shard: Shard | None, command_line: CommandLine) -> tuple[Job, ...]:
    jobs = apply_overrides(manifest, load_overrides(folder), fixed=command_line.overrides.keys()).jobs
    return tuple(job for job in jobs if shard is None or shard.holds(job.id))


def override_jobs(batch: OpenBatch, ids: Collection[str], cells: Mapping[str, str]) -> OpenBatch:
    """The batch with `vast retry --set` applied to the jobs `ids`, and kept for later runs.

    Raises:
        VastError: as `record_overrides` and `apply_overrides`.
    """
    record_overrides(batch.folder, batch.manifest, ids, cells)
    return replace(batch, jobs=_jobs(batch.manifest, batch.folder, batch.shard, batch.command_line))


# --- locks ----------------------------------------------------------------------------------------------------------


@contextmanager
def lock_batch(batch: OpenBatch, *, wait: bool) -> Iterator[None]:
    """Hold the lock of the batch, or of its shard; the whole batch and its shards exclude each other.

    Raises:
        VastError: `vast_locked`, if another run holds the batch and `wait` is false.
    """
    wait_s = None if wait else 0.0
    with locks.hold(batch.folder / shards.lock_name(batch.shard), wait_s=wait_s, name=f"`{batch.name}`"):
        while (other := _other_run(batch)) is not None:
            if not wait:
                raise VastError("vast_locked", f"`{batch.name}` is in use, split into other shards, by {other}")
            time.sleep(1.0)
        yield


def _other_run(batch: OpenBatch) -> locks.Owner | None:
    """The owner of a lock that excludes this batch: any but those of the other shards of the same split."""
    own = shards.lock_name(batch.shard)
    for path in find_locks(batch.folder):
        same_split = batch.shard is not None and path.name.endswith(f"-of-{batch.shard.n}")
        if path.name != own and not same_split and (owner := locks.owner(path)) is not None:
            return owner
    return None


def find_locks(folder: Path) -> list[Path]:
    """The locks of a state folder: of the whole manifest and of its shards."""
    return [path for path in sorted(folder.glob("lock*")) if re.fullmatch(r"lock(\.\d+-of-\d+)?", path.name)]

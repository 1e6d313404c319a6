"""A manifest and where its state lies: opened for a look by anybody, held by one run at a time."""

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job
from vast_cli.batch.manifest import Manifest, load
from vast_cli.batch.planning import shards
from vast_cli.batch.planning.shards import Shard
from vast_cli.batch.state import overrides as kept
from vast_cli.batch.state.command import Command, last_command
from vast_cli.core import locks
from vast_cli.core.errors import VastError


@dataclass(frozen=True)
class Batch:
    """A manifest that was read, and where its state lies.

    Attributes:
        manifest: all its jobs, as it gives them.
        jobs: those of this shard, with what `vast retry --set` changed.
        folder: the state folder.
        shard: part of the manifest; None: all of it.
        command: what was said beside the manifest, as the journal keeps it.
    """

    manifest: Manifest
    jobs: tuple[Job, ...]
    folder: Path
    shard: Shard | None
    command: Command

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.manifest.path is None else str(self.manifest.path)

    @property
    def report(self) -> Path:
        """The page that a run ends with."""
        return self.folder / "report.html"


def open_batch(
    path: Path | None,
    *,
    output: str | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    state: Path | None = None,
    shard: Shard | None = None,
    remember: bool = False,
) -> Batch:
    """Read a manifest and find its state; writes nothing.

    Args:
        path: the manifest; None or `-`: JSON Lines from standard input.
        output: template for the names of outputs.
        given: options for all jobs, weaker than their own cells.
        overrides: `--set key=value`: stronger than anything.
        state: the state folder; `NAME.vast` beside the manifest if not given.
        shard: only this part of the jobs.
        remember: take what is not given from the last run of this batch.

    Raises:
        VastError: `vast_manifest_invalid` with a line for each fault; `vast_option_invalid`; `vast_input_missing`.
    """
    if path is not None and str(path) == "-":
        path = None
    if state is None:
        if path is None:
            raise VastError(
                "vast_option_invalid", "a manifest from standard input has no place for its state",
                hint="name a folder: `--state FOLDER`",
            )  # fmt: skip
        state = path.with_name(path.stem + ".vast")
    folder = state.absolute()
    base = Path.cwd() if path is None else path.absolute().parent
    command = Command.of(base, output=output, given=given or {}, overrides=overrides or {})
    if remember:
        command = command.over(last_command(folder))
    manifest = load(
        path, output=command.template(base), command_line=command.paths("given", base),
        overrides=command.paths("overrides", base),
    )  # fmt: skip
    return Batch(manifest, _jobs(manifest, folder, shard, command), folder, shard, command)


def _jobs(manifest: Manifest, folder: Path, shard: Shard | None, command: Command) -> tuple[Job, ...]:
    jobs = kept.apply(manifest, kept.load(folder), fixed=command.overrides.keys()).jobs
    return tuple(job for job in jobs if shard is None or shard.holds(job.id))


def change(batch: Batch, ids: Collection[str], cells: Mapping[str, str]) -> Batch:
    """The batch with `vast retry --set` for the jobs `ids`, kept for later runs.

    Raises:
        VastError: as `overrides.record` and `overrides.apply`.
    """
    kept.record(batch.folder, batch.manifest, ids, cells)
    return replace(batch, jobs=_jobs(batch.manifest, batch.folder, batch.shard, batch.command))


# --- locks ---------------------------------------------------------------------------------------------------------


@contextmanager
def hold(batch: Batch, *, wait: bool) -> Iterator[None]:
    """Hold the batch, or this shard of it; the whole and its shards exclude each other.

    Raises:
        VastError: `vast_locked`, if `wait` does not say to wait for whoever holds it.
    """
    wait_s = None if wait else 0.0
    with locks.hold(batch.folder / shards.lock_name(batch.shard), wait_s=wait_s, what=f"`{batch.name}`"):
        while (other := _other_run(batch)) is not None:
            if not wait:
                raise VastError("vast_locked", f"`{batch.name}` is in use, cut in another way, by {other}")
            time.sleep(1.0)
        yield


def _other_run(batch: Batch) -> locks.Owner | None:
    own = shards.lock_name(batch.shard)
    for path in find_locks(batch.folder):
        beside = batch.shard is not None and path.name.endswith(f"-of-{batch.shard.n}")
        if path.name != own and not beside and (owner := locks.owner(path)) is not None:
            return owner
    return None


def find_locks(folder: Path) -> list[Path]:
    """The locks of a state folder: the whole manifest's and those of shards."""
    return [path for path in sorted(folder.glob("lock*")) if re.fullmatch(r"lock(\.\d+-of-\d+)?", path.name)]

"""Publishes a staged video: sidecar, rename, fsync; keeps its figures for the report."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vast_cli.core import files
from vast_cli.core.errors import VastError


def staging_path(output: Path, tag: str) -> Path:
    """Hidden name that an attempt is written under, beside the output."""
    stem = output.stem.encode()[: files.MAX_STEM].decode(errors="ignore")
    return output.parent / f".{stem}.{tag}-staged.part{output.suffix}"


def rejected_path(output: Path) -> Path:
    """Where a video goes that failed its gates."""
    return output.with_name(f"{output.stem}.rejected{output.suffix}")


def give_name(
    staging: Path, output: Path, *, size: int, sha256: str, sidecar: Mapping[str, Any] | None, replace: bool
) -> dict[str, Any]:
    """Give a complete, checked file its final name.

    Args:
        staging: the file.
        output: its name.
        size: its bytes when it was checked.
        sha256: of those bytes.
        sidecar: document to write beside it, if any.
        replace: whether a file of that name may be replaced.

    Returns:
        output, size, mtime and hash, for the journal.

    Raises:
        VastError: `vast_output_exists`, `vast_disk_full`, `vast_output_unwritable`, `vast_write_failed`.
    """
    if not replace and output.exists():
        raise VastError("vast_output_exists", f"`{output}` appeared while it was rendered")
    try:
        if staging.stat().st_size != size:
            raise VastError("vast_write_failed", f"`{staging}` changed after it was checked")
        if sidecar is not None:
            document = dict(sidecar) | {"output": dict(sidecar["output"]) | {"file": output.name}}
            with files.atomic_write(output.with_name(output.name + ".json")) as part:
                part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _fsync(staging)
        staging.replace(output)
        files.fsync_folder(output.parent)
        status = output.stat()
    except OSError as error:
        raise files.write_error(error, output) from error
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def keep_figures(folder: Path, job_id: str, figures: Mapping[str, Any] | None) -> None:
    """Keep a job's figures for the report; on a full disk the job is done without them."""
    if figures is None:
        return
    with contextlib.suppress(VastError), files.atomic_write(folder / "figures" / f"{job_id}.json") as part:
        part.write_text(json.dumps(figures, default=str), encoding="utf-8")

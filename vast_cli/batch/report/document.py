"""From jobs and what the journal says of them to one document."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job

SCHEMA = "vast.batch-report/1"


def build(
    jobs: Sequence[Job],
    state: Mapping[str, Mapping[str, Any]],
    summary: Mapping[str, Any],
    *,
    folder: Path,
    manifest: Path,
) -> dict[str, Any]:
    """The document of a report.

    Args:
        jobs: of the manifest, in its order.
        state: id -> the last line of the journal that says how the job ended (`job_done`, `job_failed`,
            `job_interrupted`); absent where it was never run.
        summary: what the run says of itself: fields of `run_done`, and `run`, `machine`, `workers`, `version` if known.
        folder: the state folder; logs, figures and pictures lie in it.
        manifest: what `vast retry` is given.
    """
    raise NotImplementedError

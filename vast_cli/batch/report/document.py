"""Builds the document of a report from the jobs and their last journal lines, worst jobs first."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vast_cli.batch.job import Job
from vast_cli.core.errors import ERROR_KINDS

SCHEMA: Final = "vast.batch-report/1"
STATES: Final = ("failed", "rejected", "interrupted", "warned", "not_started", "done")  # worst first
REJECTED: Final = "vast_gate_failed"
MAX_IDS: Final = 20  # of a group, in the document

Row = Mapping[str, Any]


def build(
    jobs: Sequence[Job],
    state: Mapping[str, Row],
    summary: Mapping[str, Any],
    *,
    folder: Path,
    manifest: Path,
) -> dict[str, Any]:
    """Build the document of a report.

    Args:
        jobs: of the manifest, in its order.
        state: id -> the last line of the journal that says how the job ended (`job_done`, `job_failed`,
            `job_interrupted`); absent if it never ran.
        summary: of the run: fields of `run_done`, and `run`, `machine`, `workers`, `version` if known.
        folder: the state folder, which holds logs and figures.
        manifest: path of the manifest, for the `vast retry` commands.
    """
    rows = [_job(job, state.get(job.id), folder) for job in jobs]
    rows.sort(key=_sort_key)
    counts = Counter(row["state"] for row in rows)
    seconds, frames = summary.get("seconds"), summary.get("frames")
    return {
        "schema": SCHEMA,
        "version": summary.get("version"),
        "manifest": str(manifest),
        "folder": str(folder),
        "run": summary.get("run"),
        "machine": summary.get("machine"),
        "workers": summary.get("workers"),
        "exit": summary.get("exit"),
        "why": summary.get("why"),
        "seconds": seconds,
        "frames": frames,
        "fps": frames / seconds if frames and seconds else None,
        "counts": {"jobs": len(rows)} | {name: counts.get(name, 0) for name in STATES},
        "this_run": {name: summary[name] for name in _THIS_RUN if name in summary},
        "groups": _groups(rows, folder, manifest),
        "retry": retry_command(manifest, folder),
        "gates": list(dict.fromkeys(name for row in rows for name in row["gates"])),
        "jobs": rows,
    }


_THIS_RUN = ("done", "adopted", "failed", "rejected", "skipped", "not_started")


def _job(job: Job, row: Row | None, folder: Path) -> dict[str, Any]:
    row = row or {}
    failed = row.get("event") == "job_failed"
    rejected = failed and row.get("code") == REJECTED
    output = Path(str(row.get("rejected") or row.get("output") or job.output)) if row else job.output
    figures = folder / "figures" / f"{job.id}.json"
    return {
        "id": job.id,
        "index": job.index,
        "at": job.where,
        "state": _state(row, failed=failed, rejected=rejected),
        "code": row.get("code") if failed else None,
        "message": row.get("message") if failed else None,
        "where": row.get("where") if failed else None,
        "hint": row.get("hint") if failed else None,
        "avatar": job.avatar,
        "preset": job.preset,
        **{role: None if path is None else str(path) for role, path in _inputs(job).items()},
        "output": str(output),
        "made": output.is_file() if row.get("event") == "job_done" or rejected else False,
        "seconds": row.get("seconds"),
        "frames": row.get("frames"),
        "duration_s": row.get("duration_s"),
        "attempts": row.get("attempt"),
        "seed": row.get("seed"),
        "action": row.get("action"),
        "limited_share": row.get("limited_share"),
        "warnings": [str(text) for text in row.get("warnings") or ()],
        "limits": [str(text) for text in _as_sequence(job.options.get("gate"))],
        "gates": dict(row.get("gates") or {}),
        "missed": [str(text) for text in row.get("missed") or ()],
        "figures": str(figures) if figures.is_file() else None,
        "log": str(folder / "logs" / f"{job.id}.log"),
        "x": dict(job.extra),
    }


def _inputs(job: Job) -> dict[str, Path | None]:
    return {"audio": job.audio, "prompt": job.prompt, "style": job.style}


def _as_sequence(value: Any) -> Sequence[Any]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _state(row: Row, *, failed: bool, rejected: bool) -> str:
    if rejected:
        return "rejected"
    if failed:
        return "failed"
    if row.get("event") == "job_interrupted":
        return "interrupted"
    if row.get("event") != "job_done":
        return "not_started"
    return "warned" if row.get("warnings") or row.get("missed") else "done"


def _sort_key(row: Row) -> tuple[int, str, int, int]:
    n_warnings = len(row["missed"]) + len(row["warnings"])
    return STATES.index(row["state"]), row["code"] or "", -n_warnings, row["index"]


def _groups(rows: Sequence[Row], folder: Path, manifest: Path) -> list[dict[str, Any]]:
    """Failures by code, the most frequent first, each with a hint and a command."""
    by_code: dict[str, list[Row]] = {}
    for row in rows:
        if row["code"]:
            by_code.setdefault(row["code"], []).append(row)
    groups = []
    for code, members in sorted(by_code.items(), key=lambda item: -len(item[1])):
        kind = ERROR_KINDS.get(code)
        hints = Counter(row["hint"] for row in members if row["hint"])
        hint, n_with_hint = hints.most_common(1)[0] if hints else (None, 0)
        shared = n_with_hint == len(members)  # a hint that names the file of one job does not help with the others
        groups.append(
            {
                "code": code,
                "meaning": kind.meaning if kind else None,
                "exit": int(kind.exit) if kind else None,
                "count": len(members),
                "hint": hint if shared or kind is None else kind.hint,
                "command": retry_command(manifest, folder, "--code", code),
                "ids": [row["id"] for row in members[:MAX_IDS]],
            }
        )
    return groups


def retry_command(manifest: Path, folder: Path, *words: str) -> str:
    """The command line that runs failed jobs again, quoted for a POSIX shell and with absolute paths."""
    command = ["vast", "retry", str(manifest.absolute()), *words]
    default_folders = {manifest.with_name(f"{name}.vast").absolute() for name in (manifest.stem, manifest.name)}
    if folder.absolute() not in default_folders:
        command += ["--state", str(folder.absolute())]
    return shlex.join(command)

"""Writes the files of a report: JSON for programs, CSV for spreadsheets, HTML for people."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vast_cli.batch.report.page import page
from vast_cli.batch.report.strips import strips
from vast_cli.core import files

COLUMNS: Final = (
    "index", "id", "state", "code", "message", "where", "hint", "avatar", "preset", "audio", "prompt", "style",
    "output", "seconds", "frames", "duration_s", "attempts", "seed", "limited_share",
)  # fmt: skip
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes such a cell for a formula


def write_report(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    """Write `report.json`, `report.csv` and `report.html` into `folder`, each whole or not at all.

    Args:
        folder: the state folder; its folder `strips/` keeps the frames of the page.
        document: of `build`.

    Returns:
        The three paths.

    Raises:
        VastError: `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    texts = {
        "report.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "report.csv": "\ufeff" + table(document),  # spreadsheets recognise UTF-8 only by this mark
        "report.html": page(document, folder, strips(document["jobs"], folder / "strips")),
    }
    written = []
    for name, text in texts.items():
        with files.atomic_write(folder / name) as part:
            # file names that are not valid in the file system's encoding contain lone surrogates
            part.write_bytes(text.encode("utf-8", "backslashreplace"))
        written.append(folder / name)
    return written


def table(document: Mapping[str, Any]) -> str:
    """The CSV table: one row per job, worst first, with a column for each gate and each `x_` column of the manifest."""
    jobs = document["jobs"]
    extra = list(dict.fromkeys(name for job in jobs for name in job["x"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*COLUMNS, "missed", "warnings", *(f"gate {name}" for name in document["gates"]), *extra])
    for job in jobs:
        cells = [job[name] for name in COLUMNS] + ["; ".join(job["missed"]), "; ".join(job["warnings"])]
        cells += [job["gates"].get(name) for name in document["gates"]] + [job["x"].get(name) for name in extra]
        writer.writerow([_cell(value) for value in cells])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Mark text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value

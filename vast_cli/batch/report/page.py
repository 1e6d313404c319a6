"""Builds the HTML page of a report: one file without network access; videos and logs are links to files beside it."""

import base64
import html
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import quote

from vast_cli.evaluate.report.page import content_policy, script_json
from vast_cli.evaluate.report.view import nan_to_null

SHARED: Final = "vast_cli.evaluate.report"
OWN: Final = "vast_cli.batch.report"
SCRIPTS: Final = ("summary.js", "job.js", "table.js", "main.js")
TITLES: Final = {
    "failed": "failed",
    "rejected": "below its limits",
    "interrupted": "interrupted",
    "warned": "done, with warnings",
    "not_started": "not started",
    "done": "done",
}


def page(document: Mapping[str, Any], folder: Path, strips: Mapping[str, bytes]) -> str:
    """Build the text of the page.

    Args:
        document: of `build`.
        folder: folder of the page; links to videos and logs are relative to it.
        strips: id -> JPEG of three frames of its video.
    """
    style = _read(SHARED, "page.css") + _read(OWN, "batch.css")
    scripts = "\n".join([_read(SHARED, "dom.js"), *(_read(OWN, name) for name in SCRIPTS)])
    script = f'"use strict";\n(() => {{\n{scripts}\n}})();\n'
    data = {name: value for name, value in document.items() if name != "jobs"}
    data["jobs"] = [_job(job, folder, strips.get(job["id"])) for job in document["jobs"]]
    data["states"] = TITLES
    data["measures"] = []  # the shared scripts need it
    title = f"Batch {Path(str(document['manifest'])).name}"
    return Template(_read(SHARED, "page.html")).substitute(
        policy=content_policy(style=style, script=script),
        generator=html.escape(str(document.get("version") or "vast")),
        title=html.escape(title),
        style=style,
        data=script_json(nan_to_null(data | {"title": title})),
        script=script,
        blobs="",
    )


def _job(job: Mapping[str, Any], folder: Path, strip: bytes | None) -> dict[str, Any]:
    """The data of a job on the page, without empty values."""
    row = {name: value for name, value in job.items() if value not in (None, [], {}, "")}
    row.pop("figures", None)
    row["log"] = address(Path(job["log"]), folder) if Path(job["log"]).is_file() else None
    row["video"] = address(Path(job["output"]), folder) if job["made"] else None
    if strip is not None:
        row["strip"] = base64.b64encode(strip).decode("ascii")
    return row


def address(path: Path, folder: Path) -> str:
    """The URL of a file, relative to the page if possible, so that both may be moved together."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "/".join(quote(os.fsencode(part)) for part in Path(relative).parts)


def _read(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text("utf-8")

"""The page as one file: everything it shows in it, videos and logs beside it, no way out to a network."""

import base64
import html
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import quote

from vast_cli.evaluate.report.page import as_json, content_policy
from vast_cli.evaluate.report.view import finite

SHARED: Final = "vast_cli.evaluate.report"
OWN: Final = "vast_cli.batch.report"
SCRIPTS: Final = ("summary.js", "job.js", "table.js", "main.js")
TITLES: Final = {
    "failed": "failed",
    "rejected": "below its limits",
    "interrupted": "interrupted",
    "warned": "done, with remarks",
    "not_started": "not started",
    "done": "done",
}


def page(document: Mapping[str, Any], folder: Path, pictures: Mapping[str, bytes]) -> str:
    """The text of the page.

    Args:
        document: of `build`.
        folder: where the page will lie: addresses of videos and logs are relative to it.
        pictures: id -> JPEG of three pictures of its video.
    """
    style = _read(SHARED, "page.css") + _read(OWN, "batch.css")
    scripts = "\n".join([_read(SHARED, "dom.js"), *(_read(OWN, name) for name in SCRIPTS)])
    script = f'"use strict";\n(() => {{\n{scripts}\n}})();\n'
    data = {name: value for name, value in document.items() if name != "jobs"}
    data["jobs"] = [_job(job, folder, pictures.get(job["id"])) for job in document["jobs"]]
    data["states"] = TITLES
    data["measures"] = []  # what the shared scripts look for
    title = f"Batch {Path(str(document['manifest'])).name}"
    return Template(_read(SHARED, "page.html")).substitute(
        policy=content_policy(style=style, script=script),
        generator=html.escape(str(document.get("version") or "vast")),
        title=html.escape(title),
        style=style,
        data=as_json(finite(data | {"title": title})),
        script=script,
        blobs="",
    )


def _job(job: Mapping[str, Any], folder: Path, picture: bytes | None) -> dict[str, Any]:
    """A job as the page wants it: nothing that is empty."""
    row = {name: value for name, value in job.items() if value not in (None, [], {}, "")}
    row.pop("figures", None)
    row["log"] = address(Path(job["log"]), folder) if Path(job["log"]).is_file() else None
    row["video"] = address(Path(job["output"]), folder) if job["made"] else None
    if picture is not None:
        row["strip"] = base64.b64encode(picture).decode("ascii")
    return row


def address(path: Path, folder: Path) -> str:
    """Where a file lies, seen from the page: relative if it can be, so that both may be moved together."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "/".join(quote(os.fsencode(part)) for part in Path(relative).parts)


def _read(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text("utf-8")

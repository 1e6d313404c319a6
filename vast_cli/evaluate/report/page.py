"""The page as HTML: everything in one file, without network access and safe against markup in names."""

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from string import Template
from typing import Any, Final

from vast_cli.evaluate.report import videos
from vast_cli.evaluate.report.sheets import ContactSheet

SCRIPTS: Final = (
    "dom.js",
    "media.js",
    "summary.js",
    "plot.js",
    "sheet.js",
    "player.js",
    "detail.js",
    "clip.js",
    "list.js",
    "main.js",
)
BLOBS: Final = "$blobs"


def page_parts(
    data: Mapping[str, Any], sheets: Mapping[str, ContactSheet], inline: Mapping[str, videos.PageVideo]
) -> Iterator[str]:
    """The text of the page in pieces, so that a hundred megabytes of video are never in memory at once.

    Args:
        data: what the script shows.
        sheets: contact sheets inside the page, by their id in the data.
        inline: videos inside the page, by their id in the data.

    Raises:
        VastError: `vast_input_unreadable`.
    """
    head, tail = _read("page.html").split(BLOBS)
    style = _read("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_read(name) for name in SCRIPTS) + "\n})();\n"
    yield Template(head).substitute(
        policy=content_policy(style=style, script=script),
        generator=html.escape(str(data.get("version") or "vast")),
        title=html.escape(str(data.get("title") or "Evaluation")),
        style=style,
        data=script_json(data),
        script=script,
    )
    for name, sheet in sheets.items():
        yield _blob(name, base64.b64encode(sheet.jpeg).decode("ascii"))
    for name, video in inline.items():
        yield _blob(name, videos.encode_base64(video.path))
    yield tail


def script_json(data: Any) -> str:
    """JSON that cannot end its script element, whatever file names contain."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # file names that do not decode contain lone surrogates
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _blob(name: str, content: str) -> str:
    return f'<script type="text/plain" id="{html.escape(name)}">{content}</script>\n'


def content_policy(*, style: str, script: str) -> str:
    """Allow only this style and script, and images and videos from the page or its folder."""
    beside = "'self' file: data: blob:"
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        f"img-src {beside}; media-src {beside}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _read(name: str) -> str:
    return (resources.files("vast_cli.evaluate.report") / name).read_text("utf-8")

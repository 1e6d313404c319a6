"""Renders the page that raters open: style, program, orders and, up to a size, the videos themselves."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vast_cli.evaluate.study.design import StudyDesign
from vast_cli.evaluate.study.questions import QUESTIONS

INLINE_BYTES = 100_000_000  # of the whole page; larger ones make browsers slow to open
CLIPS = "clips"  # folder beside the page
_HERE = Path(__file__).parent


def inline_size(videos: Mapping[str, Path]) -> int:
    """Bytes that the videos would take inside the page."""
    return sum(-(-video.stat().st_size // 3) * 4 for video in videos.values())


def render_page(design: StudyDesign, *, study: str, videos: Mapping[str, Path], inline: bool, ratio: float) -> str:
    """The page as text.

    Args:
        design: of the study; the page holds only its tokens and orders.
        study: token of the study, which comes back with the answers.
        videos: files by token.
        inline: put the videos into the page instead of the folder `clips` beside it.
        ratio: width over height of all videos.
    """
    data = {
        "study": study,
        "mode": design.mode,
        "inline": inline,
        "ratio": round(ratio, 4),
        "clips": sorted(videos),
        "questions": [asdict(question) for question in QUESTIONS],
        "orders": [[[showing.item, *showing.clips] for showing in order] for order in design.orders],
    }
    parts = {
        "style": (_HERE / "page.css").read_text(encoding="utf-8"),
        "program": (_HERE / "page.js").read_text(encoding="utf-8"),
        "data": _script_json(data),
        "videos": "\n".join(_video_element(token, videos[token]) for token in sorted(videos)) if inline else "",
    }
    page = (_HERE / "page.html").read_text(encoding="utf-8")
    pieces = page.split("%%")  # text, name, text, name, ..., text
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _script_json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _video_element(token: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<script type="text/plain" id="clip-{token}">{content}</script>'

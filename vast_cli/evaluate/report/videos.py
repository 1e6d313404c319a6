"""Videos of the page: which of them a browser plays, which go into the page and which lie beside it."""

import base64
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vast_cli.core.errors import VastError
from vast_cli.core.files import write_error
from vast_cli.media import MediaInfo, probe

PLAYED = {
    "mp4": {"h264", "av1", "libdav1d", "vp9", "libvpx-vp9"},
    "mov": {"h264"},
    "webm": {"vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"},
}
PIXELS = {"yuv420p", "yuvj420p"}  # what every browser plays
NAMES = {"hevc": "H.265", "mpeg4": "MPEG-4 part 2", "libdav1d": "AV1"}
MAX_NAME = 60  # characters of a name beside the page
INLINE_BYTES = 100_000_000  # of base64, in one page


@dataclass(frozen=True)
class Video:
    """A video of the page.

    Attributes:
        mime: for the player; None if no browser plays it.
        note: why it is not shown, for people.
        size: bytes of the file.
        path: as the document names it.
    """

    path: Path
    mime: str | None
    note: str | None
    size: int

    @property
    def base64_size(self) -> int:
        """Bytes it takes up inside a page."""
        return (self.size + 2) // 3 * 4


def look(path: Path) -> Video:
    """What a browser would make of `path`; never fails."""
    try:
        info = probe(path)
        size = path.stat().st_size
    except (VastError, OSError) as error:
        gone = getattr(error, "code", None) == "vast_input_missing" or isinstance(error, FileNotFoundError)
        return Video(path, None, "the file is gone" if gone else f"it cannot be read: {error}", 0)
    mime, note = _playable(info)
    return Video(path, mime, note, size)


def _playable(info: MediaInfo) -> tuple[str | None, str | None]:
    if not info.has_video:
        return None, "the file holds no moving pictures"
    ending = info.path.suffix.lower().lstrip(".")
    if "mp4" in info.container or "mov" in info.container:
        kind = "mov" if ending == "mov" else "mp4"
    elif "webm" in info.container and ending == "webm":
        kind = "webm"
    else:
        return None, f"browsers do not play {ending or info.container} files; open it in a video player"
    codec = str(info.video_codec)
    if codec not in PLAYED[kind]:
        return None, f"browsers do not play {NAMES.get(codec, codec)} here; open it in a video player"
    if info.pixel_format not in PIXELS:
        return None, f"browsers do not play {info.pixel_format} pictures; open it in a video player"
    return "video/webm" if kind == "webm" else "video/mp4", None


def choose_inline(videos: Iterable[Video], budget: int) -> set[Path]:
    """Which of the videos, the most wanted first, go into a page of `budget` bytes.

    One that does not fit ends it: behind it no smaller one slips in, so that the most wanted are the ones there.
    """
    chosen: set[Path] = set()
    for video in videos:
        if video.mime is None or video.path in chosen:
            continue
        budget -= video.base64_size
        if budget < 0:
            break
        chosen.add(video.path)
    return chosen


def encode(path: Path) -> str:
    """A file's bytes as base64.

    Raises:
        VastError: `vast_input_unreadable`.
    """
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read") from error


def place_beside(path: Path, target: Path) -> None:
    """Put a file beside the page: as a link to the same bytes where the disk allows it, else a copy.

    Raises:
        VastError: `vast_disk_full`, `vast_output_unwritable`, `vast_write_failed`.
    """
    source = path.resolve()
    try:
        os.link(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise write_error(error, target) from error


def name_beside(index: int, name: str, suffix: str) -> str:
    """A file name that is safe on every system, in the order of the clips."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:MAX_NAME]
    return f"{index:04d}-{stem}{suffix}" if stem else f"{index:04d}{suffix}"


def url(folder: str, name: str) -> str:
    """A relative address as the page writes it."""
    return f"{quote(folder)}/{quote(name)}"


def paths_of(clip: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
    """(output, truth) of a clip of the document."""
    output, reference = clip.get("output"), clip.get("reference")
    return (Path(str(output)) if output else None, Path(str(reference)) if reference else None)

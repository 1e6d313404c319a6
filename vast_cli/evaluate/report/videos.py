"""Videos of the page: which ones a browser plays, which go into the page and which lie beside it."""

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

PLAYABLE_CODECS = {
    "mp4": {"h264", "av1", "libdav1d", "vp9", "libvpx-vp9"},
    "mov": {"h264"},
    "webm": {"vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9"},
}
PLAYABLE_PIXEL_FORMATS = {"yuv420p", "yuvj420p"}  # in every browser
CODEC_NAMES = {"hevc": "H.265", "mpeg4": "MPEG-4 part 2", "libdav1d": "AV1"}
MAX_STEM = 60  # characters in a file name beside the page
INLINE_BYTES = 100_000_000  # of base64, in one page


@dataclass(frozen=True)
class PageVideo:
    """A video of the page.

    Attributes:
        path: as in the document.
        mime: for the player; None if browsers do not play it.
        note: why it is not shown, in words.
        size: of the file in bytes.
    """

    path: Path
    mime: str | None
    note: str | None
    size: int

    @property
    def base64_size(self) -> int:
        """Bytes that it takes inside a page."""
        return (self.size + 2) // 3 * 4


def inspect_video(path: Path) -> PageVideo:
    """Find out whether a browser plays `path`; never fails."""
    try:
        info = probe(path)
        size = path.stat().st_size
    except (VastError, OSError) as error:
        is_missing = getattr(error, "code", None) == "vast_input_missing" or isinstance(error, FileNotFoundError)
        return PageVideo(path, None, "the file is gone" if is_missing else f"it cannot be read: {error}", 0)
    mime, note = _mime_or_note(info)
    return PageVideo(path, mime, note, size)


def _mime_or_note(info: MediaInfo) -> tuple[str | None, str | None]:
    if not info.has_video:
        return None, "the file has no video stream"
    suffix = info.path.suffix.lower().lstrip(".")
    if "mp4" in info.container or "mov" in info.container:
        kind = "mov" if suffix == "mov" else "mp4"
    elif "webm" in info.container and suffix == "webm":
        kind = "webm"
    else:
        return None, f"browsers do not play {suffix or info.container} files; open it in a video player"
    codec = str(info.video_codec)
    if codec not in PLAYABLE_CODECS[kind]:
        return None, f"browsers do not play {CODEC_NAMES.get(codec, codec)} here; open it in a video player"
    if info.pixel_format not in PLAYABLE_PIXEL_FORMATS:
        return None, f"browsers do not play {info.pixel_format} frames; open it in a video player"
    return "video/webm" if kind == "webm" else "video/mp4", None


def choose_inline(videos: Iterable[PageVideo], budget: int) -> set[Path]:
    """Which of the videos, in order of priority, go into a page of `budget` bytes.

    The first one that does not fit ends the list, even if a smaller one behind it would fit: the page holds exactly
    the videos of the highest priority.
    """
    inline: set[Path] = set()
    for video in videos:
        if video.mime is None or video.path in inline:
            continue
        budget -= video.base64_size
        if budget < 0:
            break
        inline.add(video.path)
    return inline


def encode_base64(path: Path) -> str:
    """A file's bytes as base64.

    Raises:
        VastError: `vast_input_unreadable`.
    """
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read") from error


def link_or_copy(path: Path, target: Path) -> None:
    """Put a file beside the page: a hard link where the disk allows it, otherwise a copy.

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


def safe_name(index: int, name: str, suffix: str) -> str:
    """A file name that is safe on every system and sorts in the order of the clips."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:MAX_STEM]
    return f"{index:04d}-{stem}{suffix}" if stem else f"{index:04d}{suffix}"


def relative_url(folder: str, name: str) -> str:
    """The address of a file beside the page."""
    return f"{quote(folder)}/{quote(name)}"


def clip_paths(clip: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
    """(output, truth) of a clip of the document."""
    output, reference = clip.get("output"), clip.get("reference")
    return (Path(str(output)) if output else None, Path(str(reference)) if reference else None)

"""Writes the report of an evaluation (`vast evaluate --report`): one page that opens from disk."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vast_cli.core.errors import VastError
from vast_cli.core.files import atomic_write, check_output_folder, part_path, write_error
from vast_cli.evaluate.report import videos
from vast_cli.evaluate.report.page import page_parts
from vast_cli.evaluate.report.ranking import CAP, rank_clips, worst_first
from vast_cli.evaluate.report.sheets import ContactSheet, make_sheet
from vast_cli.evaluate.report.videos import INLINE_BYTES, PageVideo
from vast_cli.evaluate.report.view import key_columns, nan_to_null, view_clip, view_measures

PAGE: Final = "index.html"
FILES_FOLDER: Final = re.compile(r"files-[0-9a-f]{12}")  # beside this page, or an earlier one
SHEETS_INLINE: Final = 50  # about 100 kB each


@dataclass
class _PageMedia:
    """Contact sheets and videos of the page, by the ids that its data uses."""

    folder: Path  # of the files beside the page, under a temporary name
    name: str  # and its final name
    sheets: dict[str, ContactSheet] = field(default_factory=dict)
    inline: dict[str, PageVideo] = field(default_factory=dict)
    links: dict[Path, str] = field(default_factory=dict)
    published: bool = False

    def file(self, name: str) -> Path:
        """A path beside the page."""
        self.folder.mkdir(exist_ok=True)
        return self.folder / name

    def publish(self) -> None:
        """Give the folder its final name; an existing folder of that name has the same content."""
        target = self.folder.parent / self.name
        if self.folder.is_dir() and not target.exists():
            self.folder.rename(target)
            self.published = True


def write_report(
    document: Mapping[str, Any],
    folder: Path,
    *,
    overwrite: bool,
    sheets_inline: int = SHEETS_INLINE,
    inline_bytes: int = INLINE_BYTES,
    on_clip: Callable[[], None] | None = None,
) -> Path:
    """Write `folder/index.html`, the report of an evaluation, whole or not at all.

    The page holds the contact sheets of the worst clips and, up to a size, the videos, those of the worst clips first.
    Other sheets and videos lie beside it in one folder `files-*`. A clip whose files are gone keeps its figures.

    Args:
        document: of the schema `vast.evaluate/1` with `clips`; a clip may add `mouth_box` and `reference_mouth_box`,
            [left, top, right, bottom] in pixels, for a row of mouths.
        folder: created if needed; other files in it stay.
        overwrite: replace the page in a folder that is not empty.
        sheets_inline: contact sheets inside the page.
        inline_bytes: of base64 video inside the page.
        on_clip: called after each clip.

    Returns:
        The path of the page.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    existed = folder.exists()
    check_output_folder(folder, overwrite=overwrite)
    page = folder / PAGE
    try:
        _write(nan_to_null(document), page, sheets_inline, inline_bytes, on_clip or (lambda: None))
    except BaseException:
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
        raise
    return page


def _write(
    document: Mapping[str, Any], page: Path, sheets_inline: int, inline_bytes: int, on_clip: Callable[[], None]
) -> None:
    clips: Sequence[Mapping[str, Any]] = document.get("clips") or []
    ranks = rank_clips(document)
    order = worst_first(ranks)
    inspected = _inspect_videos(clips)
    files_name = _files_name(document, inspected, sheets_inline, inline_bytes)
    with _page_media(page.parent, files_name) as page_media:
        outputs = [inspected[path] for index in order if (path := videos.clip_paths(clips[index])[0])]
        truths = [inspected[path] for index in order if (path := videos.clip_paths(clips[index])[1])]
        inline = videos.choose_inline(outputs + truths, inline_bytes)
        viewed = []
        for place, index in enumerate(order):
            clip = view_clip(clips[index], ranks[index], document.get("measures") or {})
            output, truth = videos.clip_paths(clips[index])
            clip["video"] = _video_entry(output, inspected, inline, page_media)
            clip["truth"] = _video_entry(truth, inspected, inline, page_media)
            clip["sheet"] = _sheet_entry(clips[index], place, page_media, inline=place < sheets_inline)
            viewed.append(clip)
            on_clip()
        data = _page_data(document, viewed)
        with atomic_write(page) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            for piece in page_parts(data, page_media.sheets, page_media.inline):
                file.write(piece)
            page_media.publish()
    _remove_old_files(page.parent, keep=files_name)


def _page_data(document: Mapping[str, Any], clips: list[dict[str, Any]]) -> dict[str, Any]:
    measures = view_measures(document)
    names = ("schema", "version", "seed", "set")
    return {
        **{name: document.get(name) for name in names},
        "title": f"Evaluation of {len(clips)} clip{'' if len(clips) == 1 else 's'}",
        "measures": measures,
        "columns": key_columns(measures),
        "cap": round(CAP),
        "clips": clips,
    }


def _inspect_videos(clips: Sequence[Mapping[str, Any]]) -> dict[Path, PageVideo]:
    paths = {path for clip in clips for path in videos.clip_paths(clip) if path is not None}
    return {path: videos.inspect_video(path) for path in sorted(paths)}


def _video_entry(
    path: Path | None, inspected: Mapping[Path, PageVideo], inline: set[Path], page_media: _PageMedia
) -> dict[str, Any] | None:
    if path is None:
        return None
    video = inspected[path]
    if video.mime is None:
        return {"note": video.note}
    if path not in page_media.links:
        index = len(page_media.links)
        if path in inline:
            page_media.links[path] = f"video-{index}"
            page_media.inline[f"video-{index}"] = video
        else:
            name = videos.safe_name(index, path.stem, path.suffix.lower())
            videos.link_or_copy(path, page_media.file(name))
            page_media.links[path] = videos.relative_url(page_media.name, name)
    return {"mime": video.mime, ("blob" if path in inline else "url"): page_media.links[path]}


def _sheet_entry(clip: Mapping[str, Any], place: int, page_media: _PageMedia, *, inline: bool) -> dict[str, Any]:
    if not clip.get("output"):
        return {"note": "the clip names no video"}
    try:
        sheet = make_sheet(clip)
    except VastError as error:
        return {"note": error.message}
    if inline:
        name = f"sheet-{place}"
        page_media.sheets[name] = sheet
        return {"blob": name, **sheet.layout()}
    name = videos.safe_name(place, "sheet", ".jpg")
    target = page_media.file(name)
    try:
        target.write_bytes(sheet.jpeg)
    except OSError as error:
        raise write_error(error, target) from error
    return {"url": videos.relative_url(page_media.name, name), **sheet.layout()}


def _files_name(document: Mapping[str, Any], inspected: Mapping[Path, PageVideo], *settings: int) -> str:
    """Name of the folder beside the page: another one whenever anything in it may differ."""
    digest = hashlib.sha256(json.dumps([document, settings], sort_keys=True).encode())
    for path, video in inspected.items():
        mtime = path.stat().st_mtime_ns if path.is_file() else 0
        digest.update(f"\0{path}\0{video.size}\0{mtime}".encode("utf-8", "surrogateescape"))
    return f"files-{digest.hexdigest()[:12]}"


@contextmanager
def _page_media(folder: Path, name: str) -> Iterator[_PageMedia]:
    page_media = _PageMedia(part_path(folder / "files"), name)
    try:
        yield page_media
    except BaseException:
        if page_media.published:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(page_media.folder, ignore_errors=True)


def _remove_old_files(folder: Path, *, keep: str) -> None:
    """Remove the files of the page that was replaced."""
    for path in folder.iterdir():
        if FILES_FOLDER.fullmatch(path.name) and path.name != keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)

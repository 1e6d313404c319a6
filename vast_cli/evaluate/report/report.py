"""`vast evaluate --report`: an evaluation as one page that opens from disk."""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vast_cli.core.errors import VastError
from vast_cli.core.files import RUN, atomic_write, check_output_folder, write_error
from vast_cli.evaluate.report import videos
from vast_cli.evaluate.report.page import page_parts
from vast_cli.evaluate.report.ranking import CAP, rank_clips, worst_first
from vast_cli.evaluate.report.sheets import Sheet, make_sheet
from vast_cli.evaluate.report.videos import INLINE_BYTES, Video
from vast_cli.evaluate.report.view import finite, key_columns, view_clip, view_measures

PAGE: Final = "index.html"
BESIDE: Final = re.compile(r"files-[0-9a-f]{12}")  # folders of former pages
SHEETS_INLINE: Final = 50  # about 100 kB each


@dataclass
class _Parts:
    """What the page is made of besides its data, by the ids the data uses."""

    folder: Path  # of what lies beside the page, under a temporary name
    name: str  # and its final one
    sheets: dict[str, Sheet] = field(default_factory=dict)
    inline: dict[str, Video] = field(default_factory=dict)
    links: dict[Path, str] = field(default_factory=dict)
    published: bool = False

    def file(self, name: str) -> Path:
        """A path beside the page."""
        self.folder.mkdir(exist_ok=True)
        return self.folder / name

    def publish(self) -> None:
        """Give the folder its name; a former one of that name holds the same."""
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

    The page holds the contact sheets of the worst clips and, up to a size, the videos, the worst clips' first; other
    sheets and videos lie beside it in one folder `files-*`. A clip whose files are gone keeps its figures.

    Args:
        document: of the schema `vast.evaluate/1` with `clips`; a clip may add `mouth_box` and `reference_mouth_box`,
            [left, top, right, bottom] in pixels, for a row of mouths.
        folder: made if need be; other files in it stay.
        overwrite: replace the page in a folder that holds something already.
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
        _write(finite(document), page, sheets_inline, inline_bytes, on_clip or (lambda: None))
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
    found = _look([clips[index] for index in order])
    token = _token(document, found, sheets_inline, inline_bytes)
    with _beside(page.parent, token) as parts:
        outputs = [found[path] for index in order if (path := videos.paths_of(clips[index])[0])]
        truths = [found[path] for index in order if (path := videos.paths_of(clips[index])[1])]
        chosen = videos.choose_inline(outputs + truths, inline_bytes)
        shown = []
        for place, index in enumerate(order):
            clip = view_clip(clips[index], ranks[index], document.get("measures") or {})
            output, truth = videos.paths_of(clips[index])
            clip["video"] = _video(output, found, chosen, parts)
            clip["truth"] = _video(truth, found, chosen, parts)
            clip["sheet"] = _sheet(clips[index], place, parts, inline=place < sheets_inline)
            shown.append(clip)
            on_clip()
        data = _data(document, shown)
        with atomic_write(page) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            for piece in page_parts(data, parts.sheets, parts.inline):
                file.write(piece)
            parts.publish()
    _sweep(page.parent, keep=token)


def _data(document: Mapping[str, Any], clips: list[dict[str, Any]]) -> dict[str, Any]:
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


def _look(clips: Sequence[Mapping[str, Any]]) -> dict[Path, Video]:
    paths = {path for clip in clips for path in videos.paths_of(clip) if path is not None}
    return {path: videos.look(path) for path in sorted(paths)}


def _video(path: Path | None, found: Mapping[Path, Video], chosen: set[Path], parts: _Parts) -> dict[str, Any] | None:
    if path is None:
        return None
    video = found[path]
    if video.mime is None:
        return {"note": video.note}
    if path not in parts.links:
        index = len(parts.links)
        if path in chosen:
            parts.links[path] = f"video-{index}"
            parts.inline[f"video-{index}"] = video
        else:
            name = videos.name_beside(index, path.stem, path.suffix.lower())
            videos.place_beside(path, parts.file(name))
            parts.links[path] = videos.url(parts.name, name)
    return {"mime": video.mime, ("blob" if path in chosen else "url"): parts.links[path]}


def _sheet(clip: Mapping[str, Any], place: int, parts: _Parts, *, inline: bool) -> dict[str, Any]:
    if not clip.get("output"):
        return {"note": "the clip names no video"}
    try:
        sheet = make_sheet(clip)
    except VastError as error:
        return {"note": error.message}
    if inline:
        name = f"sheet-{place}"
        parts.sheets[name] = sheet
        return {"blob": name, **sheet.layout()}
    name = videos.name_beside(place, "sheet", ".jpg")
    target = parts.file(name)
    try:
        target.write_bytes(sheet.jpeg)
    except OSError as error:
        raise write_error(error, target) from error
    return {"url": videos.url(parts.name, name), **sheet.layout()}


def _token(document: Mapping[str, Any], found: Mapping[Path, Video], *settings: int) -> str:
    """Names what lies beside a page: another name whenever anything in it may differ."""
    digest = hashlib.sha256(json.dumps([document, settings], sort_keys=True).encode())
    for path, video in found.items():
        stamp = path.stat().st_mtime_ns if path.is_file() else 0
        digest.update(f"\0{path}\0{video.size}\0{stamp}".encode("utf-8", "surrogateescape"))
    return f"files-{digest.hexdigest()[:12]}"


@contextmanager
def _beside(folder: Path, name: str) -> Iterator[_Parts]:
    parts = _Parts(folder / f".files.{RUN}-{uuid.uuid4().hex[:6]}.part", name)
    try:
        yield parts
    except BaseException:
        if parts.published:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(parts.folder, ignore_errors=True)


def _sweep(folder: Path, *, keep: str) -> None:
    """Remove what lay beside the page that was replaced."""
    for path in folder.iterdir():
        if BESIDE.fullmatch(path.name) and path.name != keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)

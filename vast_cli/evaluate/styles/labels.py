"""Labels, persons and sources of the clips of a style map, from a table that is matched by path or name."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import files
from vast_cli.core.errors import VastError

# accepted names of each column; `index.csv` of a corpus fits
PATH_NAMES = ("path", "file", "clip", "stem", "name")
LABEL_NAMES = ("label", "emotion", "style", "manner")
SPEAKER_NAMES = ("speaker", "person", "actor")
SOURCE_NAMES = ("source", "video", "source_video")
COLUMNS = {"path": PATH_NAMES, "label": LABEL_NAMES, "speaker": SPEAKER_NAMES, "source": SOURCE_NAMES}
SUFFIXES = (".track", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".style")  # of a clip's files the first is used


@dataclass(frozen=True)
class ClipLabel:
    """One row of the table."""

    label: str
    speaker: str  # empty if not known
    source: str  # shared by the clips of one recording; empty if not known


class LabelTable:
    """The table of labels.

    Args:
        path: CSV with the columns path (or stem) and label, and speaker and source if known, in this order if there
            is no header. Other columns and rows without a label are ignored.

    Raises:
        VastError: `vast_input_missing`, `vast_manifest_invalid`.
    """

    def __init__(self, path: Path) -> None:
        files.check_input(path)
        self.path = path
        self._labels: dict[str, ClipLabel | None] = {}
        self._full_names: set[str] = set()
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise VastError("vast_manifest_invalid", f"`{path}` is no CSV table in UTF-8: {error}") from error
        columns = self._columns(rows)
        if columns["path"] >= 0 and rows[0][columns["path"]].strip().lower() in PATH_NAMES:
            rows = rows[1:]
        for number, row in enumerate(rows, 1):
            cell = {name: row[k].strip() if 0 <= k < len(row) else "" for name, k in columns.items()}
            if not cell["path"]:
                raise VastError("vast_manifest_invalid", f"row {number} of `{path}` names no clip")
            if cell["label"]:
                self._add(cell["path"], ClipLabel(cell["label"], cell["speaker"], cell["source"]))

    def _columns(self, rows: list[list[str]]) -> dict[str, int]:
        if not rows:
            raise VastError("vast_manifest_invalid", f"`{self.path}` is empty", hint="one row per clip: path,label")
        names = [cell.strip().lower() for cell in rows[0]]
        if not any(name in PATH_NAMES for name in names):
            if len(names) < 2:
                raise VastError(
                    "vast_manifest_invalid", f"`{self.path}` has one column", hint="one row per clip: path,label"
                )
            return {"path": 0, "label": 1, "speaker": 2, "source": 3}
        columns = {
            key: next((names.index(name) for name in accepted if name in names), -1)
            for key, accepted in COLUMNS.items()
        }
        if columns["label"] < 0:
            raise VastError(
                "vast_manifest_invalid", f"`{self.path}` has no column of labels", hint=f"call it {LABEL_NAMES[0]}"
            )
        return columns

    def _add(self, clip: str, label: ClipLabel) -> None:
        full, *shorter = _names(Path(clip))
        if full in self._full_names and self._labels[full] != label:
            raise VastError("vast_manifest_invalid", f"`{self.path}` has two different rows for `{clip}`")
        self._full_names.add(full)
        self._labels[full] = label
        for name in shorter:
            if name not in self._full_names:  # None for a name that fits several rows
                self._labels[name] = label if self._labels.get(name, label) == label else None

    def find(self, clip: Path) -> ClipLabel | None:
        """The row of a clip: the one that shares most of its path, else its stem. None if there is none, or several."""
        return next((label for name in _names(clip) if (label := self._labels.get(name)) is not None), None)


def _names(path: Path) -> list[str]:
    """Names that may stand for a clip, the longest first: paths without suffix, down to the stem."""
    path = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    parts = path.as_posix().split("/")
    # caches of tracks write two underscores for a slash
    parts = [part for cell in parts for part in cell.split("__") if part not in ("", ".", "..")]
    return ["/".join(parts[k:]) for k in range(len(parts))] or [path.name]


def list_clips(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and each clip of a folder once: its track, else its video, else its style file."""
    clips: list[Path] = []
    for path in paths:
        clips += _list_folder(path) if path.is_dir() else [path]
    return list(dict.fromkeys(clips))


def _list_folder(folder: Path) -> Iterable[Path]:
    chosen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        rank = SUFFIXES.index(path.suffix.lower())
        previous = chosen.get(path.stem)
        if previous is None or rank < SUFFIXES.index(previous.suffix.lower()):
            chosen[path.stem] = path
    return chosen.values()

"""What the clips of a style map show: labels, persons and sources from a table, matched by path or name."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import files
from vast_cli.core.errors import VastError

# columns by what they may be called; `index.csv` of a corpus fits
PATH = ("path", "file", "clip", "stem", "name")
LABEL = ("label", "emotion", "style", "manner")
SPEAKER = ("speaker", "person", "actor")
SOURCE = ("source", "video", "source_video")
PREFERRED = (".track", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".style")  # one of each clip of a folder


@dataclass(frozen=True)
class Label:
    """One row of the table."""

    label: str
    speaker: str  # empty if not given
    source: str  # of several clips of one recording; empty if not given


class Labels:
    """The table of labels.

    Args:
        path: CSV with the columns path (or stem) and label, and speaker and source if known, in this order without a
            first line of names; other columns are passed over. Rows without a label are none.

    Raises:
        VastError: `vast_input_missing`, `vast_manifest_invalid`.
    """

    def __init__(self, path: Path) -> None:
        files.check_input(path)
        self.path = path
        self._rows: dict[str, Label | None] = {}
        self._whole: set[str] = set()
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise VastError("vast_manifest_invalid", f"`{path}` is no CSV table in UTF-8: {error}") from error
        columns = self._columns(rows)
        if columns["path"] >= 0 and rows[0][columns["path"]].strip().lower() in PATH:
            rows = rows[1:]
        for number, row in enumerate(rows, 1):
            cell = {name: row[k].strip() if 0 <= k < len(row) else "" for name, k in columns.items()}
            if not cell["path"]:
                raise VastError("vast_manifest_invalid", f"row {number} of `{path}` names no clip")
            if cell["label"]:
                self._add(cell["path"], Label(cell["label"], cell["speaker"], cell["source"]))

    def _columns(self, rows: list[list[str]]) -> dict[str, int]:
        if not rows:
            raise VastError("vast_manifest_invalid", f"`{self.path}` is empty", hint="one line a clip: path,label")
        names = [cell.strip().lower() for cell in rows[0]]
        if not any(name in PATH for name in names):
            if len(names) < 2:
                raise VastError(
                    "vast_manifest_invalid", f"`{self.path}` has one column", hint="one line a clip: path,label"
                )
            return {"path": 0, "label": 1, "speaker": 2, "source": 3}
        found = {
            key: next((names.index(name) for name in known if name in names), -1)
            for key, known in (("path", PATH), ("label", LABEL), ("speaker", SPEAKER), ("source", SOURCE))
        }
        if found["label"] < 0:
            raise VastError(
                "vast_manifest_invalid", f"`{self.path}` has no column of labels", hint=f"call it {LABEL[0]}"
            )
        return found

    def _add(self, clip: str, label: Label) -> None:
        whole, *shorter = _names(Path(clip))
        if whole in self._whole and self._rows[whole] != label:
            raise VastError("vast_manifest_invalid", f"`{self.path}` says different things of `{clip}`")
        self._whole.add(whole)
        self._rows[whole] = label
        for name in shorter:
            if name not in self._whole:  # a name that fits several rows fits none
                self._rows[name] = label if self._rows.get(name, label) == label else None

    def of(self, clip: Path) -> Label | None:
        """The row of a clip: the one that shares most of its path, else its stem; None without one of its own."""
        return next((row for name in _names(clip) if (row := self._rows.get(name)) is not None), None)


def _names(path: Path) -> list[str]:
    """What a clip may be called, the longest first: paths without their ending, down to the stem."""
    path = path.with_suffix("") if path.suffix.lower() in PREFERRED else path
    parts = path.as_posix().split("/")
    # caches of tracks write folders with two underlines
    parts = [part for cell in parts for part in cell.split("__") if part not in ("", ".", "..")]
    return ["/".join(parts[k:]) for k in range(len(parts))] or [path.name]


def expand(clips: Sequence[Path]) -> list[Path]:
    """Files as they are; of a folder each clip once, as track, else video, else style file."""
    found: list[Path] = []
    for path in clips:
        found += _of_folder(path) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def _of_folder(folder: Path) -> Iterable[Path]:
    chosen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PREFERRED or path.name.startswith("."):
            continue
        rank = PREFERRED.index(path.suffix.lower())
        known = chosen.get(path.stem)
        if known is None or rank < PREFERRED.index(known.suffix.lower()):
            chosen[path.stem] = path
    return chosen.values()

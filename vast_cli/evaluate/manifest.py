"""Pairs of outputs and references to evaluate, from files, folders, or a table."""

import csv
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.evaluate.observation.clip import Pair

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", *VIDEO_SUFFIXES)
PATHS = ("output", "reference", "audio", "style_reference", "footage")
COLUMNS = ("id", *PATHS, "transcript", "speaker", "avatar", "style_differs")
MAX_ROWS = 100_000


def find_pairs(output: Path, inputs: Mapping[str, Path | None], *, style_differs: bool = False) -> list[Pair]:
    """Pairs of one video, of a folder of videos, or of a table (.csv, .tsv).

    Args:
        output: video, folder or table.
        inputs: `reference`, `audio`, `style_reference`, `footage`: a file for all clips, or a folder with files of the
            same stem. For a table, they fill empty cells.
        style_differs: the outputs speak in another style than their references.

    Raises:
        VastError: `vast_input_missing`, `vast_manifest_invalid`, `vast_option_invalid`.
    """
    for name, path in inputs.items():
        if path is not None and not path.exists():
            raise VastError("vast_input_missing", f"`--{name.replace('_', '-')} {path}` is not there")
    if output.suffix.lower() in (".csv", ".tsv"):
        pairs = _read_table(output)
    elif output.is_dir():
        videos = sorted(
            p for p in output.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith(".")
        )
        if not videos:
            raise VastError("vast_input_missing", f"folder `{output}` holds no video")
        pairs = [Pair(video.stem, video) for video in videos]
    else:
        files.check_input(output)
        pairs = [Pair(output.stem, output)]
    pairs = [_complete(pair, inputs, style_differs) for pair in pairs]
    if inputs.get("reference") is not None and not any(pair.reference for pair in pairs):
        raise VastError("vast_input_missing", f"`--reference {inputs['reference']}` has no video named as an output")
    return with_other_audio(pairs)


def _complete(pair: Pair, inputs: Mapping[str, Path | None], style_differs: bool) -> Pair:
    """The pair with `inputs` for what it does not name itself."""
    missing: dict[str, Any] = {}
    for name, path in inputs.items():
        if path is None or getattr(pair, name) is not None:
            continue
        missing[name] = (
            _same_stem(path, pair.output.stem, AUDIO_SUFFIXES if name == "audio" else VIDEO_SUFFIXES)
            if path.is_dir()
            else path
        )
    return replace(pair, **missing, style_differs=pair.style_differs or style_differs)


def _same_stem(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    matches = sorted(p for p in folder.iterdir() if p.stem == stem and p.suffix.lower() in suffixes)
    return matches[0] if matches else None


def _read_table(path: Path) -> list[Pair]:
    """Rows of a table; all faults of the file are reported at once."""
    files.check_input(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VastError("vast_manifest_invalid", f"`{path}` is not UTF-8: {error}") from error
    header = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = [name.strip().replace("-", "_") for name in reader.fieldnames or []]
    reader.fieldnames = columns
    faults = [
        f"column `{name}`: unknown; {suggest(name, COLUMNS)}"
        for name in columns
        if name not in COLUMNS and name[:2] != "x_"
    ]
    if "output" not in columns:
        faults.append("there is no column `output`")
    pairs: list[Pair] = []
    for number, row in enumerate(reader, start=2):
        if number > MAX_ROWS:
            faults.append(f"more than {MAX_ROWS} rows")
            break
        pair = _read_row(path.parent, row, f"row {number}", faults)
        if pair is not None:
            pairs.append(pair)
    first_rows: dict[str, int] = {}
    for number, pair in enumerate(pairs, start=2):
        if pair.id in first_rows:
            faults.append(f"row {number}: the id `{pair.id}` is that of row {first_rows[pair.id]} too")
        first_rows.setdefault(pair.id, number)
    if not pairs and not faults:
        faults.append("there is no row")
    if faults:
        raise VastError("vast_manifest_invalid", f"`{path}`: " + "; ".join(faults))
    return pairs


def _read_row(folder: Path, row: dict[str, str | None], where: str, faults: list[str]) -> Pair | None:
    cells = {name: value.strip() for name, value in row.items() if isinstance(value, str) and value.strip()}
    if None in row:
        faults.append(f"{where}: more cells than columns")
    paths = {name: folder / cells[name] for name in PATHS if name in cells}
    if "output" not in paths:
        faults.append(f"{where}, column output: empty")
        return None
    faults.extend(f"{where}, column {name}: no file `{path}`" for name, path in paths.items() if not path.is_file())
    differs = cells.get("style_differs", "0").lower()
    if differs not in ("0", "1", "yes", "no", "true", "false"):
        faults.append(f"{where}, column style_differs: `{differs}` is neither 0 nor 1")
    values: dict[str, Any] = paths | {name: cells.get(name) for name in ("transcript", "speaker", "avatar")}
    return Pair(id=cells.get("id", paths["output"].stem), style_differs=differs in ("1", "yes", "true"), **values)


def with_other_audio(pairs: list[Pair]) -> list[Pair]:
    """Give every clip the audio of another one, of the same speaker if possible, for the control `other_audio`."""
    sources = [pair.audio or pair.reference or pair.output for pair in pairs]
    completed = []
    for i, pair in enumerate(pairs):
        others = [(i + k) % len(pairs) for k in range(1, len(pairs))]
        others = [j for j in others if sources[j] != sources[i]]
        same = [j for j in others if pair.speaker is not None and pairs[j].speaker == pair.speaker]
        chosen = (same or others)[:1]
        completed.append(replace(pair, other_audio=sources[chosen[0]]) if chosen else pair)
    return completed


assert set(COLUMNS) <= {field.name for field in fields(Pair)}

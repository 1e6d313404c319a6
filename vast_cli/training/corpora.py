"""The video corpus: its index, and how far each clip's audio is from its video.

A corpus is a folder with `index.csv` (columns: its README), `sync_learned.csv` and the clips, all at 25 frames/s.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vast_cli.core import files
from vast_cli.core.errors import VastError

MIN_OFFSET_MS = 20  # half a frame, and the resolution of lip closures
LEARNED_MIN_SECONDS = 6.0
LEARNED_MIN_MARGIN = 0.2
LEARNED_MIN_R = 0.25
LEARNED_MAX_LAG = 6  # frames; larger ones were chance in all clips looked at


@dataclass(frozen=True)
class CorpusClip:
    """A row of the index."""

    corpus: Path  # folder of the index
    name: str  # path in the corpus, `talk/fi01.mp4`
    set: str  # talk, grid, grid_s1, mead, style, avatar, lrcar
    speaker: str  # the same person has the same name
    sex: str  # apparent
    language: str
    style: str  # column `manner`: address, news, silent ...
    emotion: str
    seconds: float
    n_frames: int
    has_audio: bool
    split: Literal["train", "val"]  # by speaker, but by clip in grid_s1
    sync_lag: int | None  # frames, from the energy of the audio; rough
    sync_r: float | None
    sync_ok: bool | None
    source: str  # repository and path: clips of one source show the same recording
    licence: str
    sha256: str

    @property
    def path(self) -> Path:
        """The video file."""
        return self.corpus / self.name

    @property
    def key(self) -> str:
        """Name for caches: `talk__fi01`."""
        return self.name.removesuffix(".mp4").replace("/", "__")


def read_index(corpus: Path) -> list[CorpusClip]:
    """All clips of a corpus, in the order of its index.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`.
    """
    path = corpus / "index.csv"
    clips = []
    for number, row in enumerate(_read_rows(path), start=2):
        try:
            clips.append(_parse_row(corpus, row))
        except (KeyError, ValueError) as error:
            raise VastError("vast_record_invalid", f"line {number} is not a clip: {error}", where=str(path)) from error
    return clips


def _read_rows(path: Path) -> list[dict[str, str]]:
    files.check_input(path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _parse_row(corpus: Path, row: dict[str, str]) -> CorpusClip:
    split = row["split"]
    if split not in ("train", "val"):
        raise ValueError(f"split `{split}`")
    return CorpusClip(
        corpus=corpus,
        name=row["path"],
        set=row["set"],
        speaker=row["speaker"],
        sex=row["sex"],
        language=row["language"],
        style=row["manner"],
        emotion=row["emotion"],
        seconds=float(row["seconds"]),
        n_frames=int(row["frames"]),
        has_audio=row["audio"] == "1",
        split=split,  # type: ignore[arg-type]  # checked above
        sync_lag=int(row["sync_lag"]) if row["sync_lag"] else None,
        sync_r=float(row["sync_r"]) if row["sync_r"] else None,
        sync_ok=row["sync_ok"] == "1" if row["sync_ok"] else None,
        source=f"{row['source_repo']}/{row['source_path']}",
        licence=row["licence"],
        sha256=row["sha256"],
    )


def audio_offset_s(clip: CorpusClip) -> float:
    """Seconds to add to a video time to find the audio that belongs to it.

    The frame at `t` belongs to the audio at `t + audio_offset_s(clip)` of the clip's own track: 0 for clips in sync,
    +0.06 where the audio is 60 ms late (the video early). To put a clip in sync, drop that much from the start of its
    audio, or prepend silence if it is negative.

    From `audio_offsets.csv` (made by `training.audio_offsets`): lip closures at P, B, M where they are clear, of this
    clip or another cut of the recording, else the corpus' own tables. Less than half a frame is left alone, and clips
    of which nothing is known give 0.
    """
    late_ms, _ = _offsets().get(clip.name, (0, ""))
    return late_ms / 1000 if abs(late_ms) >= MIN_OFFSET_MS else 0.0


def audio_offset_basis(clip: CorpusClip) -> str | None:
    """What the offset is based on: `closures`, `recording` (closures in another cut), `table`,
    `lagsync`, `lag`; None: unknown.

    GRID clips are in sync as a whole but too short to be measured one by one: None.
    """
    row = _offsets().get(clip.name)
    return None if row is None else row[1]


@functools.cache
def _offsets() -> dict[str, tuple[int, str]]:
    rows = _read_rows(Path(__file__).with_name("audio_offsets.csv"))
    return {row["path"]: (int(row["late_ms"]), row["by"]) for row in rows}


def learned_lags(corpus: Path) -> dict[str, int]:
    """Clear rows of `sync_learned.csv`: frames by which the video is late, by the clip's name; {} without a table.

    Its zero is that of the clips it was learned from, whose video is early on the whole: `training.audio_offsets`
    fits it to lip closures.
    """
    table = corpus / "sync_learned.csv"
    if not table.is_file():
        return {}
    seconds = {clip.name: clip.seconds for clip in read_index(corpus)}
    return {
        row["path"]: int(row["lag"])
        for row in _read_rows(table)
        if seconds.get(row["path"], 0) >= LEARNED_MIN_SECONDS
        and float(row["margin"]) >= LEARNED_MIN_MARGIN
        and float(row["r"]) >= LEARNED_MIN_R
        and abs(int(row["lag"])) <= LEARNED_MAX_LAG
    }

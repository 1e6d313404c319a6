"""Measure how far each clip's audio is from its video, at lip closures (P, B, M shut the lips).

For every clip with phone labels: the mean lip gap at the middles of its P, B, M, with the video shifted by every
offset in turn. The curve has one sharp minimum. GRID (studio recordings) says where it lies in sync.
Clips with fewer closures take the offset of `../speech/video_sync.csv`, others the lag that LagSync measured
(`sync_lagsync.csv`; whole frames), others the learned lag of the corpus, fitted to these offsets by a line (median
residual 18 ms).

Result: `audio_offsets.csv` beside this file, which `corpora.audio_offset_s` reads.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli import records
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32, Float64
from vast_cli.core.errors import VastError
from vast_cli.face.model import FaceModel
from vast_cli.training.corpora import LEARNED_MAX_LAG, CorpusClip, learned_lags, read_index

TABLE = Path(__file__).with_name("audio_offsets.csv")
OFFSETS_MS = np.arange(-320, 321, 10)  # of the video against the audio
NEIGHBOURHOOD_MS = 100  # the minimum must be deeper than everything further away from it
CLOSING = ("P", "B", "M")
MIN_CLOSURES = 5
MAX_GAP = 0.4  # of the mean lip gap, at the minimum
MIN_DEPTH = 0.25  # below the least gap further away
TABLE_IN_SYNC_MS = -20.0  # of video_sync.csv, whose frames lie half a frame later
MIN_LAGSYNC_GAP = 0.1  # between the best lag and others: below it the README of the corpus calls it unclear
MAX_PHONE_MS = 200  # longer labels are not closures


@dataclass(frozen=True)
class Closures:
    """Lip gap around a clip's closures."""

    count: int
    curve: Float64  # gap over the clip's mean gap, at OFFSETS_MS

    @property
    def best_ms(self) -> float:
        """Where the gap is least: the vertex of the parabola around the minimum (+-20 ms)."""
        k = int(np.clip(np.argmin(self.curve), 2, len(self.curve) - 3))
        a, b, _ = np.polyfit(OFFSETS_MS[k - 2 : k + 3], self.curve[k - 2 : k + 3], 2)
        vertex = -b / (2 * a) if a > 0 else float(OFFSETS_MS[k])
        return float(np.clip(vertex, OFFSETS_MS[k] - 20, OFFSETS_MS[k] + 20))

    @property
    def clear(self) -> bool:
        """Enough closures, a deep minimum, and nothing like it further away."""
        least = self.curve.min()
        away = np.abs(OFFSETS_MS - OFFSETS_MS[np.argmin(self.curve)]) > NEIGHBOURHOOD_MS
        inside = 2 < int(np.argmin(self.curve)) < len(self.curve) - 3
        return bool(
            self.count >= MIN_CLOSURES and least <= MAX_GAP and self.curve[away].min() - least >= MIN_DEPTH and inside
        )


def closures(gap: Float32, middles_ms: Float64) -> Closures | None:
    """Mean lip gap around closures.

    Args:
        gap: [n], lip gap at 25 fps.
        middles_ms: middles of P, B, M in the audio.

    Returns:
        None if no closure lies far enough from the ends.
    """
    times = timebase.frame_milliseconds(len(gap))
    reach = OFFSETS_MS[-1]
    middles_ms = middles_ms[(middles_ms > reach) & (middles_ms < times[-1] - reach)]
    if not len(middles_ms):
        return None
    gaps = np.interp(middles_ms[:, None] + OFFSETS_MS, times, gap)
    return Closures(len(middles_ms), gaps.mean(0) / gap.mean())


def middles(labels: Path) -> dict[str, Float64]:
    """Middles of P, B, M in ms for each clip of `video_labels.npz`, by the clip's name."""
    classes = labels.with_name("classes.txt").read_text(encoding="utf-8").split()
    closing = [classes.index(c) for c in CLOSING]
    result = {}
    with np.load(labels, allow_pickle=False) as table:
        phones, starts, bounds = table["seg_phone"], table["seg_ms"].astype(np.float64), table["seg_ptr"]
        for k, name in enumerate(table["utt"]):
            start = starts[bounds[k] : bounds[k + 1]]
            end = np.append(start[1:], table["length"][k] / 16)  # samples at 16 kHz to ms
            chosen = np.isin(phones[bounds[k] : bounds[k + 1]], closing) & (end - start <= MAX_PHONE_MS)
            result[str(name)] = ((start + end) / 2)[chosen]
    return result


def measure(corpus: Path, tracks: Path, model: FaceModel) -> dict[str, Closures]:
    """Closures of every labelled clip that was tracked (`tracks/KEY.track`), by the clip's name."""
    labelled = middles(corpus.parent / "speech" / "video_labels.npz")
    measured = {}
    for clip in read_index(corpus):
        path = tracks / f"{clip.key}.track"
        if clip.name in labelled and path.is_file():
            track = records.load(records.FaceTrack, path, model_hash=model.hash)
            result = closures(model.lip_gap(track.identity, track.expression), labelled[clip.name])
            if result is not None:
                measured[clip.name] = result
    return measured


def in_sync_ms(measured: dict[str, Closures]) -> float:
    """Where closures of recordings known to be in sync (GRID) have their minimum, all pooled."""
    grid = [c for name, c in measured.items() if name.startswith("grid")]
    if not grid:
        raise VastError("vast_input_missing", "no GRID clip was measured: the offset of clips in sync is not known")
    counts = np.array([c.count for c in grid], np.float64)
    return Closures(int(counts.sum()), np.average([c.curve for c in grid], axis=0, weights=counts)).best_ms


def fit_line(measured: dict[str, Closures], lags: dict[str, int], zero_ms: float) -> tuple[float, float, float]:
    """Lateness of the audio in ms as a line over the learned lag in frames: (slope, value at 0, median |residual|)."""
    both = sorted(name for name, c in measured.items() if c.clear and name in lags)
    x = np.array([lags[name] for name in both], np.float64)
    y = np.array([zero_ms - measured[name].best_ms for name in both])
    slope, value = np.polyfit(x, y, 1)
    return float(slope), float(value), float(np.median(np.abs(y - slope * x - value)))


@dataclass(frozen=True)
class OffsetEvidence:
    """Everything that is known about the offsets of clips, the most reliable first."""

    measured: dict[str, Closures]
    zero_ms: float  # `best_ms` of clips in sync
    table_ms: dict[str, float]  # clear rows of `video_sync.csv`
    frames_late: dict[str, int]  # by LagSync, of the video
    lags: dict[str, int]  # learned, frames
    slope: float  # of the lateness over the learned lag
    value: float  # lateness at a learned lag of 0

    def row(self, name: str, twins: Sequence[str]) -> tuple[str, int, str, int] | None:
        """Row of the table for a clip, None if nothing is known; `twins`: the clip and other cuts of its recording."""
        clear = [twin for twin in twins if twin in self.measured and self.measured[twin].clear]
        if name in clear:
            best = self.measured[name]
            return name, round(self.zero_ms - best.best_ms), "closures", best.count
        if clear:
            best = max((self.measured[twin] for twin in clear), key=lambda c: c.count)
            return name, round(self.zero_ms - best.best_ms), "recording", best.count
        for twin in twins:
            if twin in self.table_ms:
                return name, round(-(self.table_ms[twin] - TABLE_IN_SYNC_MS)), "table", 0
        for twin in twins:
            if twin in self.frames_late:
                return name, round(-1000 * timebase.seconds(self.frames_late[twin])), "lagsync", 0
        for twin in twins:
            if twin in self.lags:
                return name, round(self.slope * self.lags[twin] + self.value), "lag", 0
        return None


def write_table(corpus: Path, tracks: Path, model: FaceModel, *, output: Path = TABLE) -> dict[str, float]:
    """Measure all clips and write the table.

    Columns: path, late_ms (of the audio), by (closures, recording, table, lagsync, lag), closures (how many).
    """
    measured = measure(corpus, tracks, model)
    lags = learned_lags(corpus)
    zero = in_sync_ms(measured)
    slope, value, residual = fit_line(measured, lags, zero)
    table = _clear_rows(corpus.parent / "speech" / "video_sync.csv")
    evidence = OffsetEvidence(measured, zero, table, _lagsync_rows(corpus / "sync_lagsync.csv"), lags, slope, value)
    clips = [c for c in read_index(corpus) if c.has_audio and not c.set.startswith("grid")]
    rows = []
    for clip in clips:
        twins = [clip.name, *(c.name for c in clips if c is not clip and _same_recording(c, clip))]
        row = evidence.row(clip.name, twins)
        if row is not None:
            rows.append(row)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "late_ms", "by", "closures"))
    writer.writerows(rows)
    with files.atomic_write(output) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    return {"in_sync_ms": zero, "slope": slope, "value": value, "residual_ms": residual, "clips": float(len(rows))}


def _clear_rows(table: Path) -> dict[str, float]:
    """Offsets in ms of the clear rows of `video_sync.csv`; {} if there is no table."""
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        return {row["path"]: float(row["offset_ms"]) for row in csv.DictReader(file) if row["clear"] == "1"}


def _lagsync_rows(table: Path) -> dict[str, int]:
    """Frames by which the video is late, for the clips that LagSync is sure of; {} if there is no table."""
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        lags = {row["path"]: int(row["lag"]) for row in csv.DictReader(file) if float(row["gap"]) >= MIN_LAGSYNC_GAP}
    return {name: lag for name, lag in lags.items() if abs(lag) <= LEARNED_MAX_LAG}


def _same_recording(a: CorpusClip, b: CorpusClip) -> bool:
    """Two cuts of one recording have the same audio at the same offset; avatar/obama is a copy of obama_long's."""
    obama = {"avatar/obama.mp4", "avatar/obama_long.mp4", "talk/obama_2.mp4"}
    return (a.speaker, a.source) == (b.speaker, b.source) or {a.name, b.name} <= obama

"""Data of the acoustic network: tables of phones, and features in several acoustic conditions, cached once."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vast_cli.core.files import atomic_write
from vast_cli.speech.acoustic import SIL
from vast_cli.speech.filterbank import N_MELS, SAMPLE_RATE, log_mel
from vast_cli.training.acoustic.effects import band_limit, resample, reverberate, telephone

log = logging.getLogger(__name__)

IGNORE = 255  # label of frames that do not count
LOW_CONFIDENCE = 0.03  # share of a corpus with the worst alignment, left out
EDGE = 20  # frames of silence kept before and after an utterance in training: silence is 40 % of the corpora
VIDEO_SETS = ("talk", "mead", "grid")  # avatar/ repeats sounds of talk/; grid_s1 is a test
# corpus -> how often an hour of it counts; native adult speech is thin and decides (study, section 6). The second group
# comes from `speech_sources` and `synthetic_speech` and is used where it is there.
SHARES = {"so762": 1.0, "libri": 2.0, "ww": 0.5, "sti": 0.5, "kokoro": 1.0, "video": 2.0}
MORE_SHARES = {
    "libri5": 1.0, "cathy": 0.5, "lj": 0.7, "vctk": 0.7, "cv": 2.0, "keywords": 0.15, "digits": 0.3, "synthetic": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One copy of a corpus: its speed, what happens to its sound, and how often it is met."""

    name: str
    speed: Fraction
    share: float = 1.0


PLAIN = Condition("plain", Fraction(1))
CONDITIONS = (
    PLAIN,
    Condition("slow", Fraction(9, 10)),
    Condition("fast", Fraction(10, 9)),
    Condition("room", Fraction(1), 0.6),
    Condition("line", Fraction(1), 0.8),
)


@dataclass(frozen=True)
class Segments:
    """Phones of one corpus: utterance i has `phone[pointer[i] : pointer[i + 1]]`, each until the next begins."""

    pointer: np.ndarray  # [n + 1]
    phone: np.ndarray  # uint8, class or IGNORE
    ms: np.ndarray  # start in ms from the utterance's first sample

    def of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(self.pointer[i], self.pointer[i + 1])
        return self.phone[part], self.ms[part]


@dataclass(frozen=True)
class Utterances:
    """Features of many utterances, one after the other."""

    features: np.ndarray  # [N, 80] float16, log-mel
    labels: np.ndarray  # [N] uint8, class or IGNORE
    pointer: np.ndarray  # [n + 1], first frame of each utterance

    def __len__(self) -> int:
        return len(self.pointer) - 1

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(self.pointer[i], self.pointer[i + 1])
        return self.features[part], self.labels[part]


def frame_labels(phone: np.ndarray, ms: np.ndarray, frames: int, speed: float = 1.0) -> np.ndarray:
    """Class at the centre of each frame, 20 j + 20 ms; `ms` are the segments' starts at speed 1."""
    centre = (20.0 * np.arange(frames) + 20.0) * speed
    return phone[np.maximum(np.searchsorted(ms, centre, side="right") - 1, 0)]


def table_of(root: Path, name: str) -> Path:
    """Table of a corpus; "video" are the labelled video clips beside the corpora."""
    return root / ("video_labels.npz" if name == "video" else f"{name}.npz")


def segments_of(table: Path) -> Segments:
    z = np.load(table, allow_pickle=False)
    return Segments(z["seg_ptr"], z["seg_phone"], z["seg_ms"])


def sounds(root: Path, name: str, split: str) -> Iterator[tuple[int, np.ndarray]]:
    """Row in the table and sound, [n] at 16 kHz, of the aligned utterances of a corpus; in training the surest 97 %."""
    z = np.load(table_of(root, name), allow_pickle=False)
    chosen = np.flatnonzero((z["split"] == split) & (np.diff(z["seg_ptr"]) > 0))
    if name == "video":
        with (root.parent / "video" / "index.csv").open(newline="") as stream:
            sets = {row["path"]: row["set"] for row in csv.DictReader(stream)}
        chosen = np.array([i for i in chosen if sets[str(z["utt"][i])] in VIDEO_SETS], int)
    if split == "train" and len(chosen):
        conf = z["conf"][chosen]
        chosen = chosen[conf >= np.nanquantile(conf, LOW_CONFIDENCE)]
    if name == "video":
        yield from ((int(i), decode(root.parent / "video" / str(z["utt"][i]))) for i in chosen)
    else:
        yield from _from_bundles(root / name, z, chosen)


def _from_bundles(folder: Path, z: np.lib.npyio.NpzFile, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    import soundfile

    current, starts, lengths, bundles = None, z["start"], z["length"], z["bundle"]
    for i in chosen:
        if bundles[i] != current:
            current = bundles[i]
            files = [folder / f"{folder.name}_{current:03d}{kind}" for kind in (".opus", ".flac")]
            audio, rate = soundfile.read(next((f for f in files if f.exists()), files[0]), dtype="float32")
            assert rate == SAMPLE_RATE, rate
        yield int(i), audio[starts[i] : starts[i] + lengths[i]]


def decode(path: Path) -> np.ndarray:
    """Sound of a media file as 16 kHz mono float32."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        blocks = [r.to_ndarray()[0] for frame in container.decode(audio=0) for r in resampler.resample(frame)]
        blocks += [r.to_ndarray()[0] for r in resampler.resample(None)]
    return np.concatenate(blocks).astype(np.float32)


def changed(audio: np.ndarray, condition: Condition, rng: np.random.Generator) -> np.ndarray:
    """Sound in a condition; rooms and lines differ from utterance to utterance."""
    audio = resample(audio, condition.speed)
    if condition.name == "room":
        return reverberate(audio, rng)
    if condition.name == "line":
        kind = rng.random()
        return band_limit(audio, 0.0, rng.uniform(2_500, 7_000)) if kind < 0.4 else telephone(audio, gsm=kind > 0.7)
    return audio


def cached(
    root: Path,
    name: str,
    split: str,
    cache: Path,
    *,
    condition: Condition = PLAIN,
    segments: Segments | None = None,
) -> Utterances:
    """Features and labels of a corpus in a condition; the features from the cache or made now.

    Args:
        root: folder of the corpora, `../shared/data/speech`.
        cache: folder for the features; files are named by the content of the table.
        segments: other phones than the table's (`realign`).
    """
    table = table_of(root, name)
    original = segments_of(table)
    key = hashlib.sha256(table.read_bytes()).hexdigest()[:8]
    path = cache / f"{name}-{split}-{condition.name}-{key}.npz"
    if not path.exists():
        _fill(path, root, name, split, condition, original)
    z = np.load(path, allow_pickle=False)
    features, pointer, first = z["features"], z["pointer"], z["first"]
    labels = np.empty(pointer[-1], np.uint8)
    for k, row in enumerate(z["row"]):
        phone, ms = (segments or original).of(row)
        n = pointer[k + 1] - pointer[k]
        whole = frame_labels(phone, ms, first[k] + n, float(condition.speed))
        labels[pointer[k] : pointer[k + 1]] = whole[first[k] :]
    return Utterances(features, labels, pointer)


def _fill(path: Path, root: Path, name: str, split: str, condition: Condition, segments: Segments) -> None:
    features, rows, first = [], [], []
    for i, audio in sounds(root, name, split):
        f = log_mel(changed(audio, condition, np.random.default_rng([i, len(audio)]))).astype(np.float16)
        keep = slice(0, len(f))
        if split == "train":
            sounding = np.flatnonzero(frame_labels(*segments.of(i), len(f), float(condition.speed)) != SIL)
            keep = slice(max(0, sounding[0] - EDGE), sounding[-1] + 1 + EDGE) if len(sounding) else slice(0, 0)
        features.append(f[keep])
        rows.append(i)
        first.append(keep.start)
    pointer = np.cumsum([0] + [len(f) for f in features])
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"features": np.concatenate(features or [np.zeros((0, N_MELS), np.float16)]), "pointer": pointer}
    with atomic_write(path) as part, part.open("wb") as stream:
        np.savez(stream, row=np.array(rows), first=np.array(first), **arrays)
    log.info("cached %s: %d utterances, %.2f h", path.stem, len(rows), pointer[-1] / 180_000)


def emu(root: Path) -> Iterator[tuple[np.ndarray, list[set[str]]]]:
    """Hand-labelled sentences: sound and, per frame, the classes that count as right."""
    import soundfile

    for name, entry in json.loads((root / "emu" / "labels.json").read_text()).items():
        audio, rate = soundfile.read(root / "emu" / f"{name}.flac", dtype="float32")
        assert rate == SAMPLE_RATE, rate
        starts = np.array([s["start"] for s in entry["segments"]])
        centres = 0.02 * np.arange(-(-len(audio) // 320)) + 0.02
        which = np.maximum(np.searchsorted(starts, centres, side="right") - 1, 0)
        yield audio, [set(entry["segments"][k]["accept"]) for k in which]

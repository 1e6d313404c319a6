"""Data of the acoustic network: tables of phones, and features in several acoustic conditions, cached once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Float64, Int64
from vast_cli.core.files import atomic_write
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.speech.acoustic import SIL
from vast_cli.speech.filterbank import N_MELS, log_mel
from vast_cli.training.acoustic.effects import band_limit, resample, reverberate, telephone
from vast_cli.training.corpora import read_index

log = logging.getLogger(__name__)

IGNORE = 255  # label of frames that do not count
LOW_CONFIDENCE = 0.03  # share of a corpus with the worst alignment, left out
EDGE = 20  # frames of silence kept before and after an utterance in training: silence is 40 % of the corpora
VIDEO_SETS = ("talk", "mead", "grid")  # avatar/ repeats audio of talk/; grid_s1 is a test
# corpus -> how often an hour of it counts; native adult speech is scarce and decides (study, section 6). The second
# group is made by `acoustic.sources` and `acoustic.synthetic`; those of it that exist are used.
SHARES = {"so762": 1.0, "libri": 2.0, "ww": 0.5, "sti": 0.5, "kokoro": 1.0, "video": 2.0}
MORE_SHARES = {
    "libri5": 1.0, "cathy": 0.5, "lj": 0.7, "vctk": 0.7, "cv": 2.0, "keywords": 0.15, "digits": 0.3, "synthetic": 1.0,
}  # fmt: skip

Labels = NDArray[np.uint8]  # classes, or IGNORE


@dataclass(frozen=True)
class Condition:
    """One copy of a corpus: its speed, the effects on its audio, and how often it is sampled."""

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

    pointer: Int64  # [n + 1]
    phone: Labels
    ms: NDArray[np.uint32]  # start in ms from the utterance's first sample

    def of(self, i: int) -> tuple[Labels, NDArray[np.uint32]]:
        """Phones of utterance i and their starts."""
        part = slice(self.pointer[i], self.pointer[i + 1])
        return self.phone[part], self.ms[part]


@dataclass(frozen=True)
class Utterances:
    """Features of many utterances, one after the other."""

    features: NDArray[np.float16]  # [N, 80], log-mel
    labels: Labels  # [N]
    pointer: Int64  # [n + 1], first frame of each utterance

    def __len__(self) -> int:
        return len(self.pointer) - 1

    def __getitem__(self, i: int) -> tuple[NDArray[np.float16], Labels]:
        part = slice(self.pointer[i], self.pointer[i + 1])
        return self.features[part], self.labels[part]


def segment_at(starts: NDArray[np.integer[Any] | np.floating[Any]], times: NDArray[np.floating[Any]]) -> Int64:
    """Index of the segment at each time; a segment lasts until the next begins."""
    return np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)


def frame_centres_s(n_samples: int) -> Float64:
    """Centres of the frames of 20 ms that cover so many samples, seconds."""
    return timebase.ppg_centres(timebase.ppg_frames(n_samples))


def frame_labels(phone: Labels, ms: NDArray[np.uint32] | Int64, frames: int, speed: float = 1.0) -> Labels:
    """Class at the centre of each frame, 20 j + 20 ms; `ms` are the segments' starts at speed 1."""
    centres = timebase.ppg_centre_milliseconds(frames) * speed
    return phone[segment_at(ms, centres)]


def labels_path(root: Path, name: str) -> Path:
    """Table of a corpus; "video" are the labelled video clips beside the corpora."""
    return root / ("video_labels.npz" if name == "video" else f"{name}.npz")


def load_segments(table: Path) -> Segments:
    """Phones in a corpus' table."""
    arrays = np.load(table, allow_pickle=False)
    return Segments(arrays["seg_ptr"], arrays["seg_phone"], arrays["seg_ms"])


def utterance_audio(root: Path, name: str, split: str) -> Iterator[tuple[int, Float32]]:
    """Row in the table and audio, [n] at 16 kHz, of the aligned utterances of a corpus; in training the surest 97 %."""
    table = np.load(labels_path(root, name), allow_pickle=False)
    chosen = np.flatnonzero((table["split"] == split) & (np.diff(table["seg_ptr"]) > 0))
    video = root.parent / "video"
    if name == "video":
        sets = {clip.name: clip.set for clip in read_index(video)}
        chosen = np.array([i for i in chosen if sets[str(table["utt"][i])] in VIDEO_SETS], np.int64)
    if split == "train" and len(chosen):
        confidence = table["conf"][chosen]
        chosen = chosen[confidence >= np.nanquantile(confidence, LOW_CONFIDENCE)]
    if name == "video":
        yield from ((int(i), decode(video / str(table["utt"][i]))) for i in chosen)
    else:
        yield from _read_bundles(root / name, table, chosen)


def _read_bundles(folder: Path, table: NpzFile, chosen: Int64) -> Iterator[tuple[int, Float32]]:
    import soundfile

    current, starts, lengths, bundles = None, table["start"], table["length"], table["bundle"]
    for i in chosen:
        if bundles[i] != current:
            current = bundles[i]
            paths = [folder / f"{folder.name}_{current:03d}{suffix}" for suffix in (".opus", ".flac")]
            audio, rate = soundfile.read(next((p for p in paths if p.exists()), paths[0]), dtype="float32")
            assert rate == SAMPLE_RATE, rate
        yield int(i), audio[starts[i] : starts[i] + lengths[i]]


def decode(path: Path) -> Float32:
    """Audio of a media file as 16 kHz mono float32."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        blocks = [r.to_ndarray()[0] for frame in container.decode(audio=0) for r in resampler.resample(frame)]
        blocks += [r.to_ndarray()[0] for r in resampler.resample(None)]
    return np.concatenate(blocks).astype(np.float32)


def apply_condition(audio: Float32, condition: Condition, rng: np.random.Generator) -> Float32:
    """Audio in a condition; rooms and lines differ from utterance to utterance."""
    audio = resample(audio, condition.speed)
    if condition.name == "room":
        return reverberate(audio, rng)
    if condition.name == "line":
        kind = rng.random()
        return band_limit(audio, 0.0, rng.uniform(2_500, 7_000)) if kind < 0.4 else telephone(audio, gsm=kind > 0.7)
    return audio


def load_utterances(
    root: Path,
    name: str,
    split: str,
    cache: Path,
    *,
    condition: Condition = PLAIN,
    segments: Segments | None = None,
) -> Utterances:
    """Features and labels of a corpus in a condition; missing features are computed and cached.

    Args:
        root: folder of the corpora, `../shared/data/speech`.
        name: of the corpus.
        split: train, val or test.
        cache: folder for the features; files are named by the content of the table.
        condition: in which the audio is heard.
        segments: other phones than the table's (`realign`).
    """
    table = labels_path(root, name)
    original = load_segments(table)
    key = hashlib.sha256(table.read_bytes()).hexdigest()[:8]
    path = cache / f"{name}-{split}-{condition.name}-{key}.npz"
    if not path.exists():
        _save_features(path, root, name, split, condition, original)
    arrays = np.load(path, allow_pickle=False)
    features, pointer, first = arrays["features"], arrays["pointer"], arrays["first"]
    labels = np.empty(pointer[-1], np.uint8)
    for k, row in enumerate(arrays["row"]):
        phone, ms = (segments or original).of(row)
        n = pointer[k + 1] - pointer[k]
        whole = frame_labels(phone, ms, first[k] + n, float(condition.speed))
        labels[pointer[k] : pointer[k + 1]] = whole[first[k] :]
    return Utterances(features, labels, pointer)


def _save_features(path: Path, root: Path, name: str, split: str, condition: Condition, segments: Segments) -> None:
    features, rows, first = [], [], []
    for i, audio in utterance_audio(root, name, split):
        f = log_mel(apply_condition(audio, condition, np.random.default_rng([i, len(audio)]))).astype(np.float16)
        part = slice(0, len(f))
        if split == "train":
            sounding = np.flatnonzero(frame_labels(*segments.of(i), len(f), float(condition.speed)) != SIL)
            part = slice(max(0, sounding[0] - EDGE), sounding[-1] + 1 + EDGE) if len(sounding) else slice(0, 0)
        features.append(f[part])
        rows.append(i)
        first.append(part.start)
    pointer = np.cumsum([0] + [len(f) for f in features])
    joined = np.concatenate(features or [np.zeros((0, N_MELS), np.float16)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial, partial.open("wb") as stream:
        np.savez(stream, row=np.array(rows), first=np.array(first), features=joined, pointer=pointer)
    log.info("cached %s: %d utterances, %.2f h", path.stem, len(rows), timebase.ppg_seconds(pointer[-1]) / 3600)


def hand_labelled(root: Path) -> Iterator[tuple[Float32, list[set[str]]]]:
    """Sentences of `emu`: audio and, per frame, the classes that count as right."""
    import soundfile

    for name, entry in json.loads((root / "emu" / "labels.json").read_text()).items():
        audio, rate = soundfile.read(root / "emu" / f"{name}.flac", dtype="float32")
        assert rate == SAMPLE_RATE, rate
        starts = np.array([s["start"] for s in entry["segments"]])
        yield audio, [set(entry["segments"][k]["accept"]) for k in segment_at(starts, frame_centres_s(len(audio)))]

"""Labelled speech corpora as files: many utterances in one FLAC, one table of phones; the format of the corpora."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.files import atomic_write
from vast_cli.core.timebase import PPG_SHIFT, SAMPLE_RATE
from vast_cli.training.acoustic.align import align

log = logging.getLogger(__name__)

BUNDLE_S = 600.0  # seconds of audio in one file


@dataclass(frozen=True)
class TranscribedUtterance:
    """One utterance with its text."""

    name: str
    speaker: str
    text: str
    audio: Float32  # [n], 16 kHz mono


class _BundleWriter:
    """Writes audio to `NAME_000.flac` ..., a file once it holds more than `BUNDLE_S`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[Float32] = []
        self._length = 0  # of what is waiting, samples
        self._number = 0

    def add(self, audio: Float32) -> tuple[int, int]:
        """Number of the file and first sample of the audio there."""
        place = self._number, self._length
        self._waiting.append(np.pad(audio, (0, -len(audio) % PPG_SHIFT)))
        self._length += len(self._waiting[-1])
        if self._length > timebase.to_samples(BUNDLE_S):
            self.flush()
        return place

    def flush(self) -> None:
        """Write what is waiting."""
        import soundfile

        if self._waiting:
            with atomic_write(self._folder / f"{self._folder.name}_{self._number:03d}.flac") as part:
                soundfile.write(part, np.concatenate(self._waiting), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            self._waiting, self._length, self._number = [], 0, self._number + 1


def write_corpus(
    root: Path, name: str, utterances: Iterable[TranscribedUtterance], *, split: str = "train"
) -> dict[str, float]:
    """Align utterances and write `root/NAME.npz` and `root/NAME/NAME_000.flac` ...; what cannot be aligned is dropped.

    Returns:
        Numbers of utterances written and dropped, and hours written.
    """
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    bundles = _BundleWriter(folder)
    rows: list[tuple[str, str, str, float, int, int, int]] = []
    phones: list[NDArray[np.uint8]] = []
    starts_ms: list[NDArray[np.uint32]] = []
    dropped = 0
    for utterance in utterances:
        alignment = align(utterance.audio, utterance.text)
        if alignment is None:
            dropped += 1
            continue
        bundle, start = bundles.add(utterance.audio)
        length = len(utterance.audio)
        rows.append((utterance.name, utterance.speaker, utterance.text, alignment.confidence, bundle, start, length))
        phones.append(alignment.phones)
        starts_ms.append(alignment.ms)
    bundles.flush()
    if not rows:
        raise ValueError(f"no utterance of {name} could be aligned")
    columns = list(zip(*rows, strict=True))
    with atomic_write(root / f"{name}.npz") as part, part.open("wb") as stream:
        np.savez_compressed(
            stream,
            utt=np.array(columns[0]),
            spk=np.array(columns[1]),
            text=np.array(columns[2]),
            conf=np.array(columns[3], np.float32),
            bundle=np.array(columns[4], np.int16),
            start=np.array(columns[5], np.int64),
            length=np.array(columns[6], np.int64),
            split=np.full(len(rows), split),
            seg_ptr=np.cumsum([0] + [len(p) for p in phones]),
            seg_phone=np.concatenate(phones),
            seg_ms=np.concatenate(starts_ms),
        )
    hours = timebase.audio_seconds(sum(columns[6])) / 3600
    log.info("%s: %d utterances, %.2f h, %d dropped", name, len(rows), hours, dropped)
    return {"utterances": len(rows), "dropped": dropped, "hours": hours}

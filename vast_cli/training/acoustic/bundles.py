"""Labelled speech corpora as files: many utterances in one FLAC, one table of phones; the format of the corpora."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vast_cli.core.files import atomic_write
from vast_cli.core.timebase import PPG_SHIFT
from vast_cli.speech.filterbank import SAMPLE_RATE
from vast_cli.training.acoustic.align import align

log = logging.getLogger(__name__)

BUNDLE_S = 600.0  # seconds of sound in one file


@dataclass(frozen=True)
class Spoken:
    """One utterance with its text."""

    name: str
    speaker: str
    text: str
    audio: np.ndarray  # [n] float32, 16 kHz mono


@dataclass
class _Table:
    rows: list[tuple[str, str, str, float, int, int, int]] = field(default_factory=list)
    phones: list[np.ndarray] = field(default_factory=list)
    ms: list[np.ndarray] = field(default_factory=list)


def write_corpus(root: Path, name: str, utterances: Iterable[Spoken], *, split: str = "train") -> dict[str, float]:
    """Align utterances and write `root/NAME.npz` and `root/NAME/NAME_000.flac` ...; what cannot be aligned is dropped.

    Returns:
        Numbers of utterances kept and dropped, and hours kept.
    """
    import soundfile

    table, waiting, held, dropped = _Table(), [], 0, 0
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    bundle = 0

    def flush() -> None:
        nonlocal waiting, held, bundle
        if waiting:
            with atomic_write(folder / f"{name}_{bundle:03d}.flac") as part:
                soundfile.write(part, np.concatenate(waiting), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            waiting, held, bundle = [], 0, bundle + 1

    for spoken in utterances:
        found = align(spoken.audio, spoken.text)
        if found is None:
            dropped += 1
            continue
        n = len(spoken.audio)
        table.rows.append((spoken.name, spoken.speaker, spoken.text, found.confidence, bundle, held, n))
        table.phones.append(found.phones)
        table.ms.append(found.ms)
        waiting.append(np.pad(spoken.audio, (0, -n % PPG_SHIFT)))
        held += len(waiting[-1])
        if held > BUNDLE_S * SAMPLE_RATE:
            flush()
    flush()
    if not table.rows:
        raise ValueError(f"no utterance of {name} could be aligned")
    columns = list(zip(*table.rows, strict=True))
    pointer = np.cumsum([0] + [len(p) for p in table.phones])
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
            split=np.full(len(table.rows), split),
            seg_ptr=pointer,
            seg_phone=np.concatenate(table.phones),
            seg_ms=np.concatenate(table.ms),
        )
    hours = sum(columns[6]) / SAMPLE_RATE / 3600
    log.info("%s: %d utterances, %.2f h, %d dropped", name, len(table.rows), hours, dropped)
    return {"utterances": len(table.rows), "dropped": dropped, "hours": hours}

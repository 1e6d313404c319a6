"""Sentences of TIMIT with their hand labels, for scores: US speakers of eight regions, classes that count as right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32
from vast_cli.speech.acoustic import CLASSES
from vast_cli.training.acoustic.corpus import frame_centres_s, segment_at

# labels of TIMIT that are not our classes in lower case; several where dictionaries differ
ACCEPT = {
    "h#": "SIL", "pau": "SIL", "epi": "SIL", "q": "SIL T", "ix": "IH AH", "ax": "AH IH", "ax-h": "AH IH", "axr": "ER",
    "ux": "UW",
    "hv": "HH", "el": "L AH", "en": "N AH", "em": "M AH", "eng": "NG", "nx": "N", "dx": "T D", "ao": "AO AA",
}  # fmt: skip
HEADER = 1_024  # bytes of NIST SPHERE before the samples
STOPS = {"b": "B", "d": "D JH", "g": "G", "p": "P", "t": "T CH", "k": "K"}  # a closure is part of what follows it


def sentences(folder: Path) -> Iterator[tuple[Float32, str, Bools]]:
    """Audio at 16 kHz, text, and [T, 40]: classes accepted in each frame of 20 ms.

    Args:
        folder: `DIALECT-SPEAKER/SENTENCE.{wav,phn,txt}`, audio as NIST SPHERE.
    """
    for table in sorted(folder.glob("dr*/*.phn")):
        raw = table.with_suffix(".wav").read_bytes()
        count = re.search(rb"sample_count -i (\d+)", raw[:HEADER])
        if count is None or len(raw) != HEADER + 2 * int(count[1]):
            continue  # some copies went through a text filter: line ends are gone, samples are shifted by bytes
        audio: Float32 = np.frombuffer(raw[HEADER:], "<i2").astype(np.float32) / np.float32(32768)
        rows = [line.split() for line in table.read_text().splitlines()]
        starts = timebase.sample_times(np.array([int(row[0]) for row in rows]))
        accepted = [_accepted([row[2] for row in rows], k) for k in range(len(rows))]
        text = table.with_suffix(".txt").read_text().split(" ", 2)[2].strip()
        yield audio, text, np.stack([accepted[k] for k in segment_at(starts, frame_centres_s(len(audio)))])


def _accepted(labels: list[str], k: int) -> Bools:
    label = labels[k]
    if label.endswith("cl"):
        names = STOPS[label[0]].split()
        following = labels[k + 1] if k + 1 < len(labels) else ""
        if following in ("jh", "ch"):
            names = [following.upper()]
    else:
        names = ACCEPT.get(label, label.upper()).split()
    return np.array([c in names for c in CLASSES])

"""More speech with known text, from public repositories: only audio and text are taken, the labels are made here."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vast_cli.core import timebase
from vast_cli.training.acoustic.bundles import TranscribedUtterance, write_corpus
from vast_cli.training.acoustic.corpus import decode

# speakers of the test and val splits of the corpus `libri`
HELD_OUT = set(
    "1970 2033 2196 2391 3080 322 367 5192 5456 6078 6181 6209 8238 8324 887 "
    "1624 198 2843 4137 5703 6454 7190 7800 7859".split()
)

Recordings = Iterator[tuple[str, str, str, Path]]  # name, speaker, text, audio


def librispeech(folder: Path) -> Recordings:
    for table in sorted(folder.rglob("*.trans.txt")):
        for line in table.read_text().splitlines():
            name, text = line.split(" ", 1)
            speaker = name.split("-")[0]
            if speaker not in HELD_OUT:
                yield name, f"L{speaker}", text, table.parent / f"{name}.flac"


def text_beside(folder: Path) -> Recordings:
    for path in sorted(folder.rglob("*.wav")):
        yield path.stem, folder.name, path.with_suffix(".txt").read_text(), path


def ljspeech(folder: Path) -> Recordings:
    for line in (folder / "LJSpeech-1.1" / "metadata.csv").read_text().splitlines():
        name, _, text = line.split("|")
        yield name, "LJ", text, folder / "LJSpeech-1.1" / "wavs" / f"{name}.wav"


def vctk(folder: Path) -> Recordings:
    for path in sorted(folder.rglob("wav48/*/*.wav")):
        text = path.parents[2] / "txt" / path.parent.name / f"{path.stem}.txt"
        if text.exists():
            yield path.stem, path.parent.name, text.read_text(), path


def common_voice(folder: Path) -> Recordings:
    with (folder / "en" / "validated.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["path"], row["client_id"][:12], row["sentence"], folder / "en" / "clips" / row["path"]


def folder_is_word(folder: Path) -> Recordings:
    for path in sorted((folder / "data").rglob("*.wav")):
        yield f"{path.parent.name}-{path.stem}", path.stem.split("_")[0], path.parent.name, path


def digits(folder: Path) -> Recordings:
    names = "zero one two three four five six seven eight nine".split()
    for path in sorted((folder / "recordings").glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        if int(take) < 25:
            yield path.stem, speaker, names[int(digit)], path


@dataclass(frozen=True)
class SpeechSource:
    """A public collection: its repository, licence and reader."""

    repository: str  # on GitHub
    commit: str
    licence: str
    read: Callable[[Path], Recordings]


SOURCES = {
    "libri5": SpeechSource(
        "zhangrui0712/Voice-Age", "c13f844098b754edb9c60b8deb1aa586bc461d8a", "CC BY 4.0 (LibriSpeech)", librispeech
    ),
    "cathy": SpeechSource(
        "rhasspy/dataset-voice-cathy", "c51cb971036a127359b43c621f26ca5081eab13e", "CC0 1.0", text_beside
    ),
    "lj": SpeechSource(
        "PrernaSocity/lj_speech_dataset_part_1",
        "328134a60409b5d1060f411fde6fa0eb20b22150",
        "public domain (LJ Speech)",
        ljspeech,
    ),
    "vctk": SpeechSource(
        "avgaydashenko/speech-recognition-hw", "f41d357a477c5ca56e30bcbfc15a68cccf3145fb", "ODC-By (VCTK)", vctk
    ),
    "cv": SpeechSource(
        "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11",
        "6785f863fec9770151abfe50a5e3e3787fd20ba2",
        "CC0 1.0 (Common Voice)",
        common_voice,
    ),
    "keywords": SpeechSource(
        "manashmandal/DeadSimpleSpeechRecognizer",
        "881b36a63bc9d449f60bc83ebcd2e7c5209a4761",
        "MIT (repository); Speech Commands: CC BY 4.0",
        folder_is_word,
    ),
    "digits": SpeechSource(
        "Jakobovski/free-spoken-digit-dataset", "26eb9aaf76e81b692f806f9140c2d2777410d7a1", "CC BY-SA 4.0", digits
    ),
}
MAX_S = 40.0


def utterances(name: str, folder: Path) -> Iterator[TranscribedUtterance]:
    """Utterances of a source, decoded; texts with digits are left out, their reading is not known."""
    for utterance, speaker, text, path in SOURCES[name].read(folder):
        if path.exists() and not re.search(r"\d", text):
            audio = decode(path)
            if len(audio) < timebase.to_samples(MAX_S):
                yield TranscribedUtterance(utterance, speaker, text.strip(), audio)


def main() -> None:
    """`python -m vast_cli.training.acoustic.sources libri5 CLONE -o build/speech`; without arguments: the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=SOURCES)
    parser.add_argument("clone", nargs="?", type=Path, help="work tree of the repository at its commit")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/speech"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if not args.clone:
        for name, source in SOURCES.items():
            repository = f"https://github.com/{source.repository}"
            print(f"{name}: git clone {repository} && git checkout {source.commit}   # {source.licence}")
        return
    print(json.dumps(write_corpus(args.output, args.name, utterances(args.name, args.clone))))


if __name__ == "__main__":
    main()

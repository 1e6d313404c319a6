"""More speech with known text, from public repositories: labelled here, so that only sound and text are taken."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vast_cli.training.acoustic.bundles import Spoken, write_corpus
from vast_cli.training.acoustic.corpus import decode

# speakers of the test and val splits of the corpus `libri`
HELD_OUT = set(
    "1970 2033 2196 2391 3080 322 367 5192 5456 6078 6181 6209 8238 8324 887 "
    "1624 198 2843 4137 5703 6454 7190 7800 7859".split()
)
Found = Iterator[tuple[str, str, str, Path]]  # name, speaker, text, sound


def librispeech(folder: Path) -> Found:
    for table in sorted(folder.rglob("*.trans.txt")):
        for line in table.read_text().splitlines():
            name, text = line.split(" ", 1)
            speaker = name.split("-")[0]
            if speaker not in HELD_OUT:
                yield name, f"L{speaker}", text, table.parent / f"{name}.flac"


def text_beside(folder: Path) -> Found:
    for sound in sorted(folder.rglob("*.wav")):
        yield sound.stem, folder.name, sound.with_suffix(".txt").read_text(), sound


def ljspeech(folder: Path) -> Found:
    for line in (folder / "LJSpeech-1.1" / "metadata.csv").read_text().splitlines():
        name, _, text = line.split("|")
        yield name, "LJ", text, folder / "LJSpeech-1.1" / "wavs" / f"{name}.wav"


def vctk(folder: Path) -> Found:
    for sound in sorted(folder.rglob("wav48/*/*.wav")):
        text = sound.parents[2] / "txt" / sound.parent.name / f"{sound.stem}.txt"
        if text.exists():
            yield sound.stem, sound.parent.name, text.read_text(), sound


def common_voice(folder: Path) -> Found:
    with (folder / "en" / "validated.tsv").open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["path"], row["client_id"][:12], row["sentence"], folder / "en" / "clips" / row["path"]


def folder_is_word(folder: Path) -> Found:
    for sound in sorted((folder / "data").rglob("*.wav")):
        yield f"{sound.parent.name}-{sound.stem}", sound.stem.split("_")[0], sound.parent.name, sound


def digits(folder: Path) -> Found:
    names = "zero one two three four five six seven eight nine".split()
    for sound in sorted((folder / "recordings").glob("*.wav")):
        digit, speaker, take = sound.stem.split("_")
        if int(take) < 25:
            yield sound.stem, speaker, names[int(digit)], sound


@dataclass(frozen=True)
class Source:
    """A public collection: where it is, under which licence, how its texts are found."""

    repository: str  # on GitHub
    commit: str
    licence: str
    read: Callable[[Path], Found]


SOURCES = {
    "libri5": Source(
        "zhangrui0712/Voice-Age", "c13f844098b754edb9c60b8deb1aa586bc461d8a", "CC BY 4.0 (LibriSpeech)", librispeech
    ),
    "cathy": Source("rhasspy/dataset-voice-cathy", "c51cb971036a127359b43c621f26ca5081eab13e", "CC0 1.0", text_beside),
    "lj": Source(
        "PrernaSocity/lj_speech_dataset_part_1",
        "328134a60409b5d1060f411fde6fa0eb20b22150",
        "public domain (LJ Speech)",
        ljspeech,
    ),
    "vctk": Source(
        "avgaydashenko/speech-recognition-hw", "f41d357a477c5ca56e30bcbfc15a68cccf3145fb", "ODC-By (VCTK)", vctk
    ),
    "cv": Source(
        "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11",
        "6785f863fec9770151abfe50a5e3e3787fd20ba2",
        "CC0 1.0 (Common Voice)",
        common_voice,
    ),
    "keywords": Source(
        "manashmandal/DeadSimpleSpeechRecognizer",
        "881b36a63bc9d449f60bc83ebcd2e7c5209a4761",
        "MIT (repository); Speech Commands: CC BY 4.0",
        folder_is_word,
    ),
    "digits": Source(
        "Jakobovski/free-spoken-digit-dataset", "26eb9aaf76e81b692f806f9140c2d2777410d7a1", "CC BY-SA 4.0", digits
    ),
}
MAX_S = 40.0


def spoken(name: str, folder: Path) -> Iterator[Spoken]:
    """Utterances of a source, decoded; texts with figures are left out, their reading is not known."""
    for utterance, speaker, text, path in SOURCES[name].read(folder):
        if path.exists() and not re.search(r"\d", text):
            audio = decode(path)
            if len(audio) < MAX_S * 16_000:
                yield Spoken(utterance, speaker, text.strip(), audio)


def main() -> None:
    """`python -m vast_cli.training.speech_sources libri5 CLONE -o build/speech`; without arguments: the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=SOURCES)
    parser.add_argument("clone", nargs="?", type=Path, help="work tree of the repository at its commit")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/speech"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if not args.clone:
        for name, s in SOURCES.items():
            print(f"{name}: git clone https://github.com/{s.repository} && git checkout {s.commit}   # {s.licence}")
        return
    print(json.dumps(write_corpus(args.output, args.name, spoken(args.name, args.clone))))


if __name__ == "__main__":
    main()

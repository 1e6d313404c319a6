"""Forced alignment of speech with its known text, by pocketsphinx: labels of the acoustic network."""

from __future__ import annotations

import functools
import re
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli.core import process, timebase
from vast_cli.core.arrays import Float32
from vast_cli.speech.acoustic import CLASSES, SIL

FRAME_MS = 10.0
OFFSET_MS = 7.8  # frame s lies at 10 s + 7.8 ms; found on hand labels, 0 costs 4 points of accuracy
BEAM = 1e-80  # practically no pruning: these sentences are short
ESPEAK_S = 60.0  # time limit for one word
IDS = {name: i for i, name in enumerate(CLASSES)}
# IPA of espeak-ng en-us to our classes, for words the dictionary lacks; longest match first
IPA = dict(
    pair.split("=")
    for pair in (
        "eɪ=EY aɪ=AY aʊ=AW ɔɪ=OY oʊ=OW tʃ=CH dʒ=JH əl=AH.L ɑː=AA ɔː=AO oː=AO iː=IY uː=UW ɜː=ER i=IY ɪ=IH ᵻ=IH e=EH "
        "ɛ=EH æ=AE a=AE ɑ=AA ɔ=AO o=OW ʊ=UH u=UW ʌ=AH ə=AH ɐ=AH ɚ=ER ɜ=ER p=P b=B t=T d=D k=K ɡ=G f=F v=V θ=TH ð=DH "
        "s=S z=Z ʃ=SH ʒ=ZH h=HH m=M n=N ŋ=NG l=L ɹ=R r=R w=W j=Y ɾ=T ʔ=T x=K"
    ).split()
)


@dataclass(frozen=True)
class Alignment:
    """Phones of one utterance, each until the next begins."""

    phones: NDArray[np.uint8]  # [n], ids of `CLASSES`
    ms: NDArray[np.uint32]  # [n], start of each in ms from the first sample
    confidence: float  # mean acoustic score of a speech frame, log domain, larger is better


def words(text: str) -> list[str]:
    """Words as the dictionary has them: lower case, apostrophes kept, other signs dropped."""
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower().replace("’", "'"))


@functools.cache
def _decoder() -> Any:  # pocketsphinx has no types
    from pocketsphinx import Decoder

    # bestpath=False: with the default, 6 of 10 files end in "Failed to stop utterance processing"
    return Decoder(lm=None, bestpath=False, beam=BEAM, wbeam=1e-60, pbeam=BEAM, remove_noise=False, loglevel="FATAL")


def unknown_words(text: str) -> list[str]:
    """Words of `text` that the dictionary lacks, each once."""
    return [word for word in dict.fromkeys(words(text)) if _decoder().lookup_word(word) is None]


def guess_pronunciations(text: str) -> None:
    """Add the words that the dictionary lacks as espeak-ng would say them; without that program they stay unknown."""
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        return
    for word in unknown_words(text):
        result = process.run([espeak, "-q", "-v", "en-us", "--ipa", word], timeout_s=ESPEAK_S)
        if result.status:
            raise RuntimeError(f"espeak-ng ended with status {result.status} on `{word}`: {result.stderr.strip()}")
        phones = arpabet(result.stdout.strip())
        if phones:
            _decoder().add_word(word, " ".join(phones), False)


def arpabet(ipa: str) -> list[str]:
    """Classes of an English word in IPA; empty if a sign is unknown."""
    ipa = re.sub(r"[ˈˌː\u0329 ]", lambda m: "ː" if m[0] == "ː" else "", ipa)
    phones: list[str] = []
    while ipa:
        sign = next((ipa[:n] for n in (2, 1) if ipa[:n] in IPA), None)
        if sign is None:
            if ipa[0] != "ː":
                return []
            sign = "ː"
        phones += IPA[sign].split(".") if sign in IPA else []
        ipa = ipa[len(sign) :]
    return phones


def align(audio: Float32, text: str) -> Alignment | None:
    """Align `text` with audio [n] at 16 kHz; None if a word is unknown or the text does not fit the audio.

    A word may be any of its pronunciations, and a pause may stand between any two.
    """
    guess_pronunciations(text)
    if not words(text) or unknown_words(text):
        return None
    pcm = (audio * 32767).clip(-32768, 32767).astype(np.int16).tobytes()
    decoder = _decoder()
    try:
        decoder.set_align_text(" ".join(words(text)))
        _run(decoder, pcm)  # finds the words
        decoder.set_alignment()
        _run(decoder, pcm)  # then their phones
        alignment = decoder.get_alignment()
    except RuntimeError:  # no path through the text
        return None
    if alignment is None:
        return None
    phones, starts, score, frames = [], [], 0.0, 0
    for word in alignment:
        for phone in word:
            silent = phone.name not in IDS or phone.name == "SIL"
            phones.append(SIL if silent else IDS[phone.name])
            starts.append(max(0, round(FRAME_MS * phone.start + OFFSET_MS)) if phone.start else 0)
            if not silent:
                score += phone.score
                frames += phone.duration
    if not frames:
        return None
    end = FRAME_MS * (timebase.audio_seconds(len(audio)) * 100)
    last = round(FRAME_MS * (phone.start + phone.duration) + OFFSET_MS)
    if last < end - FRAME_MS and phones[-1] != SIL:
        phones.append(SIL)
        starts.append(last)
    return Alignment(np.array(phones, np.uint8), np.array(starts, np.uint32), score / frames)


def _run(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()

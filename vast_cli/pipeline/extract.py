"""What inputs hold: a video's face, a sound's speech, a prompt's manner. Each is kept in the cache by content.

A record from the cache bears the name of the file that was asked about, not of the one that it was first made from.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vast_cli import face, media, records, speech, style
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import Exit, VastError
from vast_cli.core.progress import Progress, counted, silent
from vast_cli.core.streams import prefetch
from vast_cli.pipeline.models import Models
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.store import assets
from vast_cli.store.cache import NO_CACHE, Cache

log = logging.getLogger(__name__)
MIN_SAMPLES = timebase.PPG_WINDOW  # 0.04 s: one window of the filter bank, one video frame
LOST_TOLD = 0.05  # share of a prompt without a face from which on its user is told

# assets that decide what a record is, beside the file it is made from
OF_TRACK = (
    "face_detection_short_range", "face_mesh_backbone", "face_mesh_heads", "topology", "index_sets", "face_model",
)  # fmt: skip
OF_SPEECH = ("acoustic",)
OF_STYLE = (*OF_TRACK, *OF_SPEECH, "style")


def extract_track(
    video: Path, models: Models, *, which: str = "largest", cache: Cache = NO_CACHE, progress: Progress = silent
) -> FaceTrack:
    """Phi: face parameters of a video.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`, `vast_no_face`, `vast_face_lost`.
    """
    files.check_input(video)
    choice = face_choice(which)

    def make() -> FaceTrack:
        with media.VideoReader(video) as reader:
            frames = counted(reader, "track", reader.n_frames, progress)
            return face.track_video(prefetch(frames, depth=8), model=models.face_model, source=video.name, face=choice)

    track = cache.fetch(FaceTrack, _key(cache, video, OF_TRACK, face=which), make)
    return dataclasses.replace(track, source=video.name)


def extract_speech(
    audio: Path, models: Models, *, cache: Cache = NO_CACHE, progress: Progress = silent
) -> Posteriorgram:
    """Posteriorgram of a sound or of a video's sound.

    Raises:
        VastError: `vast_input_missing`, `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`.
    """
    files.check_input(audio)

    def make() -> Posteriorgram:
        blocks = _heard(media.read_audio(audio), progress)
        return speech.extract_ppg(blocks, models.acoustic_model, where=audio.name)

    ppg = cache.fetch(Posteriorgram, _key(cache, audio, OF_SPEECH), make)
    if ppg.n_samples < MIN_SAMPLES:
        raise VastError(
            "vast_audio_too_short", f"`{audio}` holds {1000 * ppg.n_samples / timebase.SAMPLE_RATE:.0f} ms of sound"
        )
    return ppg


def face_choice(text: str) -> face.FaceChoice:
    """The option `--face`: largest, left, right, or a number from the left, from 0."""
    named: dict[str, face.FaceChoice] = {"largest": "largest", "left": "left", "right": "right"}
    if text in named:
        return named[text]
    if text.isdecimal():
        return int(text)
    raise VastError(
        "vast_option_invalid", f"`--face {text}` is not understood", hint="largest, left, right or a number from 0"
    )


def speech_share(ppg: Posteriorgram) -> float:
    """Share of frames that hold speech."""
    return speech.speech_share(ppg)


def plot_speech(audio: Path, ppg: Posteriorgram, target: Path, *, overwrite: bool = False) -> bool:
    """Draw what is heard under the waveform as PNG; gives whether all of the sound is on it (5 minutes at most).

    Raises:
        VastError: as `extract_speech` for the sound; `vast_output_exists`, `vast_write_failed` ... for the picture.
    """
    blocks, n = [], 0
    for block in media.read_audio(audio):
        blocks.append(block)
        n += len(block)
        if n >= speech.DRAWN_S * timebase.SAMPLE_RATE:
            break
    media.write_png(target, speech.draw_posteriorgram(ppg, np.concatenate(blocks)), overwrite=overwrite)
    return len(ppg.values) <= speech.DRAWN_S * timebase.PPG_RATE


def encode_prompt(
    prompt: Path, models: Models, *, which: str = "largest", cache: Cache = NO_CACHE, progress: Progress = silent
) -> tuple[Style, list[str]]:
    """E^p and E^v: the manner of a prompt, and what its user should know about it.

    `prompt` is a video or a track that `vast extract` wrote. A prompt without sound is ordinary: its speech is unknown.
    """
    files.check_input(prompt)
    if prompt.suffix == ".track":
        track = records.load(FaceTrack, prompt, model_hash=models.face_model.hash)
        manner = style.encode_style(track, models.style_model, ppg=None)
    else:
        track = extract_track(prompt, models, which=which, cache=cache, progress=progress)

        def make() -> Style:
            ppg = _speech_of_prompt(prompt, models, cache) if media.probe(prompt).has_audio else None
            return style.encode_style(track, models.style_model, ppg=ppg)

        manner = cache.fetch(Style, _key(cache, prompt, OF_STYLE, face=which), make)
        manner = dataclasses.replace(manner, source=prompt.name)
    lost = 1 - float(track.valid.mean())
    if lost <= LOST_TOLD:
        return manner, []
    return manner, [f"{100 * lost:.0f} % of `{prompt.name}` shows no face that can be trusted; the rest was used"]


def _speech_of_prompt(prompt: Path, models: Models, cache: Cache) -> Posteriorgram | None:
    """The prompt's speech from its first picture on; a sound that cannot be used is as good as none."""
    with media.VideoReader(prompt) as reader:
        start_s = reader.start_s

    def make() -> Posteriorgram:
        blocks = media.read_audio(prompt, start_s=start_s)
        return speech.extract_ppg(blocks, models.acoustic_model, where=prompt.name)

    try:
        return cache.fetch(Posteriorgram, _key(cache, prompt, OF_SPEECH, start_s=repr(start_s)), make)
    except VastError as error:
        if error.exit != Exit.DATA:  # a prompt may lack usable sound, the machine may not lack anything
            raise
        log.info("the sound of `%s` is not used: %s", prompt, error.message)
        return None


def write_preview(
    video: Path, track: FaceTrack, output: Path, models: Models, *, overwrite: bool, progress: Progress = silent
) -> None:
    """The video with the tracked mesh drawn over it."""
    with (
        media.VideoReader(video) as reader,
        media.VideoWriter(
            output, width=reader.width, height=reader.height, audio=None, n_frames=track.n_frames, overwrite=overwrite
        ) as writer,
    ):
        for index, frame in enumerate(counted(reader, "preview", track.n_frames, progress)):
            writer.write(
                face.draw_preview(frame, track, index, model=models.face_model, topology=models.rasteriser.topology)
            )


def _key(cache: Cache, source: Path, of: tuple[str, ...], **options: str) -> dict[str, str]:
    """What a record is made from; nothing is hashed if nothing is kept."""
    if cache.folder is None:
        return {}
    return {"source": cache.hashes.digest(source), **{name: assets.model_hash(name) for name in of}, **options}


def _heard(blocks: Iterable[Float32], progress: Progress) -> Iterator[Float32]:
    """The same blocks; tells the seconds of sound that went by."""
    n_samples = 0
    for block in blocks:
        yield block
        n_samples += len(block)
        progress("listen (s)", n_samples // timebase.SAMPLE_RATE, None)
    done = n_samples // timebase.SAMPLE_RATE
    progress("listen (s)", done, done)

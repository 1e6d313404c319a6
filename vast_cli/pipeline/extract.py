"""Inputs to records: a video to its face track, audio to its posteriorgram, a prompt to its style, through the cache.

A cached record carries the name of the file it was requested for, not of the one it was first made from.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vast_cli import face, media, records, speech, style
from vast_cli.core import timebase
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
WARN_LOST = 0.05  # share of a prompt's frames without a face, above which the user is warned

# assets that a record depends on, beside the file it is made from
TRACK_ASSETS = (
    "face_detection_short_range", "face_mesh_backbone", "face_mesh_heads", "topology", "index_sets", "face_model",
)  # fmt: skip
SPEECH_ASSETS = ("acoustic",)
STYLE_ASSETS = (*TRACK_ASSETS, *SPEECH_ASSETS, "style")


def extract_track(
    video: Path, models: Models, *, face_name: str = "largest", cache: Cache = NO_CACHE, progress: Progress = silent
) -> FaceTrack:
    """Phi: face parameters of a video.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`, `vast_no_face`, `vast_face_lost`.
    """
    choice = face_choice(face_name)

    def make() -> FaceTrack:
        with media.VideoReader(video) as reader:
            frames = counted(reader, "track", reader.n_frames, progress)
            return face.track_video(prefetch(frames, depth=8), model=models.face_model, source=video.name, face=choice)

    track = cache.fetch(FaceTrack, _key(cache, video, TRACK_ASSETS, face=face_name), make)
    return dataclasses.replace(track, source=video.name)


def extract_speech(
    audio: Path, models: Models, *, cache: Cache = NO_CACHE, progress: Progress = silent
) -> Posteriorgram:
    """Posteriorgram of an audio file, or of a video's audio.

    Raises:
        VastError: `vast_input_missing`, `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`.
    """

    def make() -> Posteriorgram:
        blocks = _count_seconds(media.read_audio(audio), progress)
        return speech.extract_ppg(blocks, models.acoustic_model, where=audio.name)

    ppg = cache.fetch(Posteriorgram, _key(cache, audio, SPEECH_ASSETS), make)
    if ppg.n_samples < MIN_SAMPLES:
        raise VastError(
            "vast_audio_too_short", f"`{audio}` holds {timebase.audio_milliseconds(ppg.n_samples):.0f} ms of audio"
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
    """Plot the posteriorgram under the waveform as PNG; returns whether all of the audio is on it (5 minutes at most).

    Raises:
        VastError: as `extract_speech` for the audio; `vast_output_exists`, `vast_write_failed` ... for the image.
    """
    blocks, n = [], 0
    for block in media.read_audio(audio):
        blocks.append(block)
        n += len(block)
        if n >= timebase.to_samples(speech.PLOTTED_S):
            break
    media.write_png(target, speech.plot_posteriorgram(ppg, np.concatenate(blocks)), overwrite=overwrite)
    return len(ppg.values) <= timebase.to_ppg(speech.PLOTTED_S)


def encode_prompt(
    prompt: Path, models: Models, *, face_name: str = "largest", cache: Cache = NO_CACHE, progress: Progress = silent
) -> tuple[Style, list[str]]:
    """E^p and E^v: the style of a prompt, and warnings about it.

    `prompt` is a video, or a track that `vast extract` wrote. A prompt without audio is fine: its speech is unknown.
    """
    if prompt.suffix == ".track":
        track = records.load(FaceTrack, prompt, model_hash=models.face_model.hash)
        prompt_style = style.encode_style(track, models.style_model, ppg=None)
    else:
        track = extract_track(prompt, models, face_name=face_name, cache=cache, progress=progress)

        def make() -> Style:
            ppg = _speech_of_prompt(prompt, models, cache) if media.probe(prompt).has_audio else None
            return style.encode_style(track, models.style_model, ppg=ppg)

        prompt_style = cache.fetch(Style, _key(cache, prompt, STYLE_ASSETS, face=face_name), make)
        prompt_style = dataclasses.replace(prompt_style, source=prompt.name)
    lost = 1 - float(track.valid.mean())
    if lost <= WARN_LOST:
        return prompt_style, []
    return prompt_style, [f"{100 * lost:.0f} % of `{prompt.name}` shows no face that can be trusted; the rest was used"]


def _speech_of_prompt(prompt: Path, models: Models, cache: Cache) -> Posteriorgram | None:
    """The prompt's speech from its first frame on; None if its audio cannot be used."""
    with media.VideoReader(prompt) as reader:
        start_s = reader.start_s

    def make() -> Posteriorgram:
        blocks = media.read_audio(prompt, start_s=start_s)
        return speech.extract_ppg(blocks, models.acoustic_model, where=prompt.name)

    try:
        return cache.fetch(Posteriorgram, _key(cache, prompt, SPEECH_ASSETS, start_s=repr(start_s)), make)
    except VastError as error:
        if error.exit != Exit.DATA:  # bad audio is fine in a prompt; a fault of the machine is not
            raise
        log.info("the audio of `%s` is not used: %s", prompt, error.message)
        return None


def write_preview(
    video: Path, track: FaceTrack, output: Path, models: Models, *, overwrite: bool, progress: Progress = silent
) -> None:
    """Write the video with the tracked mesh drawn over it."""
    with (
        media.VideoReader(video) as reader,
        media.VideoWriter(
            output,
            media.VideoFormat(reader.width, reader.height),
            audio=None,
            n_frames=track.n_frames,
            overwrite=overwrite,
        ) as writer,
    ):
        for index, frame in enumerate(counted(reader, "preview", track.n_frames, progress)):
            writer.write(
                face.draw_preview(frame, track, index, model=models.face_model, topology=models.rasteriser.topology)
            )


def _key(cache: Cache, source: Path, assets_used: tuple[str, ...], **options: str) -> dict[str, str]:
    """What a record is made from, as cache key; nothing is hashed without a cache."""
    if cache.folder is None:
        return {}
    return {"source": cache.hashes.digest(source), **{name: assets.model_hash(name) for name in assets_used}, **options}


def _count_seconds(blocks: Iterable[Float32], progress: Progress) -> Iterator[Float32]:
    """Yield `blocks` and report the seconds of audio that went by."""
    n_samples = 0
    for block in blocks:
        yield block
        n_samples += len(block)
        progress("listen (s)", timebase.whole_seconds(n_samples), None)
    done = timebase.whole_seconds(n_samples)
    progress("listen (s)", done, done)

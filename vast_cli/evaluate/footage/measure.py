"""Measures an avatar's own footage, so that ratios to it need no footage.

    python -m vast_cli.evaluate.footage.measure AVATAR FOOTAGE

adds the statistics to the card of a bundle that was fitted before; `vast fit-renderer` does it by itself.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import media, renderer
from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.footage.statistics import FootageStatistics, WindowSpread
from vast_cli.evaluate.measures import integrity, person, registry
from vast_cli.evaluate.observation.audio import SpeechAudio, load_speech
from vast_cli.evaluate.observation.clip import Mismatch, Observation, ObservedVideo, Pair
from vast_cli.evaluate.observation.frames import (
    DESCRIBE_EVERY,
    PARTS,
    FrameObserver,
    FrameRequest,
    ObserverNetworks,
    observe_frames,
)
from vast_cli.evaluate.observation.observe import CRF, PRESET, load_networks
from vast_cli.evaluate.observation.tracking import track_video
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram
from vast_cli.renderer.avatar import update_card
from vast_cli.renderer.render import crop_to_box

MAX_S = 60  # of footage; more takes longer and adds nothing
WINDOW_S, STEP_S = 4, 2
MEASURES = (
    "frozen_run",
    "sharpness",
    "flicker_ratio",
    "lip_accel_ratio",
    "silence_gap",
    "silence_motion",
    "bilabial_closure",
    "identity_dist",
    "lagsync_margin",
    "lagsync_lag",
)
NEEDED_PARTS = PARTS - {"samples", "mouth_reversed"}


def measure_footage(
    footage: Path,
    avatar: renderer.Avatar,
    *,
    models: Models | None = None,
    face_name: str = "largest",
    progress: Progress = silent,
) -> FootageStatistics:
    """Measure the footage of an avatar as its frames show it: the same cut, scale and encoder.

    Args:
        footage: what the avatar was fitted to; its first minute is measured.
        avatar: says where to cut.
        models: the networks.
        face_name: which face, as `--face`.
        progress: called after every frame.

    Raises:
        VastError: `vast_no_face`, and those of reading.
    """
    models = models or Models()
    networks = load_networks()
    with tempfile.TemporaryDirectory(prefix="vast-footage-") as folder:
        shown = Path(folder) / "shown.mp4"
        write_as_shown(footage, shown, avatar)
        observed = observe_footage(shown, models, networks, face_name=face_name, progress=progress)
    with media.VideoReader(footage) as reader:
        start_s = reader.start_s
    if media.probe(footage).has_audio:
        audio = load_speech(footage, models, start_s=start_s)
        observed = dataclasses.replace(observed, audio=cut_audio(audio, 0, observed.video.n_frames))
    return footage_statistics(observed, models, networks)


def footage_document(
    footage: Path,
    avatar: renderer.Avatar,
    *,
    face_name: str = "largest",
    progress: Progress = silent,
) -> dict[str, Any]:
    """`measure_footage` as it stands in an avatar's card."""
    return measure_footage(footage, avatar, face_name=face_name, progress=progress).document()


def write_as_shown(footage: Path, target: Path, avatar: renderer.Avatar) -> None:
    """Write the footage, without audio, as a perfect render of the avatar would show it."""
    box = avatar.subject.box
    with media.VideoReader(footage) as reader:
        width, height = (box.size, box.size) if avatar.footage is None else (reader.width, reader.height)
        with media.VideoWriter(target, media.VideoFormat(width, height, crf=CRF, preset=PRESET)) as writer:
            for frame in islice(reader, timebase.frame_at(MAX_S)):
                writer.write(crop_to_box(frame, box) if avatar.footage is None else frame)


def observe_footage(
    path: Path,
    models: Models,
    networks: ObserverNetworks,
    *,
    face_name: str = "largest",
    progress: Progress = silent,
) -> ObservedVideo:
    """Observe a video as far as footage statistics need it.

    Raises:
        VastError: `vast_no_face`, and those of reading.
    """
    video = track_video(path, models.face_model, face_name=face_name, progress=progress)
    box = video.crop_box()
    if box is None:
        raise VastError("vast_no_face", f"`{path.name}` shows no face")
    request = FrameRequest(video, box, parts=NEEDED_PARTS)
    frames = observe_frames(FrameObserver(request, networks, progress=progress))
    audio = load_speech(path, models, start_s=video.start_s) if video.has_audio else None
    return ObservedVideo(video, frames, audio)


def footage_statistics(footage: ObservedVideo, models: Models, networks: ObserverNetworks) -> FootageStatistics:
    """The statistics of real footage, and the spread of its measures over windows."""
    whole = whole_statistics(footage, models, networks)
    values: dict[str, list[float]] = {}
    for start in window_starts(footage.video.n_frames):
        for name, value in read_measures(cut_window(footage, start), whole, models, networks).items():
            values.setdefault(name, []).append(value)
    return dataclasses.replace(whole, windows={name: _spread(window_values) for name, window_values in values.items()})


def whole_statistics(footage: ObservedVideo, models: Models, networks: ObserverNetworks) -> FootageStatistics:
    """The statistics that ratios divide by, without windows."""
    statistics = integrity.statistics_of(footage)
    gaps = np.quantile(statistics.silence_gaps, np.linspace(0, 1, 101)) if statistics.silence_gaps else np.zeros(0)
    assert footage.frames is not None
    descriptors = footage.frames.descriptors
    centre = descriptors.mean(0) if len(descriptors) else np.zeros(0, np.float32)
    margin = read_measures(footage, statistics, models, networks, only=("lagsync_margin",)).get("lagsync_margin")
    return dataclasses.replace(
        statistics,
        silence_gaps=tuple(gaps.tolist()),
        lagsync_margin=margin,
        descriptor=tuple(centre.tolist()),
        identity_dist=person.mean_distance(descriptors, centre) if len(descriptors) else None,
    )


def read_measures(
    observed: ObservedVideo,
    statistics: FootageStatistics,
    models: Models,
    networks: ObserverNetworks,
    *,
    only: Sequence[str] = MEASURES,
) -> dict[str, float]:
    """Measures of a video against footage statistics, as `vast evaluate` reads them; without those without a value."""
    video = observed.video
    clip = Observation(
        pair=Pair(video.path.stem, video.path, footage_statistics=statistics),
        model=models.face_model,
        seed=0,
        output=observed,
        box=video.crop_box(),
        mismatch=Mismatch("no_reference"),
        lagsync=networks.lagsync,
        has_descriptor=networks.descriptor is not None,
    )
    return {name: reading.value for name, reading in registry.read(clip, only).items() if reading.value is not None}


def window_starts(n_frames: int, *, seconds: float = WINDOW_S) -> range:
    """First frames of the windows."""
    return range(0, n_frames - timebase.frame_at(seconds) + 1, timebase.frame_at(STEP_S))


def cut_window(observed: ObservedVideo, start: int, *, seconds: float = WINDOW_S) -> ObservedVideo:
    """Frames and audio of a window of an observed video."""
    stop = start + timebase.frame_at(seconds)
    video, frames = observed.video, observed.frames
    assert frames is not None
    described = [k for k in range(0, video.n_frames, DESCRIBE_EVERY) if video.present[k]][: len(frames.descriptors)]
    inside = [i for i, k in enumerate(described) if start <= k < stop]
    return ObservedVideo(
        dataclasses.replace(video, mesh=video.mesh[start:stop], brightness=video.brightness[start:stop]),
        dataclasses.replace(
            frames,
            sharpness=frames.sharpness[start:stop],
            change=frames.change[start:stop],
            flicker=frames.flicker[start:stop],
            descriptors=frames.descriptors[inside],
            mouth=frames.mouth[start : stop - 4],
            mouth_valid=frames.mouth_valid[start : stop - 4],
        ),
        None if observed.audio is None else cut_audio(observed.audio, start, stop),
    )


def cut_audio(audio: SpeechAudio, start: int, stop: int) -> SpeechAudio:
    """The audio of the frames start ... stop - 1."""
    samples = audio.samples[timebase.sample_at(start) : timebase.sample_at(stop)]
    rows = audio.ppg.values[timebase.ppg_at(start) : timebase.ppg_at(stop)]
    return SpeechAudio(samples, Posteriorgram(rows, len(samples), audio.ppg.model_hash))


def _spread(values: Sequence[float]) -> WindowSpread:
    low, median, high = np.quantile(values, (0.01, 0.5, 0.99))
    return WindowSpread(len(values), float(median), float(low), float(high))


def add_to_bundle(bundle: Path, footage: Path, *, progress: Progress = silent) -> FootageStatistics:
    """Measure `footage` and write the statistics to the card of the bundle folder.

    Raises:
        VastError: those of `measure_footage`, of reading a bundle and of writing its card.
    """
    avatar = renderer.Avatar.load(bundle)
    statistics = measure_footage(footage, avatar, progress=progress)
    update_card(bundle, {"yardstick": statistics.document()})
    return statistics


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", help="name of an avatar, or the folder of a bundle")
    parser.add_argument("footage", type=Path, help="what it was fitted to")
    options = parser.parse_args()
    statistics = add_to_bundle(renderer.find_avatar(options.avatar), options.footage)
    for line in _lines(statistics.document()):
        print(line)


def _lines(document: dict[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if name == "windows":
            yield from (f"window {measure}: {spread}" for measure, spread in value.items())
        else:
            yield f"{name}: {value if not isinstance(value, list) else f'{len(value)} numbers'}"


if __name__ == "__main__":
    main()

"""Measure an avatar's own footage, so that ratios to it can be told without it.

    python -m vast_cli.evaluate.yardstick AVATAR FOOTAGE

adds the numbers to the card of a bundle that was fitted before; `vast fit-renderer` does it by itself.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import media, renderer
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.timebase import FPS, PPG_RATE, SAMPLE_RATE
from vast_cli.evaluate.external.models import ExternalResults
from vast_cli.evaluate.footage.statistics import FootageStatistics, Spread
from vast_cli.evaluate.measures import integrity, person, registry
from vast_cli.evaluate.observation.clip import CRF, PRESET, Observation, Pair, load_networks
from vast_cli.evaluate.observation.frames import (
    DESCRIBE_EVERY,
    PARTS,
    FrameMeasurements,
    FrameObserver,
    ObserverNetworks,
    watch,
)
from vast_cli.evaluate.observation.tracking import SpeechAudio, TrackedVideo, hear, look
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram
from vast_cli.renderer.avatar import update_card
from vast_cli.renderer.render import crop_to_box

MAX_S = 60  # of footage; more says no more and takes longer
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


@dataclass(frozen=True)
class ObservedFootage:
    """Real footage, seen and heard."""

    sight: TrackedVideo
    portrait: FrameMeasurements
    sound: SpeechAudio | None


def measure_footage(
    footage: Path,
    avatar: renderer.Avatar,
    *,
    models: Models | None = None,
    which: str = "largest",
    progress: Progress = silent,
) -> FootageStatistics:
    """Measure the footage of an avatar as its frames show it: the same cut, scale and encoder.

    Args:
        footage: what the avatar was fitted to; its first minute is measured.
        avatar: says where to cut.
        models: the networks.
        which: which face, as `--face`.
        progress: told of every frame.

    Raises:
        VastError: `vast_no_face`, and those of reading.
    """
    models = models or Models()
    judges = load_networks()
    with tempfile.TemporaryDirectory(prefix="vast-yardstick-") as folder:
        shown = Path(folder) / "shown.mp4"
        write_as_shown(footage, shown, avatar)
        seen = observe_footage(shown, models, judges, which=which, progress=progress)
    with media.VideoReader(footage) as reader:
        start_s = reader.start_s
    if media.probe(footage).has_audio:
        sound = hear(footage, models, start_s=start_s)
        seen = dataclasses.replace(seen, sound=cut_audio(sound, 0, seen.sight.n_frames))
    return footage_statistics(seen, models, judges)


def footage_document(
    footage: Path,
    avatar: renderer.Avatar,
    *,
    which: str = "largest",
    progress: Progress = silent,
) -> dict[str, Any]:
    """`measure_footage`, as it stands in the card: what `fit_renderer` is given."""
    return measure_footage(footage, avatar, which=which, progress=progress).document()


def write_as_shown(footage: Path, target: Path, avatar: renderer.Avatar) -> None:
    """Write the footage, silent, as a perfect render of the avatar would show it."""
    box = avatar.subject.box
    with media.VideoReader(footage) as reader:
        width, height = (box.size, box.size) if avatar.footage is None else (reader.width, reader.height)
        with media.VideoWriter(target, width=width, height=height, crf=CRF, preset=PRESET) as writer:
            for frame in islice(reader, MAX_S * FPS):
                writer.write(crop_to_box(frame, box) if avatar.footage is None else frame)


def observe_footage(
    video: Path,
    models: Models,
    judges: ObserverNetworks,
    *,
    which: str = "largest",
    progress: Progress = silent,
) -> ObservedFootage:
    """See and hear a video, as far as a yardstick needs it.

    Raises:
        VastError: `vast_no_face`, and those of reading.
    """
    sight = look(video, models.face_model, which=which, progress=progress)
    box = sight.box()
    if box is None:
        raise VastError("vast_no_face", f"`{video.name}` shows no face")
    portrait = watch(FrameObserver(sight, box, judges, parts=NEEDED_PARTS, progress=progress))
    sound = hear(video, models, start_s=sight.start_s) if sight.has_audio else None
    return ObservedFootage(sight, portrait, sound)


def footage_statistics(seen: ObservedFootage, models: Models, judges: ObserverNetworks) -> FootageStatistics:
    """The numbers of real footage, and their spread over its windows."""
    whole = whole_statistics(seen, models, judges)
    values: dict[str, list[float]] = {}
    for start in window_starts(seen.sight.n_frames):
        for name, value in read_measures(cut_window(seen, start), whole, models, judges).items():
            values.setdefault(name, []).append(value)
    return dataclasses.replace(whole, windows={name: _spread(found) for name, found in values.items()})


def whole_statistics(seen: ObservedFootage, models: Models, judges: ObserverNetworks) -> FootageStatistics:
    """The numbers that ratios divide by."""
    found = integrity.standard_of(seen.sight, seen.portrait, seen.sound)
    gaps = np.quantile(found.silence_gaps, np.linspace(0, 1, 101)) if found.silence_gaps else np.zeros(0)
    described = seen.portrait.descriptors
    centre = described.mean(0) if len(described) else np.zeros(0, np.float32)
    margin = read_measures(seen, found, models, judges, only=("lagsync_margin",)).get("lagsync_margin")
    return dataclasses.replace(
        found,
        silence_gaps=tuple(gaps.tolist()),
        lagsync_margin=margin,
        descriptor=tuple(centre.tolist()),
        identity_dist=person.away(described, centre) if len(described) else None,
    )


def read_measures(
    seen: ObservedFootage,
    against: FootageStatistics,
    models: Models,
    judges: ObserverNetworks,
    *,
    only: Sequence[str] = MEASURES,
) -> dict[str, float]:
    """What `vast evaluate` says of a video against a yardstick; measures without a value are left out."""
    readings = registry.read(_observed(seen, against, models, judges), only)
    return {name: told.value for name, told in readings.items() if told.value is not None}


def window_starts(n_frames: int, *, seconds: float = WINDOW_S) -> range:
    """First frames of the windows."""
    return range(0, n_frames - round(seconds * FPS) + 1, STEP_S * FPS)


def cut_window(seen: ObservedFootage, start: int, *, seconds: float = WINDOW_S) -> ObservedFootage:
    """A stretch of what was seen and heard."""
    stop = start + round(seconds * FPS)
    sight, portrait = seen.sight, seen.portrait
    described = [k for k in range(0, sight.n_frames, DESCRIBE_EVERY) if sight.present[k]][: len(portrait.descriptors)]
    chosen = [i for i, k in enumerate(described) if start <= k < stop]
    return ObservedFootage(
        dataclasses.replace(sight, mesh=sight.mesh[start:stop], brightness=sight.brightness[start:stop]),
        dataclasses.replace(
            portrait,
            sharpness=portrait.sharpness[start:stop],
            change=portrait.change[start:stop],
            flicker=portrait.flicker[start:stop],
            descriptors=portrait.descriptors[chosen],
            mouth=portrait.mouth[start : stop - 4],
            mouth_valid=portrait.mouth_valid[start : stop - 4],
        ),
        None if seen.sound is None else cut_audio(seen.sound, start, stop),
    )


def cut_audio(sound: SpeechAudio, start: int, stop: int) -> SpeechAudio:
    """The sound of the frames start ... stop - 1."""
    samples = sound.samples[start * SAMPLE_RATE // FPS : stop * SAMPLE_RATE // FPS]
    rows = sound.ppg.values[start * PPG_RATE // FPS : stop * PPG_RATE // FPS]
    return SpeechAudio(samples, Posteriorgram(rows, len(samples), sound.ppg.model_hash))


def _observed(
    seen: ObservedFootage, against: FootageStatistics, models: Models, judges: ObserverNetworks
) -> Observation:
    sight = seen.sight
    return Observation(
        pair=Pair(sight.path.stem, sight.path, footage_statistics=against),
        model=models.face_model,
        seed=0,
        made=sight,
        truth=None,
        reencoded=None,
        footage=None,
        prompt=None,
        box=sight.box(),
        unpaired="no_reference",
        unpaired_hint=None,
        sound=seen.sound,
        no_sound=None,
        own_samples=None,
        footage_sound=None,
        truth_sound=None,
        other_sound=None,
        portraits={"made": seen.portrait},
        ssim={},
        lagsync=judges.lagsync,
        has_descriptor=judges.descriptor is not None,
        verdicts=ExternalResults(),
        models={},
    )


def _spread(values: Sequence[float]) -> Spread:
    low, median, high = np.quantile(values, (0.01, 0.5, 0.99))
    return Spread(len(values), float(median), float(low), float(high))


def add_to_bundle(bundle: Path, footage: Path, *, progress: Progress = silent) -> FootageStatistics:
    """Measure `footage` and write the numbers to the card of the bundle folder.

    Raises:
        VastError: those of `measure_footage`, of reading a bundle and of writing its card.
    """
    avatar = renderer.Avatar.load(bundle)
    found = measure_footage(footage, avatar, progress=progress)
    update_card(bundle, {"yardstick": found.document()})
    return found


def main() -> None:
    """Read the options, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", help="name of an avatar, or the folder of a bundle")
    parser.add_argument("footage", type=Path, help="what it was fitted to")
    options = parser.parse_args()
    found = add_to_bundle(renderer.find_avatar(options.avatar), options.footage)
    for line in _lines(found.document()):
        print(line)


def _lines(document: dict[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if name == "windows":
            yield from (f"window {measure}: {spread}" for measure, spread in value.items())
        else:
            yield f"{name}: {value if not isinstance(value, list) else f'{len(value)} numbers'}"


if __name__ == "__main__":
    main()

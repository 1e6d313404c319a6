"""What LagSync learns from: mouths and sounds of the training clips, in step."""

import dataclasses
import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vast_cli import media
from vast_cli.core import files
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.timebase import FPS, SAMPLE_RATE
from vast_cli.face import FaceModel, LandmarkTrack, Topology, track_landmarks
from vast_cli.sync.audio import A_FRAME, log_mel
from vast_cli.sync.mouth import NOSE_BASE, SIDE, SIZE, crop_frame, mouth_crop
from vast_cli.sync.network import FRAMES
from vast_cli.training import corpora

log = logging.getLogger(__name__)


ROOM = 128  # side of the kept crops: augmentation moves the 96 pixels about in them
CHIN = 152
LIP_POINTS = 40
SHAPE_POINTS = LIP_POINTS + 2  # and nose's base, chin
NO_STEP = ("mead", "style")  # too short or too doubtful to tell whether the sound belongs to the picture


@dataclass(frozen=True)
class Talker:
    """One clip: every array has a row a video frame, `sound` four."""

    name: str
    set: str
    speaker: str
    crops: Image  # [n, 128, 128]; black where no face
    shape: Float32  # [n, 42, 2], lips, nose's base, chin; pixels from the crop's centre
    seen: NDArray[np.bool_]  # [n], a face was found
    fresh: NDArray[np.bool_]  # [n], first frame after a cut
    sound: Float32  # [4 n, 40], log-mel, not normalised; [0, 40] without sound

    @property
    def n_frames(self) -> int:
        return len(self.crops)

    @property
    def windows(self) -> NDArray[np.bool_]:
        """[n - 4], all five faces were seen, without a cut between them."""
        return valid_windows(self.seen, self.fresh)


def valid_windows(seen: NDArray[np.bool_], fresh: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n - 4], windows of five frames with a face in each and no cut between them."""
    if len(seen) < FRAMES:
        return np.zeros(0, np.bool_)
    faces = np.lib.stride_tricks.sliding_window_view(seen, FRAMES).all(axis=1)
    cuts = np.lib.stride_tricks.sliding_window_view(fresh, FRAMES)[:, 1:].any(axis=1)
    result: NDArray[np.bool_] = faces & ~cuts
    return result


def in_step(clip: corpora.Clip) -> bool:
    """Whether the sound may be taken as that of the picture, once `sound_offset_s` is out."""
    if not clip.has_audio or clip.set in NO_STEP:
        return False
    if clip.set in ("grid", "grid_s1", "lrcar"):
        return True  # recorded or broadcast in step; single clips are too short for the corpus' own measure
    by = corpora.sound_offset_by(clip)
    return by in ("closures", "recording") or (by in ("lag", "table") and clip.sync_ok is not False)


def training_clips(corpus: Path) -> list[corpora.Clip]:
    """Clips of split `train` whose sound is in step."""
    return [clip for clip in corpora.read_index(corpus) if clip.split == "train" and in_step(clip)]


def folds(clips: Iterable[Talker], n: int, held_out: int) -> tuple[list[Talker], list[Talker]]:
    """Part by speaker: every n-th speaker of each set is held out, speakers of other sets go along.

    `grid_s1` is one speaker and stays in training.
    """
    clips = list(clips)
    away: set[str] = set()
    for name in ("talk", "grid", "lrcar"):
        speakers = sorted({c.speaker for c in clips if c.set == name})
        away |= set(speakers[held_out % n :: n])
    away -= {c.speaker for c in clips if c.set == "grid_s1"}
    return [c for c in clips if c.speaker not in away], [c for c in clips if c.speaker in away]


def load_talkers(
    clips: Sequence[corpora.Clip], cache: Path, *, landmarks: Path, topology: Topology | None = None
) -> list[Talker]:
    """Measure the clips, or read what was measured before.

    Args:
        clips: rows of the index.
        cache: folder for crops and features; 0.5 MB a second of video.
        landmarks: folder of tracked landmarks, `KEY.npz`; made where missing.
        topology: of the mesh; the shipped one if not given.
    """
    sets = (topology or Topology.load()).sets
    lips = np.concatenate([sets["lips_outer"], sets["lips_inner"]])
    cache.mkdir(parents=True, exist_ok=True)
    return [_talker(clip, cache, landmarks, lips) for clip in tqdm(clips, desc="mouths", unit="clip", mininterval=5)]


@functools.cache
def mirror_order() -> NDArray[np.int64]:
    """Where each shape point goes in a mirrored picture, [42]."""
    topology = Topology.load()
    lips = [*topology.sets["lips_outer"], *topology.sets["lips_inner"]]
    return np.array([lips.index(topology.mirror[k]) for k in lips] + [LIP_POINTS, LIP_POINTS + 1])


def _talker(clip: corpora.Clip, cache: Path, landmarks: Path, lips: NDArray[np.int64]) -> Talker:
    track = _landmarks(clip, landmarks / f"{clip.key}.npz")
    crops_path = cache / f"{clip.key}.npy"
    if not crops_path.is_file():
        crops = measure_mouths(clip.path, track)
        with files.atomic_write(crops_path) as part, part.open("wb") as file:
            np.save(file, crops)
    crops = np.load(crops_path, mmap_mode="r", allow_pickle=False)
    sound_path = cache / f"{clip.key}.sound.npy"
    late = corpora.sound_offset_s(clip)
    if clip.has_audio and not sound_path.is_file():
        with files.atomic_write(sound_path) as part, part.open("wb") as file:
            np.save(file, log_mel(sound_in_step(clip.path, late), A_FRAME * len(crops)))
    sound = np.load(sound_path, allow_pickle=False) if clip.has_audio else np.zeros((0, 40), np.float32)
    return Talker(
        name=clip.name,
        set=clip.set,
        speaker=clip.speaker,
        crops=crops,
        shape=np.stack([mouth_shape(p, lips) for p in track.points]),
        seen=track.present,
        fresh=track.cut,
        sound=sound,
    )


def _landmarks(clip: corpora.Clip, path: Path) -> LandmarkTrack:
    if path.is_file():
        return LandmarkTrack.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with media.VideoReader(clip.path) as reader:
        track = track_landmarks(reader, FaceModel.load(), source=clip.path.name)
    track.save(path)
    return track


def measure_mouths(video: Path, track: LandmarkTrack) -> Image:
    """Crops of every frame, [n, 128, 128]."""
    crops = np.zeros((len(track.points), ROOM, ROOM), np.uint8)
    with media.VideoReader(video) as reader:
        for k, frame in zip(range(len(crops)), reader, strict=False):
            if track.present[k]:
                crops[k] = mouth_crop(frame, track.points[k], size=ROOM)
    return crops


def mouth_shape(points: Float32, lips: NDArray[np.int64]) -> Float32:
    """Lips, nose's base and chin in the crop, pixels from its centre: [42, 2]."""
    centre, across, unit = crop_frame(points)
    turn = np.array([[across[0], -across[1]], [across[1], across[0]]])
    chosen = points[np.concatenate([lips, [NOSE_BASE, CHIN]]), :2]
    return ((chosen - centre) @ turn * (SIZE / (SIDE * unit))).astype(np.float32)


def sound_in_step(video: Path, late_s: float) -> Float32:
    """Samples of a clip, sample 0 at its first picture, with a constant lateness of the sound taken out."""
    with media.VideoReader(video) as reader:
        samples = media.load_audio(video, start_s=reader.start_s)
    shift = round(late_s * SAMPLE_RATE)
    if shift >= 0:
        return samples[shift:]
    return np.concatenate([np.zeros(-shift, np.float32), samples])


def moved(talker: Talker, frames: int) -> Talker:
    """The clip with its picture `frames` later (negative: earlier), cut to what both have."""
    if frames == 0:
        return talker
    n = talker.n_frames - abs(frames)
    picture = slice(0, n) if frames > 0 else slice(-frames, n - frames)
    first = A_FRAME * max(frames, 0)
    return dataclasses.replace(
        talker,
        crops=talker.crops[picture],
        shape=talker.shape[picture],
        seen=talker.seen[picture],
        fresh=talker.fresh[picture],
        sound=talker.sound[first : first + A_FRAME * n],
    )


def seconds(talkers: Iterable[Talker]) -> float:
    return sum(t.n_frames for t in talkers) / FPS

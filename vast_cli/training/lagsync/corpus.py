"""Training data of LagSync: mouths and audio of the training clips, in sync."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vast_cli import media
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Bools, Float32, Image, Int64
from vast_cli.face import LandmarkTrack, Topology
from vast_cli.sync.audio import MELS_PER_FRAME, log_mel
from vast_cli.sync.mouth import NOSE_BASE, SIDE, SIZE, crop_frame, mouth_crop
from vast_cli.sync.network import FRAMES
from vast_cli.training.corpora import CorpusClip, audio_offset_basis, audio_offset_s, read_index
from vast_cli.training.tracks import cached_landmarks

CROP_SIZE = 128  # side of the cached crops: augmentation moves the 96 pixels about in them
CHIN = 152
LIP_POINTS = 40
SHAPE_POINTS = LIP_POINTS + 2  # and nose's base, chin
UNRELIABLE_SETS = ("mead", "style")  # too short or too doubtful to tell whether audio and video are in sync


@dataclass(frozen=True)
class LagSyncClip:
    """One clip: every array has a row a video frame, `audio` four."""

    name: str
    set: str
    speaker: str
    crops: Image  # [n, 128, 128]; black where no face
    shape: Float32  # [n, 42, 2], lips, nose's base, chin; pixels from the crop's centre
    has_face: Bools  # [n]
    is_cut: Bools  # [n], first frame after a cut
    audio: Float32  # [4 n, 40], log-mel, not normalised; [0, 40] without audio

    @property
    def n_frames(self) -> int:
        return len(self.crops)

    @property
    def windows(self) -> Bools:
        """[n - 4], windows with a face in all five frames, without a cut between them."""
        return valid_windows(self.has_face, self.is_cut)


def valid_windows(has_face: Bools, is_cut: Bools) -> Bools:
    """[n - 4], windows of five frames with a face in each and no cut between them."""
    if len(has_face) < FRAMES:
        return np.zeros(0, np.bool_)
    faces = np.lib.stride_tricks.sliding_window_view(has_face, FRAMES).all(axis=1)
    cuts = np.lib.stride_tricks.sliding_window_view(is_cut, FRAMES)[:, 1:].any(axis=1)
    return np.asarray(faces & ~cuts)


def in_sync(clip: CorpusClip) -> bool:
    """Whether audio and video are in sync once `audio_offset_s` is taken out."""
    if not clip.has_audio or clip.set in UNRELIABLE_SETS:
        return False
    if clip.set in ("grid", "grid_s1", "lrcar"):
        return True  # recorded or broadcast in sync; single clips are too short for the corpus' own measure
    basis = audio_offset_basis(clip)
    return basis in ("closures", "recording") or (basis in ("lag", "table") and clip.sync_ok is not False)


def training_clips(corpus: Path) -> list[CorpusClip]:
    """Clips of split `train` that are in sync."""
    return [clip for clip in read_index(corpus) if clip.split == "train" and in_sync(clip)]


def split_speakers(
    clips: Iterable[LagSyncClip], n_folds: int, held_out: int
) -> tuple[list[LagSyncClip], list[LagSyncClip]]:
    """Clips to train on and held-out clips: every n-th speaker of each set, with their clips of other sets.

    `grid_s1` is one speaker and stays in training.
    """
    clips = list(clips)
    away: set[str] = set()
    for name in ("talk", "grid", "lrcar"):
        speakers = sorted({c.speaker for c in clips if c.set == name})
        away |= set(speakers[held_out % n_folds :: n_folds])
    away -= {c.speaker for c in clips if c.set == "grid_s1"}
    return [c for c in clips if c.speaker not in away], [c for c in clips if c.speaker in away]


def load_clips(
    clips: Sequence[CorpusClip], cache: Path, *, landmarks: Path, topology: Topology | None = None
) -> list[LagSyncClip]:
    """Measure the clips, or read the cached measurements.

    Args:
        clips: rows of the index.
        cache: folder for crops and features; 0.5 MB a second of video.
        landmarks: folder of tracked landmarks, `KEY.npz`; made where missing.
        topology: of the mesh; the shipped one if not given.
    """
    sets = (topology or Topology.load()).sets
    lips = np.concatenate([sets["lips_outer"], sets["lips_inner"]])
    cache.mkdir(parents=True, exist_ok=True)
    return [_load_clip(clip, cache, landmarks, lips) for clip in tqdm(clips, desc="mouths", unit="clip", mininterval=5)]


@functools.cache
def mirror_order() -> Int64:
    """Where each shape point goes in a mirrored image, [42]."""
    topology = Topology.load()
    lips = [*topology.sets["lips_outer"], *topology.sets["lips_inner"]]
    return np.array([lips.index(topology.mirror[k]) for k in lips] + [LIP_POINTS, LIP_POINTS + 1])


def _load_clip(clip: CorpusClip, cache: Path, landmarks: Path, lips: Int64) -> LagSyncClip:
    track = cached_landmarks(clip, landmarks)
    crops_path = cache / f"{clip.key}.npy"
    if not crops_path.is_file():
        _save(crops_path, measure_mouths(clip.path, track))
    crops = np.load(crops_path, mmap_mode="r", allow_pickle=False)
    audio = np.zeros((0, 40), np.float32)
    if clip.has_audio:
        audio_path = cache / f"{clip.key}.sound.npy"
        if not audio_path.is_file():
            samples = synced_audio(clip.path, audio_offset_s(clip))
            _save(audio_path, log_mel(samples, MELS_PER_FRAME * len(crops)))
        audio = np.load(audio_path, allow_pickle=False)
    return LagSyncClip(
        name=clip.name,
        set=clip.set,
        speaker=clip.speaker,
        crops=crops,
        shape=np.stack([mouth_shape(p, lips) for p in track.points]),
        has_face=track.present,
        is_cut=track.cut,
        audio=audio,
    )


def _save(path: Path, array: Image | Float32) -> None:
    with files.atomic_write(path) as part, part.open("wb") as file:
        np.save(file, array)


def measure_mouths(video: Path, track: LandmarkTrack) -> Image:
    """Crops of every frame, [n, 128, 128]."""
    crops = np.zeros((len(track.points), CROP_SIZE, CROP_SIZE), np.uint8)
    with media.VideoReader(video) as reader:
        for k, frame in zip(range(len(crops)), reader, strict=False):
            if track.present[k]:
                crops[k] = mouth_crop(frame, track.points[k], size=CROP_SIZE)
    return crops


def mouth_shape(points: Float32, lips: Int64) -> Float32:
    """Lips, nose's base and chin in the crop, pixels from its centre: [42, 2]."""
    centre, across, unit = crop_frame(points)
    turn = np.array([[across[0], -across[1]], [across[1], across[0]]])
    chosen = points[np.concatenate([lips, [NOSE_BASE, CHIN]]), :2]
    result: Float32 = ((chosen - centre) @ turn * (SIZE / (SIDE * unit))).astype(np.float32)
    return result


def synced_audio(video: Path, late_s: float) -> Float32:
    """Samples of a clip, sample 0 at its first frame, with a constant lateness of the audio taken out."""
    with media.VideoReader(video) as reader:
        samples = media.load_audio(video, start_s=reader.start_s)
    shift = timebase.sample_near(late_s)
    if shift >= 0:
        return samples[shift:]
    return np.concatenate([np.zeros(-shift, np.float32), samples])


def delay_video(clip: LagSyncClip, frames: int) -> LagSyncClip:
    """The clip with its video `frames` later (negative: earlier), cut to what both have."""
    if frames == 0:
        return clip
    n = clip.n_frames - abs(frames)
    video = slice(0, n) if frames > 0 else slice(-frames, n - frames)
    first = MELS_PER_FRAME * max(frames, 0)
    return dataclasses.replace(
        clip,
        crops=clip.crops[video],
        shape=clip.shape[video],
        has_face=clip.has_face[video],
        is_cut=clip.is_cut[video],
        audio=clip.audio[first : first + MELS_PER_FRAME * n],
    )


def total_seconds(clips: Iterable[LagSyncClip]) -> float:
    """Length of the clips together."""
    return timebase.seconds(sum(clip.n_frames for clip in clips))

"""Tracks of corpus clips, made where they are missing and kept in a folder."""

from pathlib import Path

from vast_cli import media, records
from vast_cli.face import FaceModel, LandmarkTrack, track_landmarks, track_video
from vast_cli.records import FaceTrack
from vast_cli.training.corpora import CorpusClip


def cached_landmarks(
    clip: CorpusClip, folder: Path, *, face: FaceModel | None = None, weights: Path | None = None
) -> LandmarkTrack:
    """Raw landmarks of a clip, `folder/KEY.npz`.

    Args:
        clip: row of the index.
        folder: of the landmarks; a missing file is tracked and written there.
        face: face model that the tracker works with; the shipped one if not given.
        weights: folder of the tracker's networks; the shipped ones if not given.

    Raises:
        VastError: `vast_no_face` and what reading the clip may raise.
    """
    path = folder / f"{clip.key}.npz"
    if path.is_file():
        return LandmarkTrack.load(path)
    with media.VideoReader(clip.path) as video:
        track = track_landmarks(video, face or FaceModel.load(), source=clip.path.name, weights=weights)
    folder.mkdir(parents=True, exist_ok=True)
    track.save(path)
    return track


def cached_track(clip: CorpusClip, folder: Path, *, face: FaceModel, weights: Path | None = None) -> FaceTrack:
    """Track of a clip, `folder/KEY.track`.

    Raises:
        VastError: `vast_no_face`, `vast_face_lost`, `vast_model_mismatch`.
    """
    path = folder / f"{clip.key}.track"
    if not path.exists():
        with media.VideoReader(clip.path) as video:
            track = track_video(video, model=face, source=clip.path.name, weights=weights)
        track.save(path)
    return records.load(FaceTrack, path, model_hash=face.hash)

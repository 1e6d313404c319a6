"""Footage of one person, measured for a renderer: frames in the box, meshes, speech, poses."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vast_cli import media, speech
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.face import FaceModel, MeshRasteriser, track_video
from vast_cli.pipeline.extract import face_choice
from vast_cli.records import FaceTrack, Posteriorgram
from vast_cli.renderer import scene
from vast_cli.renderer.avatar import TemplateFootage
from vast_cli.renderer.geometry import Box, PoseStatistics, pose_vectors
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.plate import PlateInput
from vast_cli.renderer.render import crop_to_box, speech_windows
from vast_cli.renderer.scene import N_SURFACE, Scene, Subject
from vast_cli.store import assets

log = logging.getLogger(__name__)

SIZE = 256  # of the renderer box, pixels
MIN_FRAMES = 100  # 4 s
MIN_FACE = 40.0  # pixels between the outer eye corners
BOX_MARGIN = 1.25  # over footage: the box is this much larger than the hull of all poses
JAW_SD = 3.0  # how wide the hull's jaw is open, standard deviations of S0
CHIN = 152
RUN = 8  # frames built at once


@dataclass(frozen=True)
class MeasuredFootage:
    """The footage with everything that the fit needs of it."""

    frames: Image  # [n, 256, 256, 3], the renderer box
    scenes: list[Scene]  # runs of RUN frames
    vertices: Float32  # [n, 478, 3], box pixels
    speech: Float32  # [n, 11, 40]
    lower: Float32  # [n, d]
    upper: Float32
    pose: Float32  # [n, 6], standardised
    plate: PlateInput
    mouth: Float32  # [n, 2], centre of the lips, box pixels


def track_footage(
    footage: Path, model: FaceModel, *, face: str = "largest", progress: Progress = silent
) -> tuple[FaceTrack, list[Image]]:
    """Track and frames of the longest run with the face; all frames are in memory: footage is minutes at most.

    Raises:
        VastError: `vast_footage_unfit`, `vast_no_face`, `vast_face_lost`, and those of reading.
    """
    frames: list[Image] = []
    choice = face_choice(face)
    with media.VideoReader(footage) as reader:

        def collected() -> Iterator[Image]:
            for frame in reader:
                frames.append(frame)
                progress("track", len(frames), reader.n_frames)
                yield frame

        track = track_video(collected(), model=model, source=footage.name, face=choice)
    _check_footage(footage, track, model)
    # a renderer is fitted to one continuous piece
    breaks = np.flatnonzero(~track.valid | (track.segment != np.roll(track.segment, 1)))
    runs = np.split(np.arange(track.n_frames), breaks)
    best = max(runs, key=lambda run: int(track.valid[run].sum()))
    best = best[track.valid[best]]
    if len(best) < MIN_FRAMES:
        raise VastError("vast_footage_unfit", f"`{footage}` has no run of {MIN_FRAMES} frames with the face in it")
    if len(best) < track.n_frames:
        log.warning("using frames %d - %d of %d: the longest run with the face", best[0], best[-1], track.n_frames)
    return track.at_frames(best), [frames[k] for k in best]


def _check_footage(footage: Path, track: FaceTrack, model: FaceModel) -> None:
    """Enough frames with a face, and a face that is large enough."""
    valid = np.flatnonzero(track.valid)
    if len(valid) < MIN_FRAMES:
        raise VastError(
            "vast_footage_unfit", f"`{footage}` shows the face in {len(valid)} frames only, {MIN_FRAMES} are needed"
        )
    eyes = float(np.median(track.scale[valid]) * model.iod)
    if eyes < MIN_FACE * min(1.0, SIZE / min(track.height, track.width)):
        raise VastError(
            "vast_footage_unfit",
            f"the face in `{footage}` is {eyes:.0f} px between the outer eye corners, {MIN_FACE:.0f} are needed",
        )


def footage_posteriorgram(footage: Path) -> Posteriorgram | None:
    """Posteriorgram of the footage's audio; None without audio."""
    if not media.probe(footage).has_audio:
        return None
    with media.VideoReader(footage) as reader:
        blocks = media.read_audio(footage, start_s=reader.start_s)
    return speech.extract_ppg(blocks, speech.load_acoustic_model(assets.find("acoustic")), where=footage.name)


def describe_subject(
    track: FaceTrack, model: FaceModel, rasteriser: MeshRasteriser, *, portrait: bool, box: Box | None, n_train: int
) -> Subject:
    """The person: neutral meshes, box, pose statistics, vertices whose positions describe shapes."""
    jaw = np.zeros((1, track.expression.shape[1]), np.float32)
    jaw[0, 0] = JAW_SD * model.sd[0]
    opened = [model.decode(track.identity, sign * jaw)[0] for sign in (1, -1)]
    open_jaw = min(opened, key=lambda mesh: float(mesh[CHIN, 1]))  # the sign of S0 is arbitrary; the chin is lower
    if box is None:
        box = _portrait_box(track) if portrait else _face_box(track, model, open_jaw)
    sets = rasteriser.topology.sets
    # cheeks, jaw and forehead in every fourth vertex: they fold the skin (.1 dB)
    mouth = model.w_mouth[:N_SURFACE] > 0.3
    lower = np.concatenate([sets["lips_outer"], sets["lips_inner"], np.flatnonzero(mouth)[::4]])
    names = [f"image_{side}_{part}" for part in ("eye", "iris", "brow") for side in ("left", "right")]
    upper = np.concatenate([*(sets[n] for n in names), np.flatnonzero(~mouth)[::4]])
    numbers = pose_vectors(track.rotation[:n_train], track.scale[:n_train], track.translation[:n_train])
    statistics = PoseStatistics(numbers.mean(0), numbers.std(0) + 1e-4)
    mean = numbers.mean(0, keepdims=True)
    translation = np.concatenate([mean[:, 4:6], np.zeros((1, 1), np.float32)], 1)
    placed = model.place(track.identity[None], mean[:, :3], np.exp(mean[:, 3]), translation)
    reference = box.points(placed)[0, :N_SURFACE, :2]
    return Subject(box, track.identity, open_jaw, statistics, reference, lower.astype(np.int64), upper.astype(np.int64))


def _portrait_box(track: FaceTrack) -> Box:
    """The largest square of the frame, with the head in its middle as far as it fits."""
    side = min(track.height, track.width)
    centre = float(np.median(track.translation[:, 0]))
    left = min(max(centre - side / 2, 0), track.width - side)
    return Box(round(left), 0 if track.height == side else round((track.height - side) / 4), side, SIZE)


def _face_box(track: FaceTrack, model: FaceModel, open_jaw: Float32) -> Box:
    """A square around the hull of all poses."""
    meshes = np.stack([track.identity, open_jaw])
    corners = []
    for mesh in meshes:
        placed = model.place(np.repeat(mesh[None], track.n_frames, 0), track.rotation, track.scale, track.translation)
        corners += [placed[..., :2].reshape(-1, 2).min(0), placed[..., :2].reshape(-1, 2).max(0)]
    low, high = np.min(corners, 0), np.max(corners, 0)
    side = float(min(BOX_MARGIN * (high - low).max(), min(track.height, track.width)))
    left, top = (low + high) / 2 - side / 2
    left = min(max(left, 0), track.width - side)
    top = min(max(top, 0), track.height - side)
    return Box(round(left), round(top), round(side), SIZE)


def measure_footage(
    track: FaceTrack,
    frames: list[Image],
    subject: Subject,
    *,
    model: FaceModel,
    rasteriser: MeshRasteriser,
    ppg: Posteriorgram | None,
    progress: Progress = silent,
) -> MeasuredFootage:
    """Scenes and box images of all frames."""
    n = len(frames)
    boxed = np.stack([crop_to_box(frame, subject.box) for frame in frames])
    scenes, vertices = [], []
    for start in range(0, n, RUN):
        part = slice(start, min(start + RUN, n))
        pose = (track.rotation[part], track.scale[part], track.translation[part])
        positions = np.arange(part.start, part.stop, dtype=np.float64)
        scenes.append(
            scene.build(subject, track.expression[part], pose, face=model, rasteriser=rasteriser, positions=positions)
        )
        placed = model.place(model.decode(subject.identity, track.expression[part]), *pose)
        vertices.append(subject.box.points(placed))
        progress("mesh", part.stop, n)
    points = np.concatenate(vertices)
    lips = points[:, rasteriser.lips_outer, :2]
    unknown = np.zeros((n, SPEECH_FRAMES, 40), np.float32)
    return MeasuredFootage(
        frames=boxed,
        scenes=scenes,
        vertices=points,
        speech=unknown if ppg is None else speech_windows(ppg, 0, n),
        lower=np.concatenate([run.lower for run in scenes]),
        upper=np.concatenate([run.upper for run in scenes]),
        pose=np.concatenate([run.pose for run in scenes]),
        plate=PlateInput(
            np.concatenate([run.plate.affine for run in scenes]), np.concatenate([run.plate.features for run in scenes])
        ),
        mouth=(lips.min(1) + lips.max(1)) / 2,
    )


def encode_frames(frames: list[Image]) -> TemplateFootage:
    """The frames as JPEG streams of a bundle."""
    streams = [
        cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].reshape(-1) for frame in frames
    ]
    offsets = np.cumsum([0] + [len(s) for s in streams]).astype(np.int64)
    height, width = frames[0].shape[:2]
    data: Image = np.concatenate(streams)
    return TemplateFootage(data, offsets, width, height)

"""Footage of one person, measured for a renderer: frames in the box, meshes, speech, poses."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vast_cli import media, speech
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.face import FaceModel, MeshRasteriser, track_video
from vast_cli.pipeline.extract import face_choice
from vast_cli.records import FaceTrack, Posteriorgram
from vast_cli.renderer import scene
from vast_cli.renderer.avatar import Footage
from vast_cli.renderer.geometry import Box, PoseStatistics, pose_numbers
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.plate import PlateInput
from vast_cli.renderer.render import crop_to_box, speech_windows
from vast_cli.renderer.scene import N_SURFACE, Scene, Subject
from vast_cli.store import assets

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]

SIZE = 256  # of the renderer box, pixels
MIN_FRAMES = 100  # 4 s
MIN_FACE = 40.0  # pixels between the outer eye corners
BOX_MARGIN = 1.25  # over footage: the box is this much larger than the hull of all poses
JAW_SD = 3.0  # how wide the hull's jaw is open, standard deviations of S0
RUN = 8  # frames built at once


@dataclass(frozen=True)
class Material:
    """The footage, measured."""

    frames: Image  # [n, 256, 256, 3], the renderer box
    scene: list[Scene]  # runs of RUN frames
    vertices: Float32  # [n, 478, 3], box pixels
    speech: Float32  # [n, 11, 40]
    lower: Float32  # [n, d]
    upper: Float32
    pose: Float32  # [n, 6], standardised
    plate: PlateInput
    mouth: Float32  # [n, 2], centre of the lips, box pixels


def watch(footage: Path, model: FaceModel, face: str, tell: Progress) -> tuple[FaceTrack, list[Image]]:
    """Track the face and keep the frames; footage for a renderer is minutes at most."""
    pictures: list[Image] = []
    choice = face_choice(face)
    with media.VideoReader(footage) as reader:

        def frames() -> Iterator[Image]:
            for picture in reader:
                pictures.append(picture)
                tell("track", len(pictures), reader.n_frames)
                yield picture

        track = track_video(frames(), model=model, source=footage.name, face=choice)
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
    # the longest run with the face: a renderer is fitted to one continuous piece
    breaks = np.flatnonzero(~track.valid | (track.segment != np.roll(track.segment, 1)))
    runs = np.split(np.arange(track.n_frames), breaks)
    best = max(runs, key=lambda r: int(track.valid[r].sum()))
    best = best[track.valid[best]]
    if len(best) < MIN_FRAMES:
        raise VastError("vast_footage_unfit", f"`{footage}` has no run of {MIN_FRAMES} frames with the face in it")
    if len(best) < track.n_frames:
        log.warning("using frames %d - %d of %d: the longest run with the face", best[0], best[-1], track.n_frames)
    cut = {
        key: getattr(track, key)[best]
        for key in ("valid", "score", "segment", "expression", "rotation", "scale", "translation")
    }
    return dataclasses.replace(track, **cut), [pictures[k] for k in best]


def listen(footage: Path, tell: Progress) -> Posteriorgram | None:
    if not media.probe(footage).has_audio:
        return None
    with media.VideoReader(footage) as reader:
        blocks = media.read_audio(footage, start_s=reader.start_s)
    return speech.extract_ppg(blocks, speech.load_acoustic_model(assets.find("acoustic")), where=footage.name)


def describe(
    track: FaceTrack, model: FaceModel, rasteriser: MeshRasteriser, *, portrait: bool, box: Box | None, n_train: int
) -> Subject:
    """The person: neutral meshes, box, pose statistics, vertices that tell shapes."""
    jaw = np.zeros((1, track.expression.shape[1]), np.float32)
    jaw[0, 0] = JAW_SD * model.sd[0]
    opened = [model.decode(track.identity, sign * jaw)[0] for sign in (1, -1)]
    open_jaw = min(opened, key=lambda mesh: mesh[152, 1])  # the sign of S0 is arbitrary; the chin is lower
    if box is None:
        box = _portrait_box(track) if portrait else _face_box(track, model, open_jaw)
    sets = rasteriser.topology.sets
    # cheeks, jaw and forehead in every fourth vertex: they fold the skin (.1 dB)
    mouth = model.w_mouth[:N_SURFACE] > 0.3
    lower = np.concatenate([sets["lips_outer"], sets["lips_inner"], np.flatnonzero(mouth)[::4]])
    names = (
        "image_left_eye",
        "image_right_eye",
        "image_left_iris",
        "image_right_iris",
        "image_left_brow",
        "image_right_brow",
    )
    upper = np.concatenate([*(sets[n] for n in names), np.flatnonzero(~mouth)[::4]])
    numbers = pose_numbers(track.rotation[:n_train], track.scale[:n_train], track.translation[:n_train])
    statistics = PoseStatistics(numbers.mean(0), numbers.std(0) + 1e-4)
    mean = numbers.mean(0, keepdims=True)
    place = np.concatenate([mean[:, 4:6], np.zeros((1, 1), np.float32)], 1)
    reference = box.points(model.place(track.identity[None], mean[:, :3], np.exp(mean[:, 3]), place))[0, :N_SURFACE, :2]
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


def measure(
    track: FaceTrack,
    pictures: list[Image],
    person: Subject,
    *,
    model: FaceModel,
    rasteriser: MeshRasteriser,
    ppg: Posteriorgram | None,
    progress: Progress,
) -> Material:
    """Scenes and box pictures of all frames."""
    n = len(pictures)
    frames = np.stack([crop_to_box(picture, person.box) for picture in pictures])
    runs, vertices = [], []
    for start in range(0, n, RUN):
        part = slice(start, min(start + RUN, n))
        pose = (track.rotation[part], track.scale[part], track.translation[part])
        where = np.arange(part.start, part.stop, dtype=np.float64)
        runs.append(
            scene.build(person, track.expression[part], pose, face=model, rasteriser=rasteriser, positions=where)
        )
        placed = model.place(model.decode(person.identity, track.expression[part]), *pose)
        vertices.append(person.box.points(placed))
        progress("mesh", part.stop, n)
    points = np.concatenate(vertices)
    lips = points[:, rasteriser.lips_outer, :2]
    unknown = np.zeros((n, SPEECH_FRAMES, 40), np.float32)
    return Material(
        frames=frames,
        scene=runs,
        vertices=points,
        speech=unknown if ppg is None else speech_windows(ppg, 0, n),
        lower=np.concatenate([run.lower for run in runs]),
        upper=np.concatenate([run.upper for run in runs]),
        pose=np.concatenate([run.pose for run in runs]),
        plate=PlateInput(
            np.concatenate([r.plate.affine for r in runs]), np.concatenate([r.plate.features for r in runs])
        ),
        mouth=(lips.min(1) + lips.max(1)) / 2,
    )


def keep(pictures: list[Image]) -> Footage:
    streams = [
        cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].reshape(-1) for picture in pictures
    ]
    offsets = np.cumsum([0] + [len(s) for s in streams]).astype(np.int64)
    height, width = pictures[0].shape[:2]
    return Footage(np.concatenate(streams), offsets, width, height)

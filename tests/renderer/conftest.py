"""A tiny avatar of 64 pixels: the mean face in the colours of its mesh images, with a dark mouth and small motion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.core.devices import Compute
from vast_cli.face import FaceModel, MeshRasteriser
from vast_cli.pipeline.models import Models
from vast_cli.renderer import scene
from vast_cli.renderer.avatar import Avatar, TemplateFootage
from vast_cli.renderer.geometry import Box, PoseStatistics, pose_vectors
from vast_cli.renderer.limiter import measure_range
from vast_cli.renderer.network import RendererNetwork, RendererNetworkConfig
from vast_cli.renderer.plate import Plate
from vast_cli.renderer.scene import N_SURFACE, Scene, Subject
from vast_cli.store.assets import data_folder
from vast_cli.training.renderer.texture import TexturedFrames, Unwrapper, fit_texture

SIDE = 64
N = 48
CHIN = 152

Pose = tuple[Float32, Float32, Float32]


@dataclass(frozen=True)
class TinyAvatar:
    """A tiny avatar and the footage it was fitted to."""

    avatar: Avatar
    expression: Float32
    pose: Pose
    frames: NDArray[np.uint8]
    jaw: Callable[[float], Float32]  # standard deviations to an expression [1, 233] with the jaw open by that much
    face: FaceModel
    rasteriser: MeshRasteriser

    def build(self, expression: Float32, pose: Pose) -> Scene:
        """A scene of this avatar."""
        positions = np.arange(len(expression), dtype=np.float64)
        subject = self.avatar.subject
        return scene.build(subject, expression, pose, face=self.face, rasteriser=self.rasteriser, positions=positions)


@pytest.fixture(scope="session")
def compute() -> Compute:
    return Compute(torch.device("cpu"), torch.float32, 1, "test")


@pytest.fixture(scope="session")
def tiny() -> TinyAvatar:
    rng = np.random.default_rng(3)
    weights = data_folder("weights")
    face = FaceModel.load(weights / "face_model.safetensors")
    rasteriser = MeshRasteriser(weights / "topology.npz", weights / "index_sets.json")
    drop = face.basis[: face.n_strong].reshape(face.n_strong, -1, 3)[:, CHIN, 1] * face.sd[: face.n_strong]
    index = int(np.abs(drop).argmax())

    def jaw(amount: float) -> Float32:
        result = np.zeros((1, len(face.sd)), np.float32)
        result[0, index] = -np.sign(drop[index]) * amount * face.sd[index]
        return result

    time = np.arange(N) / 6
    expression = np.concatenate([jaw(1 + np.sin(t)) for t in time])
    expression += 0.1 * face.sd * rng.standard_normal(expression.shape).astype(np.float32)
    wave = np.stack([np.sin(0.7 * time), np.cos(0.9 * time), np.sin(0.3 * time)], 1).astype(np.float32)
    rotation = 0.05 * wave
    scale = (0.5 * SIDE / np.ptp(face.v_bar[:N_SURFACE, 1]) * (1 + 0.02 * wave[:, 0])).astype(np.float32)
    translation = (SIDE / 2 + 0.8 * wave).astype(np.float32)
    pose = rotation, scale, translation

    box = Box(0, 0, SIDE, SIDE)
    poses = pose_vectors(*pose)
    mean = poses.mean(0, keepdims=True)
    place = np.concatenate([mean[:, 4:6], np.zeros((1, 1), np.float32)], 1)
    reference = face.place(face.v_bar[None], mean[:, :3], np.exp(mean[:, 3]), place)[0, :N_SURFACE, :2]
    sets = rasteriser.topology.sets
    lips = np.concatenate([sets["lips_outer"], sets["lips_inner"]])
    eyes = np.concatenate([sets["image_left_eye"], sets["image_right_eye"]])
    statistics = PoseStatistics(poses.mean(0), poses.std(0) + np.float32(1e-4))
    open_jaw = face.decode(face.v_bar, jaw(3))[0]
    subject = Subject(box, face.v_bar, open_jaw, statistics, reference, lips, eyes)
    run = scene.build(
        subject, expression, pose, face=face, rasteriser=rasteriser, positions=np.arange(N, dtype=np.float64)
    )

    # footage: skin in the colours of the mesh images, the inside of the mouth nearly black, the room grey
    frames = np.where(run.mesh.mask[..., None] > 0, run.mesh.conditioning[..., :3] // 2 + 100, 60).astype(np.uint8)
    frames[run.mesh.conditioning[..., 3] > 0] = 10
    vertices = box.points(face.place(face.decode(face.v_bar, expression), *pose))[:, :N_SURFACE]
    fitted = fit_texture(
        TexturedFrames(frames, vertices, run.lower, run.upper, run.pose),
        face.w_mouth[:N_SURFACE],
        Unwrapper(rasteriser.topology.uv, rasteriser.triangles, SIDE),
        n_lower=6,
        n_upper=4,
    )
    torch.manual_seed(0)
    network = RendererNetwork(RendererNetworkConfig(8, 8, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(network.last.weight, std=0.02)
    plate = Plate(SIDE).requires_grad_(False)
    for layer in (plate.background, plate.torso, plate.head):
        layer.fill_(60 / 255)
    avatar = Avatar(
        name="tiny",
        card={"subject": "nobody", "licence": "none needed", "consent": "none needed"},
        face_model_hash=face.hash,
        subject=subject,
        region=scene.network_region(run.hull, SIDE),
        rotation=rotation,
        scale=scale,
        translation=translation,
        texture=getattr(fitted, "texture", fitted),
        plate=plate,
        network=network,
        expression_range=measure_range(expression),
        neutral=np.zeros(0, np.float32),
        neutral_model="",
        person=np.zeros(0, np.float32),
        footage=None,
    )
    return TinyAvatar(avatar, expression, pose, frames, jaw, face, rasteriser)


@pytest.fixture(scope="session")
def footage(tiny: TinyAvatar) -> TemplateFootage:
    """Frames of the tiny avatar as a bundle stores them."""
    import cv2

    streams = [cv2.imencode(".png", f[:, :, ::-1])[1].reshape(-1) for f in tiny.frames]
    offsets = np.cumsum([0] + [len(s) for s in streams]).astype(np.int64)
    return TemplateFootage(np.concatenate(streams), offsets, SIDE, SIDE)


@pytest.fixture(scope="module")
def bundle(tiny: TinyAvatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avatar") / "tiny"
    tiny.avatar.save(folder)
    return folder


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()

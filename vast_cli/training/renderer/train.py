"""Fit an avatar to footage of one person: textures, plate, then G (paper 3.4, Eq. 5-7)."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import style
from vast_cli.core import files
from vast_cli.core.arrays import Image
from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.face import FaceModel, MeshRasteriser
from vast_cli.records import FaceTrack, Posteriorgram
from vast_cli.renderer import scene
from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.geometry import Box
from vast_cli.renderer.limiter import measure_range
from vast_cli.renderer.network import RendererNetwork, RendererNetworkConfig
from vast_cli.renderer.plate import Plate, PlateInput
from vast_cli.renderer.scene import N_SURFACE, Subject
from vast_cli.renderer.texture import Texture
from vast_cli.store import assets
from vast_cli.training.checkpoint import load_checkpoint, save_checkpoint
from vast_cli.training.loop import TrainingStatus
from vast_cli.training.renderer.base_frames import render_base_frames
from vast_cli.training.renderer.footage import (
    SIZE,
    MeasuredFootage,
    describe_subject,
    encode_frames,
    footage_posteriorgram,
    measure_footage,
    track_footage,
)
from vast_cli.training.renderer.generator import train_network
from vast_cli.training.renderer.plate import fit_plate
from vast_cli.training.renderer.settings import RendererTrainingSettings
from vast_cli.training.renderer.texture import FittedTexture, TexturedFrames, Unwrapper, fit_texture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AvatarRequest:
    """Which avatar to fit to which footage."""

    footage: Path  # video of one person
    output: Path  # folder of the bundle
    name: str
    portrait: bool = False  # keep no footage; the plate stands for it
    holdout: float = 0.1  # share of the end that is not trained on; 0 trains on all
    face: str = "largest"  # which face of the footage
    box: Box | None = None  # renderer box; chosen from the poses if not given
    subject: str = "unknown"  # who is shown
    licence: str = "unknown"  # of the footage
    consent: str = "unknown"  # what the person agreed to


@dataclass(frozen=True)
class PreparedFootage:
    """What is measured before anything is fitted."""

    track: FaceTrack
    frames: list[Image]  # of the footage, full size
    n_train: int  # the first frames; the others are held out
    subject: Subject
    ppg: Posteriorgram | None
    measured: MeasuredFootage

    @property
    def fitted(self) -> slice:
        """Frames that are fitted to."""
        return slice(0, self.n_train)


def fit_renderer(
    request: AvatarRequest,
    settings: RendererTrainingSettings = RendererTrainingSettings(),
    *,
    compute: Compute,
    work: Path = Path("build"),
    calibrate: Callable[[Path, Avatar], Mapping[str, Any]] | None = None,
    progress: Progress = silent,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> dict[str, Any]:
    """Make an avatar and write its bundle.

    Args:
        request: footage, name, output and facts about the avatar.
        settings: of the fit.
        compute: device and threads.
        work: folder of the checkpoint; an interrupted fit resumes from it.
        calibrate: footage and avatar -> the card's `yardstick`, as `evaluate.footage.measure` has it; none without it.
        progress: of each stage.
        on_status: of the training of G; its time goes to `progress` if not given.

    Returns:
        What was done, and errors on the held-out end (`l1_levels`).

    Raises:
        VastError: `vast_footage_unfit`, `vast_no_face`, `vast_face_lost`, and those of reading.
    """
    model, rasteriser = FaceModel.load(), MeshRasteriser()
    prepared = _prepare(request, model, rasteriser, progress)
    fitted_texture = _fit_texture(prepared, model, rasteriser, settings.texture_size(portrait=request.portrait))
    plate_steps = settings.plate_steps(portrait=request.portrait)
    key = _key(request.footage, prepared.subject.box, prepared.n_train, plate_steps, settings.seed)
    folder = work / f"renderer-{request.name}-{key}"
    plate = _cached_plate(prepared, folder, steps=plate_steps, seed=settings.seed, progress=progress)
    avatar = _new_avatar(request, prepared, fitted_texture.texture, plate, face_model_hash=model.hash)
    avatar = _with_neutral_style(avatar, prepared)
    frames = render_base_frames(avatar, prepared.measured, fitted_texture, settings, progress=progress)
    report = train_network(
        avatar.network,
        frames,
        settings,
        compute=compute,
        # posteriors of another acoustic network differ: G must not resume from what it learned with this one
        folder=folder / (prepared.ppg.model_hash if prepared.ppg else "mute"),
        on_status=on_status or (lambda status: progress(status.name, status.done, status.total)),
    )
    training = report | {"seconds": settings.seconds, "seed": settings.seed, "holdout": request.holdout}
    card = avatar.card | {"training": training}
    if calibrate is not None:
        card |= {"yardstick": dict(calibrate(request.footage, avatar))}
    dataclasses.replace(avatar, card=card).save(request.output)
    return report


def _prepare(
    request: AvatarRequest, model: FaceModel, rasteriser: MeshRasteriser, progress: Progress
) -> PreparedFootage:
    """Track and measure the footage."""
    track, frames = track_footage(request.footage, model, face=request.face, progress=progress)
    n_train = len(frames) - round(request.holdout * len(frames))
    subject = describe_subject(track, model, rasteriser, portrait=request.portrait, box=request.box, n_train=n_train)
    ppg = footage_posteriorgram(request.footage)
    measured = measure_footage(track, frames, subject, model=model, rasteriser=rasteriser, ppg=ppg, progress=progress)
    return PreparedFootage(track, frames, n_train, subject, ppg, measured)


def _fit_texture(prepared: PreparedFootage, model: FaceModel, rasteriser: MeshRasteriser, size: int) -> FittedTexture:
    measured, fitted = prepared.measured, prepared.fitted
    lower_weight = np.clip(1.6 * model.w_mouth[:N_SURFACE] - 0.1, 0, 1)
    textured = TexturedFrames(
        measured.frames[fitted],
        measured.vertices[fitted, :N_SURFACE],
        lower=measured.lower[fitted],
        upper=measured.upper[fitted],
        pose=measured.pose[fitted],
    )
    return fit_texture(textured, lower_weight, Unwrapper(rasteriser.topology.uv, rasteriser.triangles, size))


def _key(*parts: object) -> str:
    """Key of a fit's folder: a fit of other footage, box, share or seed must not resume from this one's files."""
    text = "|".join(files.sha256(part) if isinstance(part, Path) else str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cached_plate(prepared: PreparedFootage, folder: Path, *, steps: int, seed: int, progress: Progress) -> Plate:
    """Fit the plate, or load that of an interrupted fit."""
    path, measured, fitted = folder / "plate.safetensors", prepared.measured, prepared.fitted
    plate = Plate(prepared.subject.box.size)
    if load_checkpoint(path, {"plate": plate}, fingerprint=folder.name) is not None:
        return plate.eval().requires_grad_(False)
    pose = PlateInput(measured.plate.affine[fitted], measured.plate.features[fitted])
    reference = prepared.subject.reference
    plate = fit_plate(measured.frames[fitted], pose, reference, steps=steps, seed=seed, progress=progress)
    save_checkpoint(path, {"plate": plate}, fingerprint=folder.name, state={})
    return plate


def _new_avatar(
    request: AvatarRequest, prepared: PreparedFootage, texture: Texture, plate: Plate, *, face_model_hash: str
) -> Avatar:
    """The avatar before G is trained."""
    track, frames = prepared.track, prepared.frames
    template = slice(0, len(frames)) if request.holdout == 0 else prepared.fitted
    height, width = frames[0].shape[:2]
    return Avatar(
        name=request.name,
        card={
            "subject": request.subject,
            "licence": request.licence,
            "consent": request.consent,
            "footage": {
                "name": request.footage.name,
                "sha256": files.sha256(request.footage),
                "frames": len(frames),
                "trained": prepared.n_train,
            },
            "keeps_footage": not request.portrait,
            "size": [SIZE, SIZE] if request.portrait else [width, height],
        },
        face_model_hash=face_model_hash,
        subject=prepared.subject,
        region=scene.network_region(np.stack([run.hull.max(0) for run in prepared.measured.scenes]), SIZE),
        rotation=track.rotation[template],
        scale=track.scale[template],
        translation=track.translation[template],
        texture=texture,
        plate=plate,
        network=RendererNetwork(RendererNetworkConfig()),
        expression_range=measure_range(track.expression[prepared.fitted]),
        neutral=np.zeros(0, np.float32),
        neutral_model="",
        person=np.zeros(0, np.float32),
        footage=None if request.portrait else encode_frames(frames[template]),
    )


def _with_neutral_style(avatar: Avatar, prepared: PreparedFootage) -> Avatar:
    """Add the avatar's own style code, if there is a style model."""
    try:
        model = style.load_style_model(assets.find("style"))
    except VastError as error:
        log.warning("no style model, so no style of the avatar's own: %s", error.message)
        return avatar
    return with_own_style(avatar, prepared.track.at_frames(prepared.fitted), model)


def with_own_style(avatar: Avatar, track: FaceTrack, model: style.StyleModel) -> Avatar:
    """The avatar with the style of its own footage, and its person's part, by a style model.

    Args:
        avatar: any.
        track: of its footage.
        model: the style model in use.

    Raises:
        VastError: `vast_model_mismatch`, `vast_face_lost`.
    """
    return dataclasses.replace(
        avatar,
        neutral=style.encode_style(track, model).vector,
        neutral_model=model.hash,
        person=style.person_part(track, model),
    )

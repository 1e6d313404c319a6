"""Fit an avatar to footage of one person: textures, plate, then G (paper 3.4, Eq. 5-7)."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vast_cli import style
from vast_cli.core import files
from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress
from vast_cli.face import FaceModel, MeshRasteriser
from vast_cli.records import FaceTrack
from vast_cli.renderer import scene
from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.geometry import Box
from vast_cli.renderer.limiter import measure_range
from vast_cli.renderer.network import RendererNetwork, RendererNetworkConfig
from vast_cli.renderer.plate import Plate, PlateInput
from vast_cli.renderer.scene import N_SURFACE, Subject
from vast_cli.store import assets
from vast_cli.training.renderer.footage import (
    SIZE,
    MeasuredFootage,
    describe_subject,
    encode_frames,
    footage_posteriorgram,
    measure_footage,
    track_footage,
)
from vast_cli.training.renderer.generator import paint_bases, train_network
from vast_cli.training.renderer.plate import fit_plate
from vast_cli.training.renderer.texture import TexturedFrames, Unwrapper, fit_texture

log = logging.getLogger(__name__)

TEXTURE_PORTRAIT = 192  # texture plane, pixels a side; the face is about 110 px wide in a portrait
TEXTURE_FOOTAGE = 256  # ... and 165 px over footage: mouth 30.6 dB for 30.0, gradient ratio .46 for .38 at 192
PORTRAIT_STEPS = 600  # of the plate's fit; over footage it only fills the hull
FOOTAGE_STEPS = 400


def fit_renderer(
    footage: Path,
    output: Path,
    *,
    name: str,
    portrait: bool,
    seconds: float,
    holdout: float,
    compute: Compute,
    subject: str = "unknown",
    licence: str = "unknown",
    consent: str = "unknown",
    face: str = "largest",
    work: Path = Path("build"),
    seed: int = 0,
    box: Box | None = None,
    plate_steps: int | None = None,
    calibrate: Callable[[Path, Avatar], Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make an avatar and write its bundle to the folder `output`.

    Args:
        footage: video of one person.
        output: folder of the bundle.
        name: of the avatar.
        portrait: keep no footage; the plate stands for it.
        seconds: wall time for training G.
        holdout: share of the end that is not trained on; 0 trains on all.
        compute: device and threads.
        subject: who is shown.
        licence: of the footage.
        consent: what the person agreed to.
        face: which face of the footage.
        work: folder of the checkpoint; a broken fit goes on from there.
        seed: of everything random.
        box: renderer box; chosen from the poses if not given.
        plate_steps: of the plate's fit.
        calibrate: footage and avatar -> the card's `yardstick`; `evaluate.yardstick.document`; none without it.
        progress: told how far each stage is.

    Returns:
        What was done, and figures on the held-out end (`figures`).

    Raises:
        VastError: `vast_footage_unfit`, `vast_no_face`, `vast_face_lost`, and those of reading.
    """
    tell: Progress = progress or (lambda stage, done, total: None)
    model, rasteriser = FaceModel.load(), MeshRasteriser()
    track, pictures = track_footage(footage, model, face=face, progress=tell)
    n_train = len(pictures) - round(holdout * len(pictures))
    person = describe_subject(track, model, rasteriser, portrait=portrait, box=box, n_train=n_train)
    heard = footage_posteriorgram(footage)
    material = measure_footage(track, pictures, person, model=model, rasteriser=rasteriser, ppg=heard, progress=tell)
    lower_weight = np.clip(1.6 * model.w_mouth[:N_SURFACE] - 0.1, 0, 1)
    fitted = slice(0, n_train)
    unwrapper = Unwrapper(
        rasteriser.topology.uv, rasteriser.triangles, TEXTURE_PORTRAIT if portrait else TEXTURE_FOOTAGE
    )
    textured = TexturedFrames(
        material.frames[fitted],
        material.vertices[fitted, :N_SURFACE],
        lower=material.lower[fitted],
        upper=material.upper[fitted],
        pose=material.pose[fitted],
    )
    fitted_texture = fit_texture(textured, lower_weight, unwrapper)
    steps = plate_steps or (PORTRAIT_STEPS if portrait else FOOTAGE_STEPS)
    work = work / f"renderer-{name}-{_key(footage, person.box, n_train, steps, seed)}"
    work.mkdir(parents=True, exist_ok=True)
    plate = _plate(material, fitted, person, work / "plate.pt", steps=steps, seed=seed, tell=tell)
    region = scene.region_of(np.stack([run.hull.max(0) for run in material.scenes]), SIZE)
    kept = slice(0, len(pictures)) if holdout == 0 else fitted
    avatar = Avatar(
        name=name,
        card={
            "subject": subject,
            "licence": licence,
            "consent": consent,
            "footage": {
                "name": footage.name,
                "sha256": files.sha256(footage),
                "frames": len(pictures),
                "trained": n_train,
            },
            "keeps_footage": not portrait,
            "size": [SIZE, SIZE] if portrait else [pictures[0].shape[1], pictures[0].shape[0]],
        },
        face_model_hash=model.hash,
        subject=person,
        region=region,
        rotation=track.rotation[kept],
        scale=track.scale[kept],
        translation=track.translation[kept],
        texture=fitted_texture.texture,
        plate=plate,
        network=RendererNetwork(RendererNetworkConfig()),
        expression_range=measure_range(track.expression[fitted]),
        neutral=np.zeros(0, np.float32),
        neutral_model="",
        footage=None if portrait else encode_frames(pictures[kept]),
    )
    avatar = _with_neutral_style(avatar, track, material, n_train)
    bases = paint_bases(avatar, material, fitted_texture, progress=tell, portrait=portrait)
    report = train_network(
        avatar,
        material,
        bases,
        n_train=n_train,
        seconds=seconds,
        compute=compute,
        # another acoustic network says the same with other posteriors: G must not go on from what it learned with it
        work=work / (heard.model_hash if heard else "mute"),
        seed=seed,
        progress=tell,
    )
    card = avatar.card | {"training": report | {"seconds": seconds, "seed": seed, "holdout": holdout}}
    if calibrate is not None:
        card |= {"yardstick": dict(calibrate(footage, avatar))}
    dataclasses.replace(avatar, card=card).save(output)
    return report


def _key(*what: object) -> str:
    """Names the folder of a fit: a fit of other footage, box, share or seed must not go on from this one's files."""
    text = "|".join(files.sha256(w) if isinstance(w, Path) else str(w) for w in what)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plate(
    material: MeasuredFootage, fitted: slice, person: Subject, kept: Path, *, steps: int, seed: int, tell: Progress
) -> Plate:
    """Fit the plate, or take it from an earlier, broken fit."""
    plate = Plate(person.box.size)
    if kept.is_file():
        plate.load_state_dict(torch.load(kept, weights_only=True))
        return plate.eval().requires_grad_(False)
    pose = PlateInput(material.plate.affine[fitted], material.plate.features[fitted])
    plate = fit_plate(material.frames[fitted], pose, person.reference, steps=steps, seed=seed, progress=tell)
    with files.atomic_write(kept) as part:
        torch.save(plate.state_dict(), part)
    return plate


def _with_neutral_style(avatar: Avatar, track: FaceTrack, material: MeasuredFootage, n_train: int) -> Avatar:
    """Add the avatar's own style code, if a style model is at hand."""
    try:
        model = style.load_style_model(assets.find("style"))
    except VastError as error:
        log.warning("no style model, so no style of the avatar's own: %s", error.message)
        return avatar
    own = track.at_frames(slice(0, n_train))
    return dataclasses.replace(avatar, neutral=style.encode_style(own, model).vector, neutral_model=model.hash)

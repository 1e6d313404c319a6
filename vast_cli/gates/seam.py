"""Whether the border shows where a face was pasted back into footage, against the same frames without the face."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli import media, renderer
from vast_cli.core.arrays import Float32, Image
from vast_cli.face import FaceModel
from vast_cli.renderer import template
from vast_cli.renderer.render import crop_to_box
from vast_cli.renderer.scene import N_SURFACE, hulls

EVERY = 10  # frames
INSIDE = (0.02, 0.98)  # opacity of the border


def measure_seam(video: Path, avatar: renderer.Avatar, model: FaceModel, *, seed: int) -> float | None:
    """Mean gradient of luma across the paste border, over that of the footage there: 1 where nothing shows.

    The border is soft: on obama_long a face 5, 10, 20, 40 levels too bright gives 1.02, 1.08, 1.25, 1.77.

    Args:
        video: a render of `avatar`.
        avatar: with footage; a portrait has no border.
        model: the face model.
        seed: of the render: it decides which frame of the footage lies under which.

    Returns:
        None for a portrait, and for a video without frames.
    """
    if avatar.footage is None:
        return None
    made, real = [], []
    for k, frame in _every_tenth(video):
        where = np.round(template.positions(k, 1, length=avatar.n_template, seed=seed))
        under = avatar.footage.frame(int(where[0]))
        border = _border(avatar, model, where)
        made.append(_across(crop_to_box(frame, avatar.subject.box), border))
        real.append(_across(crop_to_box(under, avatar.subject.box), border))
    return float(np.mean(made) / np.mean(real)) if made and np.mean(real) > 0 else None


def _every_tenth(video: Path) -> Iterator[tuple[int, Image]]:
    with media.VideoReader(video) as reader:
        yield from islice(enumerate(reader), 0, None, EVERY)


def _border(avatar: renderer.Avatar, model: FaceModel, where: NDArray[np.float64]) -> Float32:
    """Opacity of the face in the renderer box, as `scene.build` makes it: from pose and identity alone."""
    subject = avatar.subject
    pose = [template.interpolate(values, where) for values in (avatar.rotation, avatar.scale, avatar.translation)]
    clouds = [
        subject.box.points(model.place(mesh[None], *pose))[:, :N_SURFACE]
        for mesh in (subject.identity, subject.open_jaw)
    ]
    opacity: Float32 = hulls(np.concatenate(clouds, 1)[..., :2], subject.box.size)[0]
    return opacity


def _across(image: Image, opacity: Float32) -> float:
    """Mean absolute gradient of luma along the way from outside to inside, on the border only."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    along = _gradient(opacity)
    length = np.hypot(*along)
    on = (opacity > INSIDE[0]) & (opacity < INSIDE[1]) & (length > 0)
    if not on.any():
        return 0.0
    x, y = _gradient(grey)
    return float(np.abs((x * along[0] + y * along[1])[on] / length[on]).mean())


def _gradient(values: Float32) -> tuple[Float32, Float32]:
    return (
        np.asarray(cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8), np.float32),
        np.asarray(cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8), np.float32),
    )

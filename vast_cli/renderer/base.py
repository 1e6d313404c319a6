"""Base frames: the textured mesh over plate or footage, before G adds its residual."""

import numpy as np
import torch
from torch import Tensor

from vast_cli.core.arrays import Float32
from vast_cli.renderer.plate import Plate, render_plate
from vast_cli.renderer.scene import Scene
from vast_cli.renderer.texture import Texture, drape


@torch.inference_mode()
def render_base(
    scene: Scene,
    texture: Texture,
    plate: Plate,
    *,
    background: Float32 | None = None,
    coefficients: tuple[Float32, Float32] | None = None,
) -> Float32:
    """Render the base frames of a run.

    Args:
        scene: the run.
        texture: the person's appearance.
        plate: the portrait behind the textured mesh; over footage it fills the hull, so that the footage's own mouth
            and jaw do not show.
        background: footage in the box, [n, size, size, 3], levels of 255; None for a whole portrait.
        coefficients: of the lower and the upper face; in training those of a texture fitted without these frames.

    Returns:
        [n, size, size, 3], float32, levels of 255.
    """
    frames: Float32 = (255 * render_plate(plate, scene.plate)).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if background is not None:
        frames = background + scene.hull[..., None] * (frames - background)
    if coefficients is None:
        coefficients = (
            texture.lower.coefficients(scene.lower, scene.pose),
            texture.upper.coefficients(scene.upper, scene.pose),
        )
    return drape(texture.render(*coefficients), scene.mesh, np.ascontiguousarray(frames))


def network_input(base: Float32, scene: Scene, region: tuple[int, int, int, int]) -> Tensor:
    """Input of G: base frames, mesh images and mask in G's region, [1, n, 10, h, w] in [0, 1]."""
    top, bottom, left, right = region
    rows, columns = slice(top, bottom), slice(left, right)
    layers = np.concatenate(
        [base[:, rows, columns], scene.mesh.conditioning[:, rows, columns], scene.mesh.mask[:, rows, columns, None]],
        axis=3,
        dtype=np.float32,
    )
    return torch.from_numpy(layers).permute(0, 3, 1, 2)[None] / 255

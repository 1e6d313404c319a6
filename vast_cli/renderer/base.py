"""The base picture: plate or footage, and the textured mesh upon it. All that is drawn without G."""

import numpy as np
import torch
from torch import Tensor

from vast_cli.core.arrays import Float32
from vast_cli.renderer import plate as plates
from vast_cli.renderer.plate import Plate
from vast_cli.renderer.scene import Scene
from vast_cli.renderer.texture import Texture, drape


@torch.inference_mode()
def paint(
    scene: Scene,
    texture: Texture,
    plate: Plate,
    *,
    background: Float32 | None = None,
    mixed: tuple[Float32, Float32] | None = None,
) -> Float32:
    """Base pictures of a run of frames.

    Args:
        scene: the run.
        texture: the person's appearance.
        plate: the portrait without a face that is right; over footage it fills the hull, so that nothing of the
            footage's own mouth or jaw is left.
        background: footage in the box, [n, size, size, 3], levels of 255; None for a whole portrait.
        mixed: in training, coefficients of the lower and upper face as if these frames had not been seen.

    Returns:
        [n, size, size, 3], float32, levels of 255.
    """
    below: Float32 = (255 * plates.paint(plate, scene.plate)).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if background is not None:
        below = background + scene.hull[..., None] * (below - background)
    if mixed is None:
        mixed = texture.lower.mix(scene.lower, scene.pose), texture.upper.mix(scene.upper, scene.pose)
    return drape(texture.paint(*mixed), scene.mesh, np.ascontiguousarray(below))


def network_input(base: Float32, scene: Scene, region: tuple[int, int, int, int]) -> Tensor:
    """What G sees: base picture, mesh images and mask in G's region, [1, n, 10, h, w] in [0, 1]."""
    top, bottom, left, right = region
    rows, columns = slice(top, bottom), slice(left, right)
    layers = np.concatenate(
        [base[:, rows, columns], scene.mesh.conditioning[:, rows, columns], scene.mesh.mask[:, rows, columns, None]],
        axis=3,
        dtype=np.float32,
    )
    return torch.from_numpy(layers).permute(0, 3, 1, 2)[None] / 255

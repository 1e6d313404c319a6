"""The layered plate: a whole portrait in any pose, without footage (ours; the paper uses the template's pixels).

It has three fitted layers: a static background, the torso, and the head with hair, ears and neck; torso and head are
transparent where they do not cover. The head moves by the pose's affine map and a coarse flow, the torso by a coarse
flow; flows are linear in 27 pose features. A single warped image would average frames in different poses, with ghosts
at collar, ears and hair: on the held-out tenth of obama_long its whole-frame SSIM, with a textured face, was .873, that
of the layers .9165.

All layers are fitted by gradient descent (`training.renderer.plate`): they are weights, not frames of the footage.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vast_cli.core.arrays import Float32
from vast_cli.renderer.geometry import N_POSE_FEATURES

FLOW_GRID = 16  # cells per side
FLOW_UNIT = 0.05  # unit of the flow's parameters, as a share of half the size


@dataclass(frozen=True)
class PlateInput:
    """Poses of a run of frames, as the plate takes them."""

    affine: Float32  # [n, 2, 3], frame to reference, box pixels (`geometry.affine_to_reference`)
    features: Float32  # [n, 27] (`geometry.pose_features`)


class Plate(nn.Module):
    """Layers and flows; `forward` renders portraits, [n, 3, size, size] in [0, 1].

    Args:
        size: width and height in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.background = nn.Parameter(torch.zeros(3, size, size))
        self.torso = nn.Parameter(torch.zeros(3, size, size))
        self.torso_alpha = nn.Parameter(torch.zeros(1, size, size))  # logits
        self.head = nn.Parameter(torch.zeros(3, size, size))
        self.head_alpha = nn.Parameter(torch.zeros(1, size, size))
        self.head_flow = nn.Parameter(torch.zeros(N_POSE_FEATURES, 2, FLOW_GRID, FLOW_GRID))
        self.torso_flow = nn.Parameter(torch.zeros(N_POSE_FEATURES, 2, FLOW_GRID, FLOW_GRID))
        centres = (torch.arange(size) + 0.5) * 2 / size - 1
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
        self.register_buffer("grid", grid, persistent=False)  # [size, size, 2], x and y in [-1, 1]

    def forward(self, affine: Tensor, features: Tensor) -> Tensor:
        """Render portraits in given poses.

        Args:
            affine: [n, 2, 3], in the coordinates of `normalised`.
            features: [n, 27].
        """
        grid: Tensor = self.get_buffer("grid")
        head_grid = torch.einsum("nij,hwj->nhwi", affine[:, :, :2], grid) + affine[:, None, None, :, 2]
        head = self._layer(self.head, self.head_alpha, head_grid + self._flow(self.head_flow, features))
        torso = self._layer(self.torso, self.torso_alpha, grid + self._flow(self.torso_flow, features))
        below = torch.lerp(self.background.expand_as(torso[:, :3]), torso[:, :3], torso[:, 3:])
        return torch.lerp(below, head[:, :3], head[:, 3:])

    def _flow(self, parameters: Tensor, features: Tensor) -> Tensor:
        coarse = torch.einsum("nk,kcij->ncij", features, parameters)
        fine = F.interpolate(coarse, (self.size, self.size), mode="bicubic", align_corners=False)
        return FLOW_UNIT * fine.permute(0, 2, 3, 1)

    @staticmethod
    def _layer(colour: Tensor, alpha: Tensor, grid: Tensor) -> Tensor:
        layer = torch.cat([colour, alpha.sigmoid()]).expand(len(grid), -1, -1, -1)
        return F.grid_sample(layer, grid, mode="bilinear", padding_mode="border", align_corners=False)


def normalised(affine: Float32, size: int) -> Float32:
    """Affine maps of pixels [n, 2, 3] as maps of coordinates in [-1, 1]."""
    result: Float32 = affine.copy()
    result[:, :, 2] = affine[:, :, :2].sum(2) + 2 * affine[:, :, 2] / size - 1
    return result


def render_plate(plate: Plate, pose: PlateInput) -> Tensor:
    """Render the portraits of a run of frames: [n, 3, size, size] in [0, 1]."""
    device = plate.head.device
    affine = torch.from_numpy(normalised(pose.affine, plate.size)).to(device)
    portraits: Tensor = plate(affine, torch.from_numpy(np.ascontiguousarray(pose.features)).to(device))
    return portraits.clamp(0, 1)

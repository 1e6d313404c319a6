"""Fit an avatar's layered plate by gradient descent (renderer/plate.py)."""

import logging
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vast_cli.core.arrays import Float32, Image
from vast_cli.core.progress import Progress, silent
from vast_cli.renderer.plate import Plate, PlateInput, normalised

log = logging.getLogger(__name__)

BATCH = 6
SSIM_WEIGHT = 0.2
SMOOTHNESS_WEIGHT = 1e-4  # of the flows' differences between cells
QUADRATIC_WEIGHT = 1e-4  # of the flows' quadratic part
HAIR_MARGIN = 22 / 256  # of the image: how far hair and ears reach beyond the mesh, to begin with
SOFT_EDGE = 6 / 256
N_LINEAR = 6


def fit_plate(
    frames: Image,
    pose: PlateInput,
    reference: Float32,
    *,
    steps: int = 500,
    seed: int = 0,
    progress: Progress = silent,
) -> Plate:
    """Fit a plate to footage.

    Args:
        frames: [n, size, size, 3], the renderer box.
        pose: of the same frames.
        reference: [468, 2], the neutral mesh in the mean pose, box pixels.
        steps: of gradient descent, 6 frames each (.25 s on one core at 256 px).
        seed: of the order of frames.
        progress: called after each step.
    """
    size = frames.shape[1]
    rng = np.random.default_rng(seed)
    plate = Plate(size)
    _initialise(plate, frames, reference)
    affine, features = torch.from_numpy(normalised(pose.affine, size)), torch.from_numpy(pose.features)
    images = torch.from_numpy(frames)
    optimiser = torch.optim.Adam(
        [
            {"params": [plate.head, plate.torso, plate.background], "lr": 4e-3},
            {"params": [plate.head_alpha, plate.torso_alpha], "lr": 4e-2},
            {"params": [plate.head_flow, plate.torso_flow], "lr": 4e-3},
        ],
        betas=(0.9, 0.99),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min(1.0, (s + 1) / 20) * (0.05 + 0.475 * (1 + np.cos(np.pi * s / steps)))
    )
    started = time.process_time()
    for step in range(steps):
        batch = torch.from_numpy(rng.integers(0, len(frames), BATCH))
        truth = images[batch].permute(0, 3, 1, 2).float() / 255
        ours = plate(affine[batch], features[batch])
        loss = (ours - truth).abs().mean() + SSIM_WEIGHT * (1 - ssim(ours, truth)) + _prior(plate)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress("plate", step + 1, steps)
    log.info("plate: %d steps, %.0f CPU s, last loss %.4f", steps, time.process_time() - started, loss.item())
    return plate.eval().requires_grad_(False)


def _initialise(plate: Plate, frames: Image, reference: Float32) -> None:
    """All layers the median frame; the head reaches a little beyond the mesh, the torso lies below it."""
    size = plate.size
    some = frames[np.linspace(0, len(frames) - 1, min(len(frames), 128)).astype(int)]
    median = torch.from_numpy(np.median(some, 0).astype(np.float32) / 255).permute(2, 0, 1)
    outline = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(outline, np.round(cv2.convexHull(reference.astype(np.float32))).astype(np.int32), 1)
    inside = cv2.distanceTransform(outline, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - outline, cv2.DIST_L2, 5)
    chin = float(reference[:, 1].max())
    below = np.arange(size, dtype=np.float32)[:, None].repeat(size, 1) - chin
    with torch.no_grad():
        for layer in (plate.background, plate.torso, plate.head):
            layer.copy_(median)
        plate.head_alpha.copy_(torch.from_numpy((inside + HAIR_MARGIN * size) / (SOFT_EDGE * size)).clamp(-4, 4)[None])
        plate.torso_alpha.copy_(torch.from_numpy(below / (SOFT_EDGE * size)).clamp(-4, 4)[None])


def _prior(plate: Plate) -> Tensor:
    """Flows should be smooth, and linear in the pose as far as possible."""
    flows = (plate.head_flow, plate.torso_flow)
    rough = [((f[:, :, 1:] - f[:, :, :-1]) ** 2).mean() + ((f[..., 1:] - f[..., :-1]) ** 2).mean() for f in flows]
    quadratic = [(f[N_LINEAR:] ** 2).mean() for f in flows]
    return SMOOTHNESS_WEIGHT * (rough[0] + rough[1]) + QUADRATIC_WEIGHT * (quadratic[0] + quadratic[1])


_TAPS = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of the luma of images [n, 3, h, w] in [0, 1]; window: sigma 1.5, 11 taps."""
    taps = (_TAPS / _TAPS.sum()).to(a.device).view(1, 1, 1, -1)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, taps), taps.transpose(2, 3))

    x, y = ((p * _LUMA.to(p.device)).sum(1, keepdim=True) for p in (a, b))
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    return (top / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))).mean()

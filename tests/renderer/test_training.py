"""Losses are zero for equal pictures and order better and worse; the plate learns a moving head."""

import numpy as np
import torch

from vast_cli.renderer.geometry import N_POSE_FEATURES
from vast_cli.renderer.plate import PlateInput, render_plate
from vast_cli.training.losses.perceptual import LaplacianFeatures, feature_network, perceptual_loss
from vast_cli.training.renderer.discriminator import Discriminator, discriminator_loss, generator_loss
from vast_cli.training.renderer.plate import fit_plate, ssim


def test_equal_pictures_have_no_loss_and_blur_has_more_than_noise_free() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(picture, 5, stride=1, padding=2)
    nearly = 0.8 * picture + 0.2 * blurred
    for network in (LaplacianFeatures(), feature_network()[0]):
        assert float(perceptual_loss(network, picture, picture)) == 0
        assert 0 < float(perceptual_loss(network, nearly, picture)) < float(perceptual_loss(network, blurred, picture))
    assert abs(float(ssim(picture, picture)) - 1) < 1e-5
    assert float(ssim(nearly, picture)) > float(ssim(blurred, picture))


def test_adversarial_losses_reward_what_they_should() -> None:
    real, fake = torch.full((4, 1), 2.0), torch.full((4, 1), -2.0)
    for form in ("hinge", "log"):
        right = discriminator_loss(real, fake, form=form)  # type: ignore[arg-type]
        wrong = discriminator_loss(fake, real, form=form)  # type: ignore[arg-type]
        assert right < wrong
        assert generator_loss(real, form=form) < generator_loss(fake, form=form)  # type: ignore[arg-type]
    logits = Discriminator(8)(torch.rand(2, 6, 48, 40), torch.rand(2, 3, 48, 40))
    assert logits.shape == (2, 1, 6, 5)


def test_log_form_is_equation_6() -> None:
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([0.8, -0.5])
    expected = -(torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean())
    torch.testing.assert_close(discriminator_loss(real, fake, form="log"), expected)


def test_plate_learns_a_still_room_and_a_moving_head() -> None:
    size, n = 48, 24
    shift = 4 * np.sin(np.arange(n) / 3).astype(np.float32)
    y, x = np.mgrid[:size, :size]
    room = np.stack([x, y, x + y], -1).astype(np.float32) + 60
    disc = [(np.hypot(x - 24 - s, y - 22) < 11)[..., None] for s in shift]
    frames = np.stack([np.where(d, [200.0, 120.0, 90.0], room) for d in disc]).astype(np.uint8)
    affine = np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (n, 1, 1))
    affine[:, 0, 2] = -shift  # from the frame to the reference
    given = np.zeros((n, N_POSE_FEATURES), np.float32)
    given[:, 4] = shift / shift.std()
    corners = np.array([[15, 13], [33, 13], [33, 31], [15, 31]], np.float32)
    pose = PlateInput(affine, given)
    plate = fit_plate(frames, pose, corners, steps=60, seed=0)
    ours = 255 * render_plate(plate, pose).permute(0, 2, 3, 1).numpy()
    still = np.abs(np.median(frames, 0) - frames).mean()
    assert np.abs(ours - frames).mean() < 0.5 * still

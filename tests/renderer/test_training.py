"""Losses are zero for equal images and rank better and worse; plate and G learn; a killed training of G resumes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vast_cli.core.devices import Compute
from vast_cli.renderer.geometry import N_POSE_FEATURES
from vast_cli.renderer.network import RendererNetwork, RendererNetworkConfig
from vast_cli.renderer.plate import PlateInput, render_plate
from vast_cli.training.losses.perceptual import LaplacianFeatures, feature_network, perceptual_loss
from vast_cli.training.renderer.base_frames import BaseFrames, texture_noise
from vast_cli.training.renderer.discriminator import Discriminator, discriminator_loss, generator_loss
from vast_cli.training.renderer.generator import RendererTrainer, held_out_errors
from vast_cli.training.renderer.plate import fit_plate, ssim
from vast_cli.training.renderer.settings import RendererTrainingSettings


def test_equal_images_have_no_loss_and_more_blur_has_more() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2)
    nearly = 0.8 * image + 0.2 * blurred
    for network in (LaplacianFeatures(), feature_network()[0]):
        assert float(perceptual_loss(network, image, image)) == 0
        assert 0 < float(perceptual_loss(network, nearly, image)) < float(perceptual_loss(network, blurred, image))
    assert abs(float(ssim(image, image)) - 1) < 1e-5
    assert float(ssim(nearly, image)) > float(ssim(blurred, image))


def test_adversarial_losses_are_lower_where_each_side_is_right() -> None:
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
    features = np.zeros((n, N_POSE_FEATURES), np.float32)
    features[:, 4] = shift / shift.std()
    corners = np.array([[15, 13], [33, 13], [33, 31], [15, 31]], np.float32)
    pose = PlateInput(affine, features)
    plate = fit_plate(frames, pose, corners, steps=60, seed=0)
    ours = 255 * render_plate(plate, pose).permute(0, 2, 3, 1).numpy()
    still = np.abs(np.median(frames, 0) - frames).mean()
    assert np.abs(ours - frames).mean() < 0.5 * still


def test_texture_noise_has_its_spread_and_changes_slowly() -> None:
    noise = texture_noise(20_000, np.array([1.0, 3.0], np.float32), correlation=0.8)
    np.testing.assert_allclose(noise.std(0), [1.0, 3.0], rtol=0.05)
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1] - 0.8) < 0.02


def base_frames() -> BaseFrames:
    """24 frames, of which the truth is 40 levels brighter than the base; six are held out."""
    random = np.random.default_rng(0)
    inputs = random.integers(80, 120, (24, 10, 64, 64), dtype=np.uint8)
    return BaseFrames(
        inputs=inputs,
        truth=inputs[:, :3] + 40,
        weight=np.full((24, 64, 64), 255, np.uint8),
        speech=random.random((24, 11, 40), np.float32),
        mouth=np.full((24, 2), 32, np.float32),
        n_train=18,
    )


class Clock:
    """A monotonic clock on which each step lasts a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    from vast_cli.training import loop

    torch.set_num_threads(1)
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    yield clock


def trainer(folder: Path, **changes: Any) -> RendererTrainer:
    torch.manual_seed(0)
    network = RendererNetwork(RendererNetworkConfig(half=8, quarter=8, eighth=8))
    settings = RendererTrainingSettings(crop=(48, 48), batch=2, check_every_s=3.5, **changes)
    compute = Compute(torch.device("cpu"), torch.float32, 1, "a test")
    return RendererTrainer(network, base_frames(), settings, compute=compute, folder=folder)


@pytest.mark.train
def test_g_learns_a_brighter_image(tmp_path: Path, clock: Clock) -> None:
    made = trainer(tmp_path, seconds=60.0, peak_rate=5e-3, ema=0.9)
    before = held_out_errors(made.network, made.frames, made.device)
    made.run()
    after = held_out_errors(made.loop.average, made.frames, made.device)
    assert before is not None and after is not None
    assert before["with G"] == before["textured mesh"] == after["textured mesh"] == pytest.approx(40, abs=0.1)
    assert after["with G"] < 20
    assert made.loop.state.step == 60 and made.loop.state.figures["l1_levels"] == after["with G"]


@pytest.mark.train
def test_a_killed_training_of_g_resumes_at_its_checkpoint(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = trainer(tmp_path, seconds=10.0)
    sample = killed.sampler.sample
    states = []

    def die(random: np.random.Generator) -> Any:
        if killed.loop.state.step == 6:
            raise KeyboardInterrupt
        if killed.loop.state.step == 4:
            states.append({name: value.clone() for name, value in killed.discriminator.state_dict().items()})
        return sample(random)

    monkeypatch.setattr(killed.sampler, "sample", die)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = trainer(tmp_path, seconds=12.0)  # more time than before
    seen = []

    def see(step: int, done: float) -> Any:
        if not seen:
            for name, value in resumed.discriminator.state_dict().items():
                assert torch.equal(value, states[0][name]), name
        seen.append(step)
        return RendererTrainer.step(resumed, step, done)

    monkeypatch.setattr(resumed, "step", see)
    resumed.run()
    assert seen == list(range(4, 12))

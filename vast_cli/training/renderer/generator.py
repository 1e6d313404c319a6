"""Train G over the base frames of one avatar (paper Eq. 5-7): crops, losses, held-out errors."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vast_cli.core.devices import Compute, cpu_flags
from vast_cli.renderer.network import RendererNetwork
from vast_cli.training.checkpoint import fingerprint
from vast_cli.training.loop import Figures, Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.losses.perceptual import feature_network, perceptual_loss
from vast_cli.training.optimisation import scaled_cosine
from vast_cli.training.renderer.base_frames import BaseFrames
from vast_cli.training.renderer.discriminator import Discriminator, discriminator_loss, generator_loss
from vast_cli.training.renderer.footage import RUN
from vast_cli.training.renderer.settings import RendererTrainingSettings

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Windows:
    """Crops of runs of frames."""

    inputs: Tensor  # [b, n, 10, h, w]
    truth: Tensor  # [b, n, 3, h, w]
    weight: Tensor  # [b, n, 1, h, w]
    speech: Tensor  # [b, n, 11, 40]


class WindowSampler:
    """Samples windows of the training frames, with noise on the base frames."""

    def __init__(self, frames: BaseFrames, settings: RendererTrainingSettings, device: torch.device) -> None:
        self.inputs, self.truth = torch.from_numpy(frames.inputs), torch.from_numpy(frames.truth)
        self.weight, self.speech = torch.from_numpy(frames.weight)[:, None], torch.from_numpy(frames.speech)
        self.mouth, self.n_train = frames.mouth, frames.n_train
        self.settings, self.device = settings, device

    def sample(self, random: np.random.Generator) -> Windows:
        """Windows of one step."""
        settings = self.settings
        groups: list[list[Tensor]] = [[], [], [], []]
        for _ in range(settings.batch):
            start = int(random.integers(0, max(self.n_train - settings.window, 0) + 1))
            window = slice(start, start + settings.window)
            rows, columns = self._crop(random, middle=start + settings.window // 2)
            crop = (window, slice(None), rows, columns)
            speech = self.speech[window]
            if random.random() < settings.speech_dropout:
                speech = torch.zeros_like(speech)
            for group, value in zip(
                groups, (self.inputs[crop], self.truth[crop], self.weight[crop], speech), strict=True
            ):
                group.append(value)
        inputs, truth, weight, speech = (torch.stack(group).to(self.device) for group in groups)
        return Windows(self._with_noise(inputs.float() / 255), truth.float() / 255, weight.float() / 255, speech)

    def _crop(self, random: np.random.Generator, *, middle: int) -> tuple[slice, slice]:
        """Rows and columns of a crop, most often on the mouth of the window's middle frame."""
        height, width = self.inputs.shape[2:]
        h, w = min(self.settings.crop[0], height), min(self.settings.crop[1], width)
        if random.random() < self.settings.mouth_share:
            centre = self.mouth[middle] + random.uniform(-10, 10, 2)
            left, top = centre - (w / 2, h / 2)
        else:
            left, top = random.uniform(0, width - w), random.uniform(0, height - h)
        x, y = int(np.clip(left, 0, width - w)) // 2 * 2, int(np.clip(top, 0, height - h)) // 2 * 2
        return slice(y, y + h), slice(x, x + w)

    def _with_noise(self, inputs: Tensor) -> Tensor:
        shape = len(inputs), 1, 3, inputs.shape[3] // 4, inputs.shape[4] // 4
        noise = self.settings.base_noise / 255 * torch.randn(*shape, device=inputs.device)
        smooth = nn.functional.interpolate(noise.flatten(0, 1), inputs.shape[3:], mode="bilinear", align_corners=False)
        return torch.cat([inputs[:, :, :3] + smooth[:, None], inputs[:, :, 3:]], 2)


@dataclass(frozen=True)
class ImagePairs:
    """What the discriminator compares: truth and rendered images with the same mesh images."""

    mesh: Tensor  # [k, 6, h, w]
    truth: Tensor  # [k, 3, h, w]
    rendered: Tensor  # [k, 3, h, w]


class RendererTrainer:
    """The losses of G and D; `loop.average` is the G to ship."""

    def __init__(
        self,
        network: RendererNetwork,
        frames: BaseFrames,
        settings: RendererTrainingSettings,
        *,
        compute: Compute,
        folder: Path,
        on_status: Callable[[TrainingStatus], None] | None = None,
    ) -> None:
        self.frames, self.settings, self.device = frames, settings, compute.device
        torch.manual_seed(settings.seed)
        self.network = _on_device(network, compute.device).train().requires_grad_(True)
        self.discriminator = _on_device(Discriminator(), compute.device)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=settings.discriminator_rate, betas=(0.5, 0.99)
        )
        self.features, self.feature_name = feature_network()
        self.features.to(compute.device)
        self.sampler = WindowSampler(frames, settings, compute.device)
        self.random = np.random.default_rng(settings.seed)
        # 1.9x on a CPU that has the instructions, several times slower on one that has not
        self.bf16 = compute.device.type == "cuda" or bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
        self.loop = Loop(
            self._loop_settings(),
            self.network,
            torch.optim.AdamW(
                self.network.parameters(),
                lr=settings.peak_rate,
                betas=(0.9, 0.99),
                weight_decay=settings.weight_decay,
            ),
            averaged=self.network,
            also={"discriminator": self.discriminator, "discriminator_optimiser": self.discriminator_optimiser},
            folder=folder,
            on_status=on_status,
        )
        self._pairs: ImagePairs | None = None  # of the last step, once the discriminator takes part

    def _loop_settings(self) -> LoopSettings:
        settings = self.settings

        def schedule(_step: int, done: float) -> float:
            return scaled_cosine(settings.peak_rate, (done + 0.005) / 0.02, min(done, 1), floor=0.03)

        return LoopSettings(
            "train",
            schedule,
            seconds=settings.seconds,
            ema=settings.ema,
            ema_warm_up=(1, 10),
            check_every_s=settings.check_every_s,
            figure="l1_levels",
        )

    def run(self) -> None:
        """Train for the time; resumes from the checkpoint of a fit that was interrupted."""
        if self.loop.resume(fingerprint(self.settings, ignore=("seconds", "check_every_s", "check_frames"))):
            self.random = np.random.default_rng(self.loop.state.step)
        self.loop.run(self.step, self.check, after_update=self.update_discriminator)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def step(self, _step: int, done: float) -> Losses:
        """Losses of G on windows of the step (Eq. 7); `l1` in levels of 255."""
        settings, warm = self.settings, self.settings.warm_frames
        windows = self.sampler.sample(self.random)
        with self._autocast():
            rendered = self._render(windows).flatten(0, 1)
            truth = windows.truth[:, warm:].flatten(0, 1)
            mesh = windows.inputs[:, warm:, 3:9].flatten(0, 1)
            allowed = windows.weight[:, warm:].flatten(0, 1)
            weight = self._pixel_weight(mesh, allowed)
            l1 = ((rendered - truth).abs() * weight).sum() / (3 * weight.sum() + 1e-6)
            composed = torch.lerp(truth, rendered, allowed)
            # one frame of each window: the pretrained network costs as much as G (.40 -> .22 CPU s a step)
            stride = settings.window - warm
            perceptual = perceptual_loss(self.features, composed[::stride], truth[::stride])
            losses = {"loss": l1 + settings.perceptual_weight * perceptual, "l1": 255 * l1, "perceptual": perceptual}
            self._pairs = None
            if done >= settings.adversarial_from:
                adversarial = generator_loss(self.discriminator(mesh, composed))
                losses["loss"] = losses["loss"] + settings.adversarial_weight * adversarial
                losses["adversarial"] = adversarial
                self._pairs = ImagePairs(mesh, truth, composed.detach())
        return losses

    def _render(self, windows: Windows) -> Tensor:
        """Frames of the windows after the warm ones, [b, n - warm, 3, h, w]."""
        warm = self.settings.warm_frames
        with torch.no_grad():
            _, state = self.network(windows.inputs[:, :warm], windows.speech[:, :warm])
        residual, _ = self.network(windows.inputs[:, warm:], windows.speech[:, warm:], state)
        rendered: Tensor = windows.inputs[:, warm:, :3] + residual.float()
        return rendered

    def _pixel_weight(self, mesh: Tensor, allowed: Tensor) -> Tensor:
        """Weight of the pixels, [k, 1, h, w]: the mouth's interior and a rim of lips around it count more."""
        rim = mesh[:, 3:4]
        for _ in range(2):  # 13 pixels wide, in two cheaper steps
            rim = nn.functional.max_pool2d(rim, 7, stride=1, padding=3)
        weight = allowed * (1 + (self.settings.mouth_weight - 1) * rim)
        # a crop's border lacks its surroundings
        return nn.functional.pad(weight[..., 4:-4, 4:-4], (4, 4, 4, 4))

    def update_discriminator(self) -> Losses:
        """Update D with the images of the last step (Eq. 6)."""
        if self._pairs is None:
            return {}
        pairs = self._pairs
        with self._autocast():
            real, fake = self.discriminator(pairs.mesh, pairs.truth), self.discriminator(pairs.mesh, pairs.rendered)
            loss = discriminator_loss(real, fake)
        self.discriminator_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.discriminator_optimiser.step()
        return {"discriminator": loss}

    def check(self, _losses: Mapping[str, float]) -> Figures:
        """Error of the averaged G on some held-out frames, levels; smaller is better."""
        errors = held_out_errors(self.loop.average, self.frames, self.device, limit=self.settings.check_frames)
        return {} if errors is None else {"l1_levels": errors["with G"]}


def train_network(
    network: RendererNetwork,
    frames: BaseFrames,
    settings: RendererTrainingSettings,
    *,
    compute: Compute,
    folder: Path,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> dict[str, Any]:
    """Train G in place; its weights become the running average.

    Args:
        network: G.
        frames: of the footage.
        settings: of the training.
        compute: device and threads.
        folder: of the checkpoint and `log.jsonl`.
        on_status: called after each step.

    Returns:
        Steps, CPU seconds, and mean absolute errors (levels) on the held-out end without and with G.
    """
    trainer = RendererTrainer(network, frames, settings, compute=compute, folder=folder, on_status=on_status)
    cpu = time.process_time()
    trainer.run()
    network.load_state_dict(trainer.loop.average.state_dict())
    network.eval().requires_grad_(False)
    return {
        "steps": trainer.loop.state.step,
        "cpu_s": round(time.process_time() - cpu),
        "perceptual_features": trainer.feature_name,
        "held_out_frames": frames.n_held_out,
        "l1_levels": held_out_errors(network, frames, compute.device),
    }


def _on_device(network: N, device: torch.device) -> N:
    moved: N = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no such stub
    return moved


@torch.inference_mode()
def held_out_errors(
    network: RendererNetwork, frames: BaseFrames, device: torch.device, *, limit: int | None = None
) -> dict[str, float] | None:
    """Mean absolute error (levels) on held-out frames in G's region, without and with G; None if none are held out.

    Args:
        network: G.
        frames: of the footage.
        device: of the network.
        limit: use only so many held-out frames.
    """
    end = len(frames.truth) if limit is None else min(len(frames.truth), frames.n_train + limit)
    if frames.n_train >= end:
        return None
    errors: dict[str, list[float]] = {"textured mesh": [], "with G": []}
    state = None
    for start in range(frames.n_train, end, RUN):
        part = slice(start, min(start + RUN, end))
        inputs = torch.from_numpy(frames.inputs[part]).to(device).float() / 255
        truth = torch.from_numpy(frames.truth[part]).to(device).float() / 255
        weight = torch.from_numpy(frames.weight[part]).to(device).float()[:, None] / 255
        speech = torch.from_numpy(frames.speech[None, part]).to(device)
        residual, state = network(inputs[None], speech, state)
        for name, rendered in (("textured mesh", inputs[:, :3]), ("with G", inputs[:, :3] + residual[0])):
            difference = (rendered.clamp(0, 1) - truth).abs() * weight
            errors[name].append(255 * float(difference.sum() / (3 * weight.sum())))
    return {name: round(float(np.mean(values)), 3) for name, values in errors.items()}

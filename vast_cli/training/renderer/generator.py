"""Train G over the base pictures of one avatar (paper Eq. 5-7): crops, losses, checkpoints."""

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vast_cli.core import files
from vast_cli.core.arrays import Float32
from vast_cli.core.devices import Compute, cpu_flags
from vast_cli.core.progress import Progress
from vast_cli.renderer import base
from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.network import RendererNetwork
from vast_cli.training.losses.perceptual import feature_network, perceptual_loss
from vast_cli.training.renderer.discriminator import Discriminator, discriminator_loss, generator_loss
from vast_cli.training.renderer.footage import RUN, MeasuredFootage
from vast_cli.training.renderer.texture import FittedTexture

log = logging.getLogger(__name__)

WINDOW = 6  # frames of a training sample; the paper has 16, crops are cheaper and the state is carried
WARM = 2  # of them only carry state, without gradient
SAMPLES = 4  # windows a step
CROP = (80, 96)  # height and width of a crop, multiples of 8
MOUTH_SHARE = 0.65  # of the crops lie on the mouth
MOUTH_WEIGHT = 4.0  # on pixels of the mouth's interior and lips
RATE = 6e-4
PERCEPTUAL_WEIGHT = 0.02
ADVERSARIAL_WEIGHT = 0.004
ADVERSARIAL_FROM = 0.35  # of the time
SPEECH_DROPOUT = 0.25  # windows whose speech is unknown: footage and prompts may have no sound
NOISE_SD = 1.5  # levels of 255, on the base picture: prediction's errors must not become shimmer
EMA = 0.998
STRAY = 0.5  # how far the texture's coefficients are led astray in training, of their standard deviation
CALM = 0.8  # correlation of neighbouring frames in that
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Bases:
    """What G sees and what it should make of it, in its region."""

    inputs: NDArray[np.uint8]  # [n, 10, h, w]
    truth: NDArray[np.uint8]  # [n, 3, h, w]
    weight: NDArray[np.uint8]  # [n, h, w], 0..255: where the truth may be asked for (hull over footage, all else)


def paint_bases(
    avatar: Avatar, material: MeasuredFootage, fitted: FittedTexture, *, progress: Progress, portrait: bool
) -> Bases:
    """Base pictures of all frames; each without the help of its own surroundings, as at use."""
    top, bottom, left, right = avatar.region
    inputs, truth, weight = [], [], []
    done, n = 0, len(fitted.lower)  # frames held out are unseen anyway
    # G must trust the mesh more than the texture: for mouths that the footage never showed the texture is wrong
    strayed = STRAY * _wander(len(material.frames), fitted.lower.std(0))
    strayed[n:] = 0
    lower = np.concatenate([fitted.lower, avatar.texture.lower.mix(material.lower[n:], material.pose[n:])])
    upper = np.concatenate([fitted.upper, avatar.texture.upper.mix(material.upper[n:], material.pose[n:])])
    for run in material.scenes:
        part = slice(done, done + len(run))
        background = None if portrait else material.frames[part].astype(np.float32)
        unseen = lower[part] + strayed[part], upper[part]
        picture = base.render_base(run, avatar.texture, avatar.plate, background=background, mixed=unseen)
        layers = base.network_input(np.clip(picture, 0, 255), run, avatar.region)[0]
        inputs.append((255 * layers).round().to(torch.uint8).numpy())
        truth.append(material.frames[part, top:bottom, left:right].transpose(0, 3, 1, 2))
        hull = run.hull[:, top:bottom, left:right]
        weight.append(np.full(hull.shape, 255, np.uint8) if portrait else np.round(255 * hull).astype(np.uint8))
        done += len(run)
        progress("textured mesh", done, len(material.frames))
    return Bases(np.concatenate(inputs), np.concatenate(truth), np.concatenate(weight))


def _wander(n: int, scale: Float32) -> Float32:
    """Noise that changes slowly over n frames, of standard deviation `scale` [k]: [n, k]."""
    random = np.random.default_rng(0)
    steps = random.standard_normal((n, len(scale))) * np.sqrt(1 - CALM**2)
    for t in range(1, n):
        steps[t] += CALM * steps[t - 1]
    return (steps * scale).astype(np.float32)


class Trainer:
    """G, D, their optimisers and the average that ships; saves itself and goes on after `kill -9`."""

    def __init__(self, network: RendererNetwork, compute: Compute, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = network.to(compute.device).to(memory_format=torch.channels_last).train().requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.judge = Discriminator().to(compute.device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
        self.judge_optimiser = torch.optim.Adam(self.judge.parameters(), lr=2e-4, betas=(0.5, 0.99))
        self.features, self.feature_name = feature_network()
        self.features.to(compute.device)
        self.step = 0
        self.spent = 0.0  # seconds
        self.random = np.random.default_rng(seed)

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "judge": self.judge,
            "optimiser": self.optimiser,
            "judge_optimiser": self.judge_optimiser,
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"average": self.average, "step": self.step, "spent": self.spent}
        with files.atomic_write(path) as part_path:
            torch.save(state, part_path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.random = np.random.default_rng(self.step)


def train_network(
    avatar: Avatar,
    material: MeasuredFootage,
    bases: Bases,
    *,
    n_train: int,
    seconds: float,
    compute: Compute,
    work: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train G of `avatar` in place; its weights become the running average.

    Returns:
        Steps, CPU seconds, and mean absolute errors (levels) on the held-out end before and after.
    """
    trainer = Trainer(avatar.network, compute, seed=seed)
    checkpoint = work / "checkpoint.pt"
    work.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_file():
        trainer.load(checkpoint)
        log.warning("going on from step %d of `%s`", trainer.step, checkpoint)
    inputs, truth, weight = (torch.from_numpy(a) for a in (bases.inputs, bases.truth, bases.weight))
    heard = torch.from_numpy(material.speech)
    mouth = material.mouth - np.array([avatar.region[2], avatar.region[0]])
    started, cpu = time.monotonic(), time.process_time()
    saved = trainer.spent
    # 1.9x on a CPU that has the instructions, several times slower on one that has not
    half = compute.device.type == "cuda" or bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    with (work / "log.jsonl").open("a", encoding="utf-8") as journal:
        while trainer.spent < seconds:
            share = trainer.spent / seconds
            _set_rate(trainer.optimiser, share)
            sample = _sample(trainer.random, inputs, truth, weight, heard, mouth, n_train, compute)
            with torch.autocast(compute.device.type, dtype=torch.bfloat16, enabled=half):
                terms = _train_step(trainer, sample, adversarial=share >= ADVERSARIAL_FROM)
            trainer.step += 1
            trainer.spent += time.monotonic() - started
            started = time.monotonic()
            progress("train", round(trainer.spent), round(seconds))
            if trainer.step % 50 == 0:
                journal.write(json.dumps({"step": trainer.step, "spent_s": trainer.spent} | terms) + "\n")
                journal.flush()
            if trainer.spent - saved > SAVE_EVERY_S:
                trainer.save(checkpoint)
                saved = trainer.spent
    trainer.network.load_state_dict(trainer.average)
    trainer.network.eval().requires_grad_(False)
    trainer.save(checkpoint)
    return {
        "steps": trainer.step,
        "cpu_s": round(time.process_time() - cpu),
        "perceptual_features": trainer.feature_name,
        "held_out_frames": len(bases.truth) - n_train,
        "l1_levels": _held_out(avatar, bases, heard, n_train, compute),
    }


def _set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    rate = RATE * min(1.0, (share + 0.005) / 0.02) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
    for group in optimiser.param_groups:
        group["lr"] = rate


@dataclass(frozen=True)
class Sample:
    """Windows of crops."""

    inputs: Tensor  # [b, n, 10, h, w]
    truth: Tensor  # [b, n, 3, h, w]
    weight: Tensor  # [b, n, 1, h, w]
    speech: Tensor  # [b, n, 11, 40]


def _sample(
    random: np.random.Generator,
    inputs: Tensor,
    truth: Tensor,
    weight: Tensor,
    heard: Tensor,
    mouth: Float32,
    n_train: int,
    compute: Compute,
) -> Sample:
    height, width = inputs.shape[2:]
    h, w = min(CROP[0], height), min(CROP[1], width)
    picked: list[list[Tensor]] = [[], [], [], []]
    for _ in range(SAMPLES):
        start = int(random.integers(0, max(n_train - WINDOW, 0) + 1))
        window = slice(start, start + WINDOW)
        if random.random() < MOUTH_SHARE:
            centre = mouth[start + WINDOW // 2] + random.uniform(-10, 10, 2)
            x, y = centre - (w / 2, h / 2)
        else:
            x, y = random.uniform(0, width - w), random.uniform(0, height - h)
        x, y = int(np.clip(x, 0, width - w)) // 2 * 2, int(np.clip(y, 0, height - h)) // 2 * 2
        crop = (window, slice(None), slice(y, y + h), slice(x, x + w))
        voice = heard[window] if random.random() >= SPEECH_DROPOUT else torch.zeros_like(heard[window])
        for into, value in zip(picked, (inputs[crop], truth[crop], weight[:, None][crop], voice), strict=True):
            into.append(value)
    stacked = [torch.stack(group).to(compute.device) for group in picked]
    x, y, z = (t.float() / 255 for t in stacked[:3])
    noise = NOISE_SD / 255 * torch.randn(len(x), 1, 3, x.shape[3] // 4, x.shape[4] // 4, device=x.device)
    smooth = nn.functional.interpolate(noise.flatten(0, 1), x.shape[3:], mode="bilinear", align_corners=False)
    x = torch.cat([x[:, :, :3] + smooth[:, None], x[:, :, 3:]], 2)
    return Sample(x, y, z, stacked[3])


def _train_step(trainer: Trainer, sample: Sample, *, adversarial: bool) -> dict[str, float]:
    """One step of G, and of D once it takes part (Eq. 7)."""
    with torch.no_grad():
        _, state = trainer.network(sample.inputs[:, :WARM], sample.speech[:, :WARM])
    residual, _ = trainer.network(sample.inputs[:, WARM:], sample.speech[:, WARM:], state)
    residual = residual.float()
    before = sample.inputs[:, WARM:, :3]
    ours, truth = (before + residual).flatten(0, 1), sample.truth[:, WARM:].flatten(0, 1)
    mesh = sample.inputs[:, WARM:, 3:9].flatten(0, 1)
    allowed = sample.weight[:, WARM:].flatten(0, 1)
    # interior of the mouth and a rim of lips around it count more
    rim = mesh[:, 3:4]
    for _ in range(2):  # 13 pixels wide, in two cheaper steps
        rim = nn.functional.max_pool2d(rim, 7, stride=1, padding=3)
    weight = allowed * (1 + (MOUTH_WEIGHT - 1) * rim)
    weight = nn.functional.pad(weight[..., 4:-4, 4:-4], (4, 4, 4, 4))  # a crop's border lacks its surroundings
    l1 = ((ours - truth).abs() * weight).sum() / (3 * weight.sum() + 1e-6)
    shown = torch.lerp(truth, ours, allowed)
    # one frame of each window: the pretrained network costs as much as G (.40 -> .22 CPU s a step)
    seen = perceptual_loss(trainer.features, shown[:: WINDOW - WARM], truth[:: WINDOW - WARM])
    loss = l1 + PERCEPTUAL_WEIGHT * seen
    terms = {"l1": 255 * l1.item(), "perceptual": seen.item()}
    if adversarial:
        fooled = generator_loss(trainer.judge(mesh, shown))
        loss = loss + ADVERSARIAL_WEIGHT * fooled
        terms["adversarial"] = fooled.item()
    trainer.optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trainer.network.parameters(), 1.0)
    trainer.optimiser.step()
    with torch.no_grad():
        for name, value in trainer.network.state_dict().items():
            trainer.average[name].lerp_(value, 1 - min(EMA, (trainer.step + 1) / (trainer.step + 10)))
    if adversarial:
        told = discriminator_loss(trainer.judge(mesh, truth), trainer.judge(mesh, shown.detach()))
        trainer.judge_optimiser.zero_grad()
        told.backward()
        trainer.judge_optimiser.step()
        terms["judge"] = told.item()
    return terms


@torch.inference_mode()
def _held_out(avatar: Avatar, bases: Bases, heard: Tensor, n_train: int, compute: Compute) -> dict[str, float] | None:
    """Mean absolute error on the held-out end in G's region, without and with G."""
    if n_train >= len(bases.truth):
        return None
    before, after, state = [], [], None
    for start in range(n_train, len(bases.truth), RUN):
        part = slice(start, start + RUN)
        x = torch.from_numpy(bases.inputs[part]).to(compute.device).float() / 255
        y = torch.from_numpy(bases.truth[part]).to(compute.device).float() / 255
        w = torch.from_numpy(bases.weight[part]).to(compute.device).float()[:, None] / 255
        residual, state = avatar.network(x[None], heard[None, part].to(compute.device), state)
        for errors, picture in ((before, x[:, :3]), (after, x[:, :3] + residual[0])):
            errors.append(255 * float(((picture.clamp(0, 1) - y).abs() * w).sum() / (3 * w.sum())))
    return {"textured mesh": round(float(np.mean(before)), 3), "with G": round(float(np.mean(after)), 3)}

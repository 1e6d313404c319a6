"""Training data of G: the base frames of the footage, each rendered without its own surroundings, and their truth."""

from dataclasses import dataclass

import numpy as np
import torch

from vast_cli.core.arrays import Float32, Image
from vast_cli.core.progress import Progress
from vast_cli.renderer import base
from vast_cli.renderer.avatar import Avatar
from vast_cli.training.renderer.footage import MeasuredFootage
from vast_cli.training.renderer.settings import RendererTrainingSettings
from vast_cli.training.renderer.texture import FittedTexture


@dataclass(frozen=True)
class BaseFrames:
    """What G sees and should make of it, in its region; the frames from `n_train` on are held out."""

    inputs: Image  # [n, 10, h, w]
    truth: Image  # [n, 3, h, w]
    weight: Image  # [n, h, w], 0..255: where the truth counts (the hull over footage, else everywhere)
    speech: Float32  # [n, 11, 40]
    mouth: Float32  # [n, 2], centre of the lips, pixels of the region
    n_train: int

    @property
    def n_held_out(self) -> int:
        """Number of frames held out."""
        return len(self.truth) - self.n_train


def render_base_frames(
    avatar: Avatar,
    footage: MeasuredFootage,
    fitted: FittedTexture,
    settings: RendererTrainingSettings,
    *,
    progress: Progress,
) -> BaseFrames:
    """Base frames of the footage; textures of frames that the fit saw are those of a fit without them, plus noise."""
    top, bottom, left, right = avatar.region
    portrait = avatar.footage is None
    inputs, truth, weight = [], [], []
    done, n_train = 0, len(fitted.lower)
    noise = settings.texture_noise * texture_noise(
        len(footage.frames), fitted.lower.std(0), correlation=settings.noise_correlation
    )
    noise[n_train:] = 0
    unseen = footage.lower[n_train:], footage.upper[n_train:], footage.pose[n_train:]  # held out
    lower = np.concatenate([fitted.lower, avatar.texture.lower.coefficients(unseen[0], unseen[2])])
    upper = np.concatenate([fitted.upper, avatar.texture.upper.coefficients(unseen[1], unseen[2])])
    for run in footage.scenes:
        part = slice(done, done + len(run))
        background = None if portrait else footage.frames[part].astype(np.float32)
        frames = base.render_base(
            run,
            avatar.texture,
            avatar.plate,
            background=background,
            coefficients=(lower[part] + noise[part], upper[part]),
        )
        layers = base.network_input(np.clip(frames, 0, 255), run, avatar.region)[0]
        inputs.append((255 * layers).round().to(torch.uint8).numpy())
        truth.append(footage.frames[part, top:bottom, left:right].transpose(0, 3, 1, 2))
        hull = run.hull[:, top:bottom, left:right]
        weight.append(np.full(hull.shape, 255, np.uint8) if portrait else np.round(255 * hull).astype(np.uint8))
        done += len(run)
        progress("textured mesh", done, len(footage.frames))
    return BaseFrames(
        inputs=np.concatenate(inputs),
        truth=np.concatenate(truth),
        weight=np.concatenate(weight),
        speech=footage.speech,
        mouth=footage.mouth - np.array([left, top]),
        n_train=n_train,
    )


def texture_noise(n: int, scale: Float32, *, correlation: float) -> Float32:
    """Noise that changes slowly over n frames, of standard deviation `scale` [k]: [n, k].

    Args:
        n: frames.
        scale: standard deviation of each coefficient.
        correlation: of neighbouring frames.
    """
    random = np.random.default_rng(0)
    noise = random.standard_normal((n, len(scale))) * np.sqrt(1 - correlation**2)
    for t in range(1, n):
        noise[t] += correlation * noise[t - 1]
    result: Float32 = (noise * scale).astype(np.float32)
    return result

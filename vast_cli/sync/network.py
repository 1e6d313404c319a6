"""The two towers: five mouth images and the audio of the same 0.2 s, as points on one sphere."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FRAMES = 5  # mouth images in a window
AUDIO_FRAMES = 20  # log-mel frames in a window
DROPOUT = 0.15  # while training


@dataclass(frozen=True)
class LagSyncConfig:
    """Sizes, saved in the weights' header.

    Args:
        channels: of the image convolutions; the first takes every `stride`-th pixel, each other every second.
        stride: 2 or 4.
        lip: features of a mouth image.
        hidden: width of the audio tower and of both last layers.
        dims: of the embeddings.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    stride: int = 4
    lip: int = 128
    hidden: int = 192
    dims: int = 96

    def __post_init__(self) -> None:
        # headers come from outside: check bounds before memory is allocated
        if self.stride not in (2, 4):
            raise ValueError(f"impossible stride: {self.stride}")
        sizes = (self.lip, self.hidden, self.dims, *self.channels)
        if not all(isinstance(n, int) and 1 <= n <= 2_048 for n in sizes) or not 1 <= len(self.channels) <= 4:
            raise ValueError(f"impossible LagSync network: {self}")

    @classmethod
    def from_header(cls, fields: dict[str, Any]) -> "LagSyncConfig":
        """Read a header; raises `KeyError`, `TypeError` or `ValueError` on what cannot be one."""
        return cls(**{**fields, "channels": tuple(fields["channels"])})

    def to_header(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class MouthImageNet(nn.Module):
    """One mouth image to `lip` features; brightness and contrast are removed first."""

    def __init__(self, config: LagSyncConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = 1
        size, stride, edge = 2 * config.stride, config.stride, config.stride // 2
        for outer in config.channels:
            layers += [nn.Conv2d(inner, outer, size, stride, edge, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
            inner, size, stride, edge = outer, 3, 2, 1
        self.body = nn.Sequential(*layers)
        self.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        side = 96 // config.stride // 2 ** (len(config.channels) - 1)
        self.leave = nn.Linear(inner * side * side, config.lip)

    def forward(self, images: Tensor) -> Tensor:
        """[n, 96, 96], any scale -> [n, lip]."""
        mean = images.mean(dim=(1, 2), keepdim=True)
        spread = images.std(dim=(1, 2), keepdim=True)
        x = ((images - mean) / (spread + 1e-3))[:, None]
        x = self.body(x.contiguous(memory_format=torch.channels_last))
        result: Tensor = self.leave(x.flatten(1))
        return result


class MouthTower(nn.Module):
    """Five mouth images in a row to a point of the sphere."""

    def __init__(self, config: LagSyncConfig) -> None:
        super().__init__()
        self.picture = MouthImageNet(config)
        self.norm = nn.LayerNorm(config.lip)
        self.join = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(FRAMES * config.lip, config.hidden),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(config.hidden, config.dims),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Runs of images [b, n, 96, 96] -> [b, n - 4, dims]."""
        b, n = images.shape[:2]
        return self.embed(self.picture(images.flatten(0, 1)).reshape(b, n, -1))

    def embed(self, features: Tensor) -> Tensor:
        """Features of runs of images, from `picture`, [b, n, lip] -> [b, n - 4, dims]."""
        windows = self.norm(features).unfold(1, FRAMES, 1).transpose(2, 3).flatten(2)
        return F.normalize(self.join(windows).float(), dim=-1)


class AudioTower(nn.Module):
    """Twenty log-mel frames to a point of the sphere: three convolutions in time, then two linear layers."""

    def __init__(self, config: LagSyncConfig, n_mels: int = 40) -> None:
        super().__init__()
        h = config.hidden
        self.body = nn.Sequential(
            nn.Conv1d(n_mels, h, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(h, h, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(h, h, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.join = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(h * AUDIO_FRAMES // 4, h),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(h, config.dims),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """[n, 20, 40] -> [n, dims]."""
        x = self.body(windows.transpose(1, 2))
        return F.normalize(self.join(x.flatten(1)).float(), dim=-1)


class LagSyncNet(nn.Module):
    """Both towers."""

    def __init__(self, config: LagSyncConfig) -> None:
        super().__init__()
        self.config = config
        self.mouth = MouthTower(config)
        self.sound = AudioTower(config)

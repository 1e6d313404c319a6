"""The Inception network of the FID: 2,048 features an image, as the port of the 2015 weights computes them.

Names are those of the published file `pt_inception-2015-12-05-6726825d.pth`, so it loads as it is. The conventions of
that port are part of the number: images in 0..1, resized to 299x299 inside the network without antialiasing, average
pools that do not count their padding, a maximum pool in the last block.

The weights do not ship. Checked against the port's own code (pytorch-fid over torchvision's model),
both with the same random weights on random images of several sizes: the features are equal bit for bit.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vast_cli.core import files
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.evaluate.external.weights import load_published

Size = int | tuple[int, int]

PUBLISHED = "`pt_inception-2015-12-05-6726825d.pth`"
N_FEATURES = 2048
N_CLASSES = 1008  # of the 2015 network; ImageNet's later one has 1000
SIDE = 299
BATCH = 16
CLASSIFIER = ("fc.weight", "fc.bias")  # in the file, not in the features


class Inception:
    """Features of images.

    Attributes:
        sha256: of the weights' file: part of the result's name.
    """

    def __init__(self, network: "InceptionNet", sha256: str) -> None:
        self.network = network
        self.sha256 = sha256

    def features(self, frames: Image) -> Float32:
        """Pooled features of RGB images.

        Args:
            frames: uint8 [n, H, W, 3].

        Returns:
            [n, 2048].

        Raises:
            ValueError: other images.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"images of {frames.dtype} {frames.shape}, not uint8 [n, H, W, 3]")
        features = np.empty((len(frames), N_FEATURES), np.float32)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            for start in range(0, len(frames), BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(frames[start : start + BATCH])).to(device)
                pooled = self.network(batch.permute(0, 3, 1, 2).float() / 255)
                features[start : start + BATCH] = pooled.cpu().numpy()
        return features


def load_inception(path: Path) -> Inception:
    """Read the published weights, as PyTorch file or as safetensors.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid` (another file; also ImageNet's
            Inception v3, which has the same layers but other weights, and gives another number).
    """
    network = InceptionNet()
    state = load_published(network, path, name=PUBLISHED, ignored=CLASSIFIER)
    classes = state["fc.weight"].shape[0] if "fc.weight" in state else 0
    if classes != N_CLASSES:
        message = f"`{path}` is not {PUBLISHED}: its classifier has {classes} classes, not {N_CLASSES}"
        raise VastError("vast_record_invalid", message, hint=f"give {PUBLISHED} as its authors publish it")
    return Inception(network, files.sha256(path))


class InceptionNet(nn.Module):
    """Inception v3 up to its pooled features (Szegedy et al. 2016) with the pools of the 2015 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, maximum=False)
        self.Mixed_7c = BlockE(2048, maximum=True)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 to features [B, 2048]."""
        x = 2 * F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, n_in: int, n_out: int, size: Size, *, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, size, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, n_out, H', W']."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def wide(n_in: int, n_out: int, size: int) -> Conv:
    """Convolution over 1 x size pixels, of unchanged size."""
    return Conv(n_in, n_out, (1, size), padding=(0, size // 2))


def tall(n_in: int, n_out: int, size: int) -> Conv:
    """Convolution over size x 1 pixels, of unchanged size."""
    return Conv(n_in, n_out, (size, 1), padding=(size // 2, 0))


def mean_pool(x: Tensor) -> Tensor:
    """Mean of 3x3 pixels; padding does not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(nn.Module):
    """35x35."""

    def __init__(self, n_in: int, n_pool: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(n_in, 64, 1)
        self.branch5x5_1 = Conv(n_in, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(n_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(n_in, n_pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, 224 + n_pool, H, W]."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(mean_pool(x))], 1)


class BlockB(nn.Module):
    """35x35 to 17x17."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(n_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(n_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, 480 + n_in, H / 2, W / 2]."""
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17x17, with convolutions of 1x7 and 7x1."""

    def __init__(self, n_in: int, n: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(n_in, 192, 1)
        self.branch7x7_1 = Conv(n_in, n, 1)
        self.branch7x7_2 = wide(n, n, 7)
        self.branch7x7_3 = tall(n, 192, 7)
        self.branch7x7dbl_1 = Conv(n_in, n, 1)
        self.branch7x7dbl_2 = tall(n, n, 7)
        self.branch7x7dbl_3 = wide(n, n, 7)
        self.branch7x7dbl_4 = tall(n, n, 7)
        self.branch7x7dbl_5 = wide(n, 192, 7)
        self.branch_pool = Conv(n_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, 768, H, W]."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(mean_pool(x))], 1)


class BlockD(nn.Module):
    """17x17 to 8x8."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(n_in, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(n_in, 192, 1)
        self.branch7x7x3_2 = wide(192, 192, 7)
        self.branch7x7x3_3 = tall(192, 192, 7)
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, 512 + n_in, H / 2, W / 2]."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8x8; the last one pools by maximum, which the 2015 weights were trained with."""

    def __init__(self, n_in: int, *, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = Conv(n_in, 320, 1)
        self.branch3x3_1 = Conv(n_in, 384, 1)
        self.branch3x3_2a = wide(384, 384, 3)
        self.branch3x3_2b = tall(384, 384, 3)
        self.branch3x3dbl_1 = Conv(n_in, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = wide(384, 384, 3)
        self.branch3x3dbl_3b = tall(384, 384, 3)
        self.branch_pool = Conv(n_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, H, W] to [B, 2048, H, W]."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else mean_pool(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            1,
        )

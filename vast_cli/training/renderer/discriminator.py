"""The renderer's discriminator D (paper Eq. 6): is an image with its mesh images real or rendered?

Hinge loss with spectral norm trains steadier than Eq. 6's logarithms and is the default; `log` is Eq. 6 itself.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Form = Literal["hinge", "log"]


class Discriminator(nn.Module):
    """Patch discriminator on (mesh images, image): [n, 6 + 3, h, w] to logits [n, 1, h / 8, w / 8]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (9, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1)))

    def forward(self, mesh: Tensor, image: Tensor) -> Tensor:
        """Logits of patches; mesh [n, 6, h, w] and image [n, 3, h, w] in [0, 1]."""
        logits: Tensor = self.layers(2 * torch.cat([mesh, image], 1) - 1)
        return logits


def discriminator_loss(real: Tensor, fake: Tensor, *, form: Form = "hinge") -> Tensor:
    """What D minimises: logits of real and rendered images."""
    if form == "log":  # Eq. 6: -log D(M, I) - log(1 - D(M, G))
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_loss(fake: Tensor, *, form: Form = "hinge") -> Tensor:
    """What G minimises of Eq. 6; the logarithm in its non-saturating form."""
    return F.softplus(-fake).mean() if form == "log" else -fake.mean()

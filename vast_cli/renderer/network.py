"""The network G: adds to the textured mesh what a mesh cannot hold (paper 3.4, App. B).

Three stride-2 convolutions lead down to 1/8 of the size; a fusion module of four convolutions takes the speech in; a
gated recurrent layer carries time; two steps of resize + convolution lead up with skips, and a pixel shuffle whose
convolution starts at zero gives the residual. So G begins as the identity on the textured mesh, and neither transposed
convolutions nor a random shuffle leave checkerboards in the mouth.

The recurrent layer's gates see the frame, not the state (a quasi-recurrent layer): the state is a weighted mean of what
frames offered, so it cannot drift. With gates that saw the state, trained on 6 frames, the error on obama_long rose
from 4.6 to 7.0 levels within 60 frames of use.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_INPUT = 10  # base picture (3), mesh images (6), mask (1)
SPEECH_FRAMES = 11  # PPG at the video instants around a frame, +-0.2 s
N_SPEECH = 40


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of G; saved with its weights."""

    half: int = 40  # channels at 1/2 of the size
    quarter: int = 64
    eighth: int = 96


class Network(nn.Module):
    """G: base picture, mesh images and speech to a residual, frame after frame.

    Args:
        config: channels at each size.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.half, config.quarter, config.eighth
        self.down1 = nn.Conv2d(4 * N_INPUT, a, 3, padding=1)  # space to depth, then the first "stride 2"
        self.same1 = nn.Conv2d(a, a, 3, padding=1)
        self.down2 = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.same2 = nn.Conv2d(b, b, 3, padding=1)
        self.down3 = nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.speech = nn.Sequential(nn.Linear(SPEECH_FRAMES * N_SPEECH, c), nn.SiLU(), nn.Linear(c, c))
        self.fusion = nn.ModuleList([nn.Conv2d(2 * c if k == 0 else c, c, 3, padding=1) for k in range(4)])
        self.gate = nn.Conv2d(c, 2 * c, 3, padding=1)
        self.up2 = nn.Conv2d(c + b, b, 3, padding=1)
        self.up1 = nn.Conv2d(b + a, a, 3, padding=1)
        self.last = nn.Conv2d(a, 12, 3, padding=1)
        for layer in self.modules():
            # torch's default shrinks the signal at each layer: speech then moved the picture by .003 levels, not .12
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, picture: Tensor, speech: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Residuals of a run of frames.

        Args:
            picture: [b, n, 10, h, w] in [0, 1]; h and w multiples of 8.
            speech: [b, n, 11, 40], PPG around each frame; zeros where unknown.
            state: [b, c, h / 8, w / 8] from the frames before; None at the start of a video.

        Returns:
            residual [b, n, 3, h, w] in units of the picture, and the state after the last frame.
        """
        b, n = picture.shape[:2]
        x = F.pixel_unshuffle(picture.flatten(0, 1), 2) - 0.5
        half = F.silu(self.same1(F.silu(self.down1(x))))
        quarter = F.silu(self.same2(F.silu(self.down2(half))))
        eighth = F.silu(self.down3(quarter))
        heard = self.speech(speech.flatten(0, 1).flatten(1))
        fused = torch.cat([eighth, heard[:, :, None, None].expand_as(eighth)], 1)
        for layer in self.fusion:
            fused = F.silu(layer(fused))
        fused = fused + eighth
        keep, new = self.gate(fused).chunk(2, 1)
        keep, new = keep.sigmoid().view(b, n, *keep.shape[1:]), new.tanh().view(b, n, *new.shape[1:])
        past = new[:, 0] if state is None else state
        steps = []
        for t in range(n):
            past = torch.lerp(new[:, t], past, keep[:, t])
            steps.append(past)
        time = torch.stack(steps, 1).flatten(0, 1) + fused
        up = F.interpolate(time, scale_factor=2.0, mode="nearest")
        up = F.silu(self.up2(torch.cat([up, quarter], 1)))
        up = F.interpolate(up, scale_factor=2.0, mode="nearest")
        up = F.silu(self.up1(torch.cat([up, half], 1)))
        residual = F.pixel_shuffle(self.last(up), 2)
        return residual.view(b, n, *residual.shape[1:]), past

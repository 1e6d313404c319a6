"""The network G: adds detail to the textured mesh that a mesh cannot represent (paper 3.4, App. B).

Three stride-2 convolutions reduce the size to 1/8, a fusion module of four convolutions adds the speech, and a gated
recurrent layer carries state over time. Two steps of resize + convolution with skips restore the size, and a pixel
shuffle whose convolution is initialised with zeros gives the residual. So G starts as the identity on the textured
mesh, and neither transposed convolutions nor a random shuffle cause checkerboards in the mouth.

The gates of the recurrent layer depend on the frame, not on the state (a quasi-recurrent layer): the state is a
weighted mean of the frames' features, so it cannot drift. With gates that depended on the state, trained on 6 frames,
the error on obama_long rose from 4.6 to 7.0 levels within 60 frames.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_INPUT = 10  # base frame (3), mesh images (6), mask (1)
SPEECH_FRAMES = 11  # PPG frames around a video frame, +-0.1 s
N_SPEECH = 40


@dataclass(frozen=True)
class RendererNetworkConfig:
    """Sizes of G; saved with its weights."""

    half: int = 40  # channels at 1/2 of the size
    quarter: int = 64
    eighth: int = 96


class RendererNetwork(nn.Module):
    """G: base frames, mesh images and speech to residuals, frame by frame.

    Args:
        config: channels at each size.
    """

    def __init__(self, config: RendererNetworkConfig) -> None:
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
            # torch's default shrinks the signal at each layer: speech then changed frames by .003 levels, not .12
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, frames: Tensor, speech: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Residuals of a run of frames.

        Args:
            frames: [b, n, 10, h, w] in [0, 1]; h and w are multiples of 8.
            speech: [b, n, 11, 40], PPG around each frame; zeros if unknown.
            state: [b, c, h / 8, w / 8], state after the frames before; None at the start of a video.

        Returns:
            Residuals [b, n, 3, h, w] in units of the frames, and the state after the last frame.
        """
        b, n = frames.shape[:2]
        x = F.pixel_unshuffle(frames.flatten(0, 1), 2) - 0.5
        half = F.silu(self.same1(F.silu(self.down1(x))))
        quarter = F.silu(self.same2(F.silu(self.down2(half))))
        eighth = F.silu(self.down3(quarter))
        encoded = self.speech(speech.flatten(0, 1).flatten(1))
        fused = torch.cat([eighth, encoded[:, :, None, None].expand_as(eighth)], 1)
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

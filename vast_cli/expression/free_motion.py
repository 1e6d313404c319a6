"""Motion of the lower face that the audio does not explain: smiles that come and go, a mouth that drifts to a side.

D^nar is deterministic, so it gives the mean over all that people do with the same words. The rest is sampled: smooth
noise with the covariance and the pace of what D^nar leaves unexplained, in the units of the style. What lips articulate
(gap, width, protrusion) is taken out: words come from the audio alone.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vast_cli.core.arrays import Float32
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.records import N_STRONG


class FreeMotion(nn.Module):
    """Two first-order filters in a row over white noise, which makes it smooth.

    u_t = keep u_{t-1} + v_t, v_t = keep v_{t-1} + gain factor n_t, n_t ~ N(0, I).

    Args:
        config: sizes.
    """

    keep: Tensor  # [85], pole of both filters
    factor: Tensor  # [85, free], square root of the covariance in normalised units
    speechless: Tensor  # [85, 85], takes out what lips articulate, canonical units

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.register_buffer("keep", torch.zeros(N_STRONG))
        self.register_buffer("factor", torch.zeros(N_STRONG, config.free))
        self.register_buffer("speechless", torch.eye(N_STRONG))

    def start(self) -> Float32:
        """State before the first frame: [2, 85]."""
        return np.zeros((2, N_STRONG), np.float32)

    def sample(self, noise: Float32, state: Float32) -> tuple[Float32, Float32]:
        """Motion [n, 85] in normalised units for `noise` [n, free], and the state after it."""
        keep, factor = self.keep.numpy(), self.factor.numpy()
        # variance of the two filters in a row: (1 + keep^2) / (1 - keep^2)^3
        gain = np.sqrt((1 - keep**2) ** 3 / (1 + keep**2))
        slow, value = state
        pushes = (noise @ factor.T) * gain
        motion = np.empty_like(pushes)
        for t, push in enumerate(pushes):
            slow = keep * slow + push
            value = keep * value + slow
            motion[t] = value
        return motion, np.stack([slow, value])

    def without_articulation(self, motion: Float32) -> Float32:
        """`motion` [n, 85] in canonical units without what lips articulate."""
        result: Float32 = motion @ self.speechless.numpy().T
        return result

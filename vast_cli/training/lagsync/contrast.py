"""Contrast of mouths with audio at other lags and of other clips."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vast_cli.sync.score import MAX_LAG

LAGS = 2 * MAX_LAG + 1
SPANS = (1, 9, 27)  # windows averaged before the choice: one, half a second, the run
SLACK = 0.1  # of the target, on either neighbour of the true lag: offsets are known to a frame


class LagContrast(nn.Module):
    """-log p(the true audio | mouths), p = softmax of s_k mean_k cos over all lags of all runs in the batch.

    The score is a mean over k windows as well; taken before the softmax, it lets an uninformative window have the same
    cosine with everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.3, 2.7, 3.0]))  # logarithms

    def forward(self, mouth: Tensor, audio: Tensor, audio_exists: Tensor, same_clip: Tensor) -> Tensor:
        """The loss.

        Args:
            mouth: [b, w, d], unit vectors.
            audio: [b, w + 30, d]; row 15 + i is the audio of window i.
            audio_exists: [b, w + 30], False beyond the ends of the clip.
            same_clip: [b, b], runs of one clip, the diagonal apart: their audio is no contrast.
        """
        b = len(mouth)
        near = audio.unfold(1, LAGS, 1)  # [c, w, d, lags]
        cosine = torch.einsum("bid,cido->bcio", mouth, near)
        known = audio_exists.unfold(1, LAGS, 1).float()  # [c, w, lags]
        losses = []
        for span, scale in zip(SPANS, self.scale.clamp(max=4.5).exp(), strict=True):
            pooled = F.avg_pool2d(cosine.flatten(0, 1), (span, 1), stride=(max(1, span // 3), 1))
            mean = pooled.reshape(b, b, *pooled.shape[1:])
            whole = F.avg_pool2d(known, (span, 1), stride=(max(1, span // 3), 1)) > 0.999  # [c, n, lags]
            logits = (scale * mean).masked_fill(~whole[None], -1e4).masked_fill(same_clip[:, :, None, None], -1e4)
            losses.append(_lag_loss(logits) + 0.3 * _mouth_loss(logits))
        return torch.stack(losses).mean()


def _lag_loss(logits: Tensor) -> Tensor:
    """Which lag of which run's audio: logits [b, c, n, lags]."""
    b, c, n, lags = logits.shape
    log_p = logits.permute(0, 2, 1, 3).flatten(2).log_softmax(dim=2).reshape(b, n, c, lags)
    own = torch.diagonal(log_p, dim1=0, dim2=2)  # [n, lags, b]
    middle = own[:, MAX_LAG]
    sides = own[:, MAX_LAG - 1 : MAX_LAG + 2 : 2].clamp(min=-20)  # a neighbour beyond the clip's end
    return -((1 - 2 * SLACK) * middle + SLACK * sides.sum(dim=1)).mean()


def _mouth_loss(logits: Tensor) -> Tensor:
    """Which run's mouths belong to the audio at its true lag."""
    log_p = logits[..., MAX_LAG].log_softmax(dim=0)  # [b, c, n]
    return -torch.diagonal(log_p, dim1=0, dim2=1).mean()

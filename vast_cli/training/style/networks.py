"""Style encoder E^p, enhancer E^v and decoder D with their loss, Eq. 2 and our terms, and measures of the lips."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.expression.hybrid import HybridDecoder
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import INNER_LIPS, FaceModel
from vast_cli.records import N_STRONG
from vast_cli.style.encoder import StyleConfig, StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer, kl_divergence
from vast_cli.training.losses.expression import asymmetric, masked_mean, moments, one_minus_correlation
from vast_cli.training.style.batches import StyleBatch
from vast_cli.training.style.corpus import StyleClip

RETURN = 0.93  # a frame: half way back in 0.4 s
MAX_BATCH = 64  # targets; LSTM states are carried for so many
MIN_GAP_SD = 0.05  # canonical units (0.6 % of eye distance): less lip motion is not worth a correlation
SPEECH_DROPOUT = 0.5  # DP of Eq. 3, of whole frames: weak motion must not depend on single phones


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss; each term but the KL is about 1 for a prediction that does not move."""

    strong: float = 1.0  # asymmetric, mesh space, level taken out
    level: float = 0.5  # where the face rests; persons differ in it by more than all their motion
    lips: float = 0.5  # 40 vertices of the lips, on top
    gap: float = 1.0  # inner-lip gap, asymmetric
    follow: float = 0.5  # 1 - r of the gap
    velocity: float = 0.3
    spread: float = 0.5  # how far each component moves, clip by clip
    moments: float = 0.5  # clips without speech
    silence: float = 1.0
    weak: float = 0.5  # -ln p of D^ar a component
    weak_rest: float = 0.5  # components that are not sampled
    kl: float = 0.002  # a nat against the reconstruction error of a window in units of its variance
    free_nats: float = 0.1  # a dimension: below it the KL costs nothing, so the posterior does not collapse


class StyleNetworks(nn.Module):
    """E^p, E^v and D, and their loss."""

    def __init__(
        self, style: StyleConfig, expression: ExpressionConfig, face: FaceModel, centre: Float32, lips: list[int]
    ) -> None:
        super().__init__()
        self.encoder, self.enhancer, self.decoder = StyleEncoder(style), StyleEnhancer(style), HybridDecoder(expression)
        mean, sd = torch.from_numpy(centre), torch.from_numpy(face.sd)
        self.encoder.set_statistics(mean, sd)
        self.decoder.set_statistics(mean, sd)
        basis = torch.from_numpy(face.basis[:N_STRONG].reshape(N_STRONG, -1, 3))
        self.register_buffer("lip_basis", basis[:, lips].reshape(N_STRONG, -1), persistent=False)
        self.register_buffer("gap_basis", basis[:, INNER_LIPS[0], 1] - basis[:, INNER_LIPS[1], 1], persistent=False)
        self.register_buffer("power", torch.ones(4), persistent=False)
        # LSTM states at the end of the step before; part of the checkpoint
        self.register_buffer("carried", torch.zeros(2, MAX_BATCH, expression.hidden))

    def set_power(self, clips: list[StyleClip]) -> None:
        """Measure what the errors of a prediction that does not move would be: strong, lips, gap, velocity."""
        total = np.zeros(4)
        for clip in clips:
            x = clip.expression[:, :N_STRONG]
            moved = x - x.mean(0)
            lips, gap = moved @ self.get_buffer("lip_basis").numpy(), moved @ self.get_buffer("gap_basis").numpy()
            total += [
                (moved**2).sum(1).mean(),
                (lips**2).sum(1).mean(),
                (gap**2).mean(),
                (np.diff(x, axis=0) ** 2).sum(1).mean(),
            ]
        self.get_buffer("power").copy_(torch.from_numpy(total / len(clips)))

    def style(self, batch: StyleBatch) -> tuple[Tensor, Tensor, Tensor]:
        """A sampled style for each prompt [B, d_s], the KL a dimension [B, d_s], the flow's sum of ln |det| [B]."""
        posterior = self.encoder(batch.prompt, batch.prompt_ppg, batch.prompt_known, batch.prompt_mask)
        z0 = posterior.mean + posterior.log_std.exp() * torch.randn_like(posterior.mean)
        style, log_det = self.enhancer(z0, self.enhancer.flow_seed(posterior.h))
        return style, kl_divergence(posterior.mean, posterior.log_std), log_det

    def loss(self, batch: StyleBatch, *, kl_share: float, weights: LossWeights) -> dict[str, Tensor]:
        """The terms, and `loss`, their weighted sum: Eq. 2 with our terms; the KL counts with `kl_share`."""
        style, kl, log_det = self.style(batch)
        predicted = self.decoder.strong(batch.speech, style, batch.mask).float()
        terms = self._strong_terms(predicted, batch)
        terms |= self._weak_terms(style, batch)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), torch.zeros(()))
        free = kl.mean(0).clamp_min(weights.free_nats).sum()
        total = total + weights.kl * kl_share * (
            free - log_det.mean()
        )  # third term of Eq. 2: exactly 0 for reflections
        return terms | {"kl": kl.sum(1).mean(), "loss": total}

    def _strong_terms(self, predicted: Tensor, batch: StyleBatch) -> dict[str, Tensor]:
        power, lip_basis, gap_basis = (
            self.get_buffer("power"),
            self.get_buffer("lip_basis"),
            self.get_buffer("gap_basis"),
        )
        truth, centre = batch.target[..., :N_STRONG], batch.centre[:, None, :N_STRONG]
        # around an inserted run of silence, audio and video do not belong together
        near = nn.functional.max_pool1d(batch.silent[:, None], 9, stride=1, padding=4)[:, 0]
        inside = 1 - nn.functional.max_pool1d(1 - batch.silent[:, None], 9, stride=1, padding=4)[:, 0]
        use = batch.mask * batch.visible * (1 - near) * batch.paired[:, None]
        count = use.sum(1)[:, None, None].clamp_min(1.0)
        level = ((predicted - truth) * use[..., None]).sum(1, keepdim=True) / count
        moved = predicted - level
        gap, gap_truth = predicted @ gap_basis, truth @ gap_basis
        step = (predicted[:, 1:] - predicted[:, :-1]) - (truth[:, 1:] - truth[:, :-1])
        still = predicted[:, 1:] - predicted[:, :-1]
        unpaired = 1 - batch.paired
        spread = moments(moved, truth, use, use, scale=power[0].sqrt())
        apart = moments(
            predicted, batch.target[..., :N_STRONG], batch.mask * (1 - near), batch.visible, scale=power[0].sqrt()
        )
        inside = inside * batch.mask
        shut = masked_mean((gap - batch.closed_gap[:, None]) ** 2, inside) / power[2]
        rest = masked_mean((still**2).sum(-1), inside[:, 1:] * inside[:, :-1]) / power[3]
        return {
            "strong": masked_mean(asymmetric(moved, truth, centre).sum(-1), use) / power[0],
            "level": masked_mean((level**2).sum(-1).expand_as(use), use) / power[0],
            "lips": masked_mean((((moved - truth) @ lip_basis) ** 2).sum(-1), use) / power[1],
            "gap": masked_mean(asymmetric(gap, gap_truth, centre @ gap_basis), use) / power[2],
            "follow": one_minus_correlation(gap, gap_truth, use, least=MIN_GAP_SD),
            "velocity": masked_mean((step**2).sum(-1), use[:, 1:] * use[:, :-1]) / power[3],
            "spread": (spread * batch.paired).sum() / batch.paired.sum().clamp_min(1.0),
            "moments": (apart * unpaired).sum() / unpaired.sum().clamp_min(1.0),
            "silence": shut + rest,
        }

    def _weak_terms(self, style: Tensor, batch: StyleBatch) -> dict[str, Tensor]:
        decoder = self.decoder.ar
        truth = self.decoder.normalise_weak(batch.target)
        n = truth.shape[1]
        # at inference its own past is imperfect: add noise (to half of the clips, or the mixture learns its width)
        size = truth.new_empty(len(truth), 1, 1)
        noise = torch.randn_like(truth) * (size.uniform_(-0.15, 0.15).clamp_min(0))
        # now and then it is off its level: add jumps, from which the target returns by `RETURN` a frame. Without them a
        # run of minutes ended 5 sd away from where it began
        jumps = torch.randn_like(truth) * 3 * torch.rand_like(truth[..., :1])
        jumps = jumps * (torch.rand_like(truth[..., :1]) < 1 / 40) * (size.uniform_(-1, 1) > 0)
        age = torch.arange(n)[:, None] - torch.arange(n)[None]
        off = torch.einsum("tu,bud->btd", torch.where(age >= 0, RETURN ** age.clamp_min(0), 0.0), jumps)
        # half of the clips continue from the end states of the step before, so that long runs meet no unknown states
        carried = self.get_buffer("carried")[:, : len(truth)]
        fresh = (torch.rand_like(truth[:, 0, 0]) < 0.5).float()
        state = tuple(part[None] * (1 - fresh)[None, :, None] for part in carried)
        first = torch.where(fresh[:, None] > 0, decoder.begin(style), truth[:, 0])
        past = torch.cat([first[:, None], truth[:, :-1] + off[:, :-1]], 1) + noise
        truth = torch.cat([truth[:, :1], truth[:, 1:] + RETURN * off[:, :-1]], 1)
        speech = decoder.middle_ppg(batch.previous_speech)
        keep = (torch.rand_like(speech[..., :1]) >= SPEECH_DROPOUT) * batch.paired[:, None, None]  # DP of Eq. 3
        ahead, after = decoder(past, speech * keep, style, state)
        if self.training:
            order = torch.randperm(len(truth))
            self.get_buffer("carried")[:, : len(truth)] = torch.stack(
                [part[0, order].detach().float() for part in after]
            )
        use = batch.mask * batch.visible
        drawn = decoder.config.drawn
        rest = ((ahead.mean - truth)[..., drawn:] * self.decoder.scale[N_STRONG + drawn :]) ** 2
        begin = ((decoder.begin(style) - self.decoder.normalise_weak(batch.target).mean(1)) ** 2).mean()
        return {
            "weak": masked_mean(-ahead.log_likelihood(truth), use) / drawn + 0.1 * begin,
            "weak_rest": masked_mean(rest.sum(-1), use) / (self.decoder.scale[N_STRONG + drawn :] ** 2).sum(),
        }


@torch.inference_mode()
def style_vector(networks: StyleNetworks, clip: StyleClip, part: slice) -> Tensor:
    """s of part of a clip, [1, d_s]; its speech is known if it has audio."""
    expression, weight = clip.expression[part], clip.weight[part]
    ppg = np.zeros((len(expression), records.N_PHONES), np.float32)
    if clip.ppgs:
        ppg = clip.speech(0, clip.n_frames)[part, 2 * records.N_PHONES : 3 * records.N_PHONES] ** 2
    posterior = networks.encoder(
        torch.from_numpy(expression)[None],
        torch.from_numpy(ppg)[None],
        torch.tensor([float(bool(clip.ppgs))]),
        torch.from_numpy(weight)[None],
    )
    style: Tensor = networks.enhancer(posterior.mean, networks.enhancer.flow_seed(posterior.h))[0]
    return style


@torch.inference_mode()
def predicted_gap(
    networks: StyleNetworks, clip: StyleClip, part: slice, style: Tensor, *, speech: StyleClip | None = None
) -> tuple[Float32, Float32]:
    """Predicted and tracked lip gap of part of a clip, driven by its own speech or by another clip's; [n] each."""
    driver = speech or clip
    values = torch.from_numpy(driver.speech(part.start, part.stop))[None]
    strong = networks.decoder.strong(values, style, torch.ones(1, values.shape[1]))[0].numpy()
    gap_basis = networks.get_buffer("gap_basis").numpy()
    return strong @ gap_basis, clip.expression[part, :N_STRONG] @ gap_basis


def whole_gap(networks: StyleNetworks, clip: StyleClip) -> tuple[Float32, Float32]:
    """Predicted and tracked lip gap of a clip in its own style."""
    whole = slice(0, clip.n_frames)
    return predicted_gap(networks, clip, whole, style_vector(networks, clip, whole))

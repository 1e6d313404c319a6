"""Style encoder E^p, enhancer E^v and decoder D with their loss, Eq. 2 and our terms, and measures of the lips."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.expression.hybrid import HybridDecoder, StyleUnits
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import INNER_LIPS, FaceModel
from vast_cli.records import N_STRONG
from vast_cli.style.encoder import NOISE_FLOOR, StyleConfig, StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer, kl_divergence
from vast_cli.style.moments import N_LEVELS, MomentSpace
from vast_cli.training.losses.expression import asymmetric, masked_mean, moments, one_minus_correlation
from vast_cli.training.style.batches import CLOSED_IOD, StyleBatch
from vast_cli.training.style.corpus import StyleClip
from vast_cli.training.style.moments import moment_maps

RETURN = 0.93  # a frame: half way back in 0.4 s
MAX_BATCH = 64  # targets; LSTM states are carried for so many
MIN_GAP_SD = 0.05  # canonical units (0.6 % of eye distance): less lip motion is not worth a correlation
# Savitzky-Golay 5/2, in 35ths: takes out the noise of the tracker, which predictions do not have
SAVITZKY_GOLAY = (-3.0, 12.0, 17.0, 12.0, -3.0)
N_ARRIVING = 12  # components of each decoder whose moments must arrive, the largest ones
ARRIVING = np.r_[0:N_ARRIVING, N_STRONG : N_STRONG + N_ARRIVING]
MIN_ARRIVING = 40  # frames of both windows
SPREAD_SD = 0.35  # of ln spread between clips
LEAST_SPREAD = 0.05  # in units of sd and the tracker's noise
ROLL_OUT = 64  # frames that D^ar runs on its own samples in training
TRUNCATE = 16  # frames that gradients go back in it
MOUTH_CORNERS, OUTER_LIPS = (61, 291), (0, 17)
SPEECH_DROPOUT = 0.5  # DP of Eq. 3, of whole frames: weak motion must not depend on single phones


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss; each term but the KL is about 1 for a prediction that does not move."""

    strong: float = 1.0  # asymmetric, mesh space, level taken out
    level: float = 0.5  # where the face rests; persons differ in it by more than all their motion
    lips: float = 0.5  # 40 vertices of the lips, on top
    gap: float = 1.0  # inner-lip gap, asymmetric
    follow: float = 0.8  # 1 - r of the gap
    velocity: float = 0.3
    shape: float = 0.5  # 1 - r of mouth width and protrusion
    closure: float = 1.0  # lips more open than tracked at P, B, M, F, V
    spread: float = 0.25  # how far each component moves, clip by clip
    arrive: float = 0.8  # level and spread of the target's clip, when another person's speech drives its style
    arrive_weak: float = 0.1  # the same of what D^ar samples on its own
    moments: float = 0.5  # clips without speech
    silence: float = 1.0
    weak: float = 0.5  # -ln p of D^ar a component
    weak_rest: float = 0.5  # components that are not sampled
    under: float = 3.0  # beta of the asymmetric loss; 1: squared error
    kl: float = 0.002  # a nat against the reconstruction error of a window in units of its variance
    free_nats: float = 0.1  # a dimension: below it the KL costs nothing, so the posterior does not collapse


class StyleNetworks(nn.Module):
    """E^p, E^v and D, and their loss."""

    def __init__(
        self,
        style: StyleConfig,
        expression: ExpressionConfig,
        face: FaceModel,
        centre: Float32,
        lips: list[int],
        space: MomentSpace,
    ) -> None:
        super().__init__()
        self.space = space
        self.variational = 1.0  # 0: the mean of the posterior
        self.encoder, self.enhancer, self.decoder = StyleEncoder(style), StyleEnhancer(style), HybridDecoder(expression)
        mean, sd = torch.from_numpy(centre), torch.from_numpy(face.sd)
        self.encoder.set_statistics(mean, sd)
        self.decoder.set_statistics(mean, sd)
        levels, spreads = moment_maps(space, records.N_EXPRESSION)
        self.decoder.levels.copy_(torch.from_numpy(levels))
        self.decoder.spreads.copy_(torch.from_numpy(spreads))
        basis = torch.from_numpy(face.basis[:N_STRONG].reshape(N_STRONG, -1, 3))
        self.register_buffer("lip_basis", basis[:, lips].reshape(N_STRONG, -1), persistent=False)
        self.register_buffer("gap_basis", basis[:, INNER_LIPS[0], 1] - basis[:, INNER_LIPS[1], 1], persistent=False)
        shape_rows = torch.from_numpy(mouth_shape(face)[:, :N_STRONG])
        self.register_buffer("shape_basis", shape_rows.T, persistent=False)  # [85, 2]: width, protrusion
        self.decoder.set_lips(self.get_buffer("gap_basis"), sd[:N_STRONG], closed_gap(face))
        self.decoder.set_lids(torch.from_numpy(space.lid[N_STRONG:]), sd[N_STRONG:])
        floor = (sd**2 + NOISE_FLOOR**2).sqrt()
        self.register_buffer("floor", floor, persistent=False)
        self.register_buffer("level_sd", level_sd(space) / floor[ARRIVING], persistent=False)
        self.register_buffer("power", torch.ones(4), persistent=False)
        # gap, width, protrusion: what a prompt's mouth does is more than its components one by one
        measures = torch.cat([self.get_buffer("gap_basis")[:, None], self.get_buffer("shape_basis")], 1)
        self.register_buffer("measures", measures, persistent=False)  # [85, 3]
        self.register_buffer("measure_sd", torch.ones(2, 3), persistent=False)  # of levels between clips, within clips
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
        shapes = [clip.expression[:, :N_STRONG] @ self.get_buffer("measures").numpy() for clip in clips]
        between, within = np.std([x.mean(0) for x in shapes], axis=0), np.mean([x.std(0) for x in shapes], axis=0)
        self.get_buffer("measure_sd").copy_(torch.from_numpy(np.stack([between, within])))

    def style(self, batch: StyleBatch) -> tuple[Tensor, Tensor, Tensor]:
        """A sampled style for each prompt [B, d_s], the KL a dimension [B, d_z], the flow's sum of ln |det| [B]."""
        posterior = self.encoder(batch.prompt, batch.prompt_ppg, batch.prompt_known, batch.prompt_mask)
        z0 = posterior.mean + self.variational * posterior.log_std.exp() * torch.randn_like(posterior.mean)
        latent, log_det = self.enhancer(z0, self.enhancer.flow_seed(posterior.h))
        moments = batch.moments + batch.moments_std * torch.randn_like(batch.moments)
        return torch.cat([latent, moments], 1), kl_divergence(posterior.mean, posterior.log_std), log_det

    def loss(
        self, batch: StyleBatch, *, kl_share: float, weights: LossWeights, roll_out: bool = True
    ) -> dict[str, Tensor]:
        """The terms, and `loss`, their weighted sum: Eq. 2 with our terms; the KL counts with `kl_share`."""
        style, kl, log_det = self.style(batch)
        units = self.decoder.units(style)
        strong, weak = self.decoder.without_past(batch.speech, units, batch.mask)
        strong = strong.float()
        terms = self._strong_terms(strong, batch, under=weights.under)
        if weights.arrive:
            terms |= self._arrive_term(units, batch)
        if weak is not None:
            terms |= self._weak_regression(weak.float(), batch)
        else:
            terms |= self._weak_terms(units, batch)
            if roll_out and weights.arrive_weak:
                terms |= self._roll_out_term(units, batch)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), torch.zeros(()))
        free = kl.mean(0).clamp_min(weights.free_nats).sum()
        total = total + weights.kl * kl_share * (
            free - log_det.mean()
        )  # third term of Eq. 2: exactly 0 for reflections
        return terms | {"kl": kl.sum(1).mean(), "loss": total}

    def _strong_terms(self, predicted: Tensor, batch: StyleBatch, *, under: float) -> dict[str, Tensor]:
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
            "strong": masked_mean(asymmetric(moved, truth, centre, under=under).sum(-1), use) / power[0],
            "level": masked_mean((level**2).sum(-1).expand_as(use), use) / power[0],
            "lips": masked_mean((((moved - truth) @ lip_basis) ** 2).sum(-1), use) / power[1],
            "gap": masked_mean(asymmetric(gap, gap_truth, centre @ gap_basis, under=under), use) / power[2],
            "follow": one_minus_correlation(gap, gap_truth, use, least=MIN_GAP_SD),
            "shape": self._shape_term(predicted, truth, use),
            "closure": masked_mean((gap - gap_truth).clamp_min(0) ** 2, use * batch.closing) / power[2],
            "velocity": masked_mean((step**2).sum(-1), use[:, 1:] * use[:, :-1]) / power[3],
            "spread": (spread * batch.paired).sum() / batch.paired.sum().clamp_min(1.0),
            "moments": (apart * unpaired).sum() / unpaired.sum().clamp_min(1.0),
            "silence": shut + rest,
        }

    def _shape_term(self, predicted: Tensor, truth: Tensor, use: Tensor) -> Tensor:
        """1 - r of mouth width and of protrusion."""
        p, t = predicted @ self.get_buffer("shape_basis"), truth @ self.get_buffer("shape_basis")
        parts = [one_minus_correlation(p[..., k], t[..., k], use, least=MIN_GAP_SD) for k in range(p.shape[-1])]
        return torch.stack(parts).mean()

    def _arrive_term(self, units: StyleUnits, batch: StyleBatch) -> dict[str, Tensor]:
        """Level and spread of the largest strong components when another target's speech drives the style."""
        half = max(1, len(batch.speech) // 2)  # the other half drives: as good a gradient for half of the time
        units = StyleUnits(*(part[:half] for part in units))
        order = torch.arange(len(batch.speech)).roll(half)[:half]
        mask = batch.mask[order] * (1 - batch.silent[order])
        driven = self.decoder.strong(batch.speech[order], units, mask).float()
        free = (self.decoder.free.factor**2).sum(1) * units.gain[:, :N_STRONG] ** 2  # variance that is sampled on top
        use, n = (batch.mask * batch.visible)[:half], N_ARRIVING
        target = batch.target[:half, :, :n]
        error = self._moment_error(driven[..., :n], target, mask, use, slice(0, n), free=free[:, :n])
        measures, (between, within) = self.get_buffer("measures"), self.get_buffer("measure_sd")
        level, spread = smooth_moments(driven @ measures / within, mask, 0.0)
        level_true, spread_true = smooth_moments(batch.target[:half, :, :N_STRONG] @ measures / within, use, 0.0)
        shape = 0.5 * ((level - level_true) * within / between) ** 2 + ((spread - spread_true) / SPREAD_SD) ** 2
        enough = ((mask.sum(1) >= MIN_ARRIVING) & (use.sum(1) >= MIN_ARRIVING)).float()
        return {"arrive": error + 0.5 * (shape.mean(1) * enough).sum() / enough.sum().clamp_min(1.0)}

    def _roll_out_term(self, units: StyleUnits, batch: StyleBatch) -> dict[str, Tensor]:
        """Level and spread of the largest weak components when D^ar runs on its own samples."""
        decoder, n = self.decoder.ar, ROLL_OUT
        speech = decoder.middle_ppg(batch.previous_speech)
        # from where people are in the middle of a clip: a run that starts at rest must move too much to spread in time
        past, values = self.decoder.normalise_weak(batch.target[:, :1], units)[:, 0], []
        carried = self.get_buffer("carried")[:, : len(speech)]
        state = (carried[:1].clone(), carried[1:].clone())
        random = torch.rand(n, len(speech))
        noise = torch.randn(n, len(speech), decoder.config.drawn)
        for t in range(n):
            if t % TRUNCATE == 0:
                past, state = past.detach(), (state[0].detach(), state[1].detach())
            ahead, state = decoder(past[:, None], speech[:, t : t + 1], units.code, state)
            past = type(ahead)(*(part[:, 0] for part in ahead)).sample(random[t], noise[t])
            values.append(past)
        driven = self.decoder.denormalise_weak(torch.stack(values, 1).float(), units)[..., :N_ARRIVING]
        target = batch.target[..., N_STRONG : N_STRONG + N_ARRIVING]
        ones = torch.ones_like(driven[..., 0])
        use = batch.mask * batch.visible
        return {"arrive_weak": self._moment_error(driven, target, ones, use, slice(N_ARRIVING, 2 * N_ARRIVING))}

    def _moment_error(
        self,
        driven: Tensor,
        target: Tensor,
        mask: Tensor,
        use: Tensor,
        part: slice,
        *,
        free: Tensor | float = 0.0,
    ) -> Tensor:
        """Squared error of level and ln spread, in units of their spread between clips; windows of enough frames."""
        floor, sd = self.get_buffer("floor")[ARRIVING][part], self.get_buffer("level_sd")[part]
        level, spread = smooth_moments(driven / floor, mask, free / floor**2)
        level_true, spread_true = smooth_moments(target / floor, use, 0.0)
        error = 0.5 * ((level - level_true) / sd) ** 2 + ((spread - spread_true) / SPREAD_SD) ** 2
        enough = ((mask.sum(1) >= MIN_ARRIVING) & (use.sum(1) >= MIN_ARRIVING)).float()
        return (error.mean(1) * enough).sum() / enough.sum().clamp_min(1.0)

    def _weak_regression(self, predicted: Tensor, batch: StyleBatch) -> dict[str, Tensor]:
        """The variant without D^ar: squared error."""
        use = batch.mask * batch.visible * batch.paired[:, None]
        error = ((predicted - batch.target[..., N_STRONG:]) ** 2).sum(-1)
        return {"weak": masked_mean(error, use) / (self.decoder.scale[N_STRONG:] ** 2).sum()}

    def _weak_terms(self, units: StyleUnits, batch: StyleBatch) -> dict[str, Tensor]:
        decoder, style = self.decoder.ar, units.code
        truth = self.decoder.normalise_weak(batch.target, units)
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
        begin = ((decoder.begin(style) - self.decoder.normalise_weak(batch.target, units).mean(1)) ** 2).mean()
        return {
            "weak": masked_mean(-ahead.log_likelihood(truth), use) / drawn + 0.1 * begin,
            "weak_rest": masked_mean(rest.sum(-1), use) / (self.decoder.scale[N_STRONG + drawn :] ** 2).sum(),
        }


def smooth_moments(x: Tensor, mask: Tensor, variance: Tensor | float) -> tuple[Tensor, Tensor]:
    """Level and ln spread of each component [B, C] of `x` [B, N, C], low-passed, over the frames of `mask` [B, N].

    `variance` [B, C] of motion that will be added is counted in. The filter (Savitzky-Golay 5/2) takes out the
    tracker's noise, which predictions do not have.
    """
    filter_ = x.new_tensor(SAVITZKY_GOLAY) / 35
    padded = nn.functional.pad(x.transpose(1, 2), (2, 2), mode="replicate")
    smooth = nn.functional.conv1d(padded.reshape(-1, 1, padded.shape[-1]), filter_[None, None])
    smooth = smooth.reshape(x.shape[0], x.shape[2], -1).transpose(1, 2)
    count = mask.sum(1).clamp_min(1.0)[:, None]
    level = (smooth * mask[..., None]).sum(1) / count
    square = ((smooth - level[:, None]) ** 2 * mask[..., None]).sum(1) / count
    return level, 0.5 * (square + variance + LEAST_SPREAD**2).log()


def mouth_shape(face: FaceModel) -> Float32:
    """Mouth width and protrusion of the lips as linear functions of expression, [2, 233], canonical units."""
    basis = face.basis.reshape(len(face.basis), -1, 3)
    left, right = MOUTH_CORNERS
    up, low = OUTER_LIPS
    width = basis[:, right, 0] - basis[:, left, 0]
    protrusion = (basis[:, up, 2] + basis[:, low, 2] - basis[:, left, 2] - basis[:, right, 2]) / 2
    rows: Float32 = np.stack([width, protrusion]).astype(np.float32)
    return rows


def closed_gap(face: FaceModel) -> float:
    """The linear lip gap of expression at which the mean face's lips are closed."""
    return float(CLOSED_IOD * face.iod - (face.v_bar[INNER_LIPS[0], 1] - face.v_bar[INNER_LIPS[1], 1]))


def level_sd(space: MomentSpace) -> Tensor:
    """Sd between clips of the levels of `ARRIVING`, canonical units."""
    levels = np.sqrt(np.diag(space.style + space.between))
    return torch.from_numpy(np.r_[levels[:N_ARRIVING], levels[N_LEVELS : N_LEVELS + N_ARRIVING]].astype(np.float32))


@torch.inference_mode()
def style_vector(networks: StyleNetworks, clip: StyleClip, part: slice) -> Tensor:
    """s of part of a clip, [1, d_s]; its speech is known if it has audio."""
    expression, weight = clip.as_tracked(part), clip.weight[part]
    moments, _, person = networks.space.split(networks.space.measure(expression, weight > 0))
    expression = expression - person
    ppg = np.zeros((len(expression), records.N_PHONES), np.float32)
    if clip.ppgs:
        ppg = clip.speech(0, clip.n_frames)[part, 2 * records.N_PHONES : 3 * records.N_PHONES] ** 2
    posterior = networks.encoder(
        torch.from_numpy(expression)[None],
        torch.from_numpy(ppg)[None],
        torch.tensor([float(bool(clip.ppgs))]),
        torch.from_numpy(weight)[None],
    )
    latent: Tensor = networks.enhancer(posterior.mean, networks.enhancer.flow_seed(posterior.h))[0]
    return torch.cat([latent, torch.from_numpy(moments)[None]], 1)


@torch.inference_mode()
def predicted_gap(
    networks: StyleNetworks, clip: StyleClip, part: slice, style: Tensor, *, speech: StyleClip | None = None
) -> tuple[Float32, Float32]:
    """Predicted and tracked lip gap of part of a clip, driven by its own speech or by another clip's; [n] each."""
    driver = speech or clip
    values = torch.from_numpy(driver.speech(part.start, part.stop))[None]
    strong = networks.decoder.strong(values, networks.decoder.units(style), torch.ones(1, values.shape[1]))[0].numpy()
    gap_basis = networks.get_buffer("gap_basis").numpy()
    return strong @ gap_basis, clip.expression[part, :N_STRONG] @ gap_basis


def whole_gap(networks: StyleNetworks, clip: StyleClip) -> tuple[Float32, Float32]:
    """Predicted and tracked lip gap of a clip in its own style."""
    whole = slice(0, clip.n_frames)
    return predicted_gap(networks, clip, whole, style_vector(networks, clip, whole))

"""Measures the motion of the lower face that D^nar leaves unexplained: covariance and pace of `FreeMotion`."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vast_cli.core.arrays import Float32, Float64
from vast_cli.records import N_STRONG
from vast_cli.training.style.corpus import StyleClip
from vast_cli.training.style.networks import SAVITZKY_GOLAY, StyleNetworks, style_vector

log = logging.getLogger(__name__)
MIN_FRAMES = 75
N_CLIPS = 80  # enough for the covariance of the large components
MAX_SHARE = 0.35  # of the variance of a component that is free in training: D^nar explains the rest
MAX_COMPLETED, MAX_SCALE = 0.6, 2.5  # the same at the end, and how far it may grow
SMOOTH = np.array(SAVITZKY_GOLAY) / 35
LAG = 5  # frames, at which the pace is read
FASTEST, SLOWEST = 0.5, 0.95  # poles


class Motions(NamedTuple):
    """Motion of a clip about its mean, smoothed, without articulation, in the units of its style, [n, 85] each."""

    tracked: Float64
    predicted: Float64
    unexplained: Float64


def fit_free_motion(networks: StyleNetworks, clips: Sequence[StyleClip]) -> None:
    """Set the decoder's `FreeMotion` from what it leaves unexplained on clips in sync, in their own style."""
    networks.eval()
    free = networks.decoder.free
    free.speechless.copy_(torch.from_numpy(speechless(networks)))
    motions = _motions(networks, clips)
    if not motions:
        return
    rest = [motion.unexplained for motion in motions]
    covariance = np.mean([x.T @ x / len(x) for x in rest], axis=0)
    lagged = np.mean([(x[LAG:] * x[:-LAG]).mean(0) for x in rest], axis=0)
    r = np.clip(lagged / np.maximum(np.diag(covariance), 1e-9), 0.05, 0.99)
    # D^nar is asked to move as far as people do, so what it gets wrong is counted twice in the residual
    whole = np.mean([(motion.tracked**2).mean(0) for motion in motions], axis=0)
    share = np.sqrt(np.minimum(1.0, MAX_SHARE * whole / np.maximum(np.diag(covariance), 1e-9)))
    values, vectors = np.linalg.eigh(covariance * share[:, None] * share)
    keep = np.argsort(-values)[: free.factor.shape[1]]
    factor = vectors[:, keep] * np.sqrt(np.maximum(values[keep], 0))
    free.factor.copy_(torch.from_numpy(factor.astype(np.float32)))
    free.keep.copy_(torch.from_numpy(pole_of(r).astype(np.float32)))
    log.info("free motion: %.2f of the sd of a strong component", float(np.sqrt((factor[:12] ** 2).sum(1).mean())))


def complete_free_motion(networks: StyleNetworks, clips: Sequence[StyleClip]) -> None:
    """At the end of a training, scale the free motion of each component to what D^nar still moves too little."""
    networks.eval()
    free, motions = networks.decoder.free, _motions(networks, clips)
    if not motions:
        return
    tracked = np.mean([(motion.tracked**2).mean(0) for motion in motions], axis=0)
    predicted = np.mean([(motion.predicted**2).mean(0) for motion in motions], axis=0)
    missing = np.clip(tracked - predicted, 0.0, MAX_COMPLETED * tracked)
    present = (free.factor.numpy() ** 2).sum(1)
    scale = np.sqrt(missing / np.maximum(present, 1e-9)).clip(0, MAX_SCALE)
    free.factor.mul_(torch.from_numpy(scale.astype(np.float32))[:, None])
    log.info("free motion completed: %s", np.round(scale[:12], 2).tolist())


def _motions(networks: StyleNetworks, clips: Sequence[StyleClip]) -> list[Motions]:
    chosen = [clip for clip in clips if clip.in_sync and clip.n_frames >= MIN_FRAMES and clip.set in ("talk", "mead")]
    return [_motion(networks, clip) for clip in chosen[:: max(1, len(chosen) // N_CLIPS)]]


def pole_of(r: Float64) -> Float64:
    """Pole of two equal first-order filters in a row whose autocorrelation after `LAG` frames is r."""
    poles = np.linspace(FASTEST, SLOWEST, 91)
    # autocorrelation of the two: keep^lag (1 + lag (1 - keep^2) / (1 + keep^2))
    curve = poles**LAG * (1 + LAG * (1 - poles**2) / (1 + poles**2))
    result: Float64 = np.interp(r, curve, poles)
    return result


def speechless(networks: StyleNetworks) -> Float32:
    """Projection [85, 85] that takes gap, width and protrusion out of strong components."""
    rows = torch.cat([networks.get_buffer("gap_basis")[None], networks.get_buffer("shape_basis").T]).numpy()
    inverse = np.linalg.pinv(rows)
    projection: Float32 = (np.eye(N_STRONG) - inverse @ rows).astype(np.float32)
    return projection


@torch.inference_mode()
def _motion(networks: StyleNetworks, clip: StyleClip) -> Motions:
    units = networks.decoder.units(style_vector(networks, clip, slice(0, clip.n_frames)))
    speech = torch.from_numpy(clip.speech(0, clip.n_frames))[None]
    predicted = networks.decoder.strong(speech, units, torch.ones(1, clip.n_frames))[0].numpy()
    tracked = clip.expression[:, :N_STRONG]
    parts = []
    for x in (tracked, predicted, tracked - predicted):
        moved = x[clip.weight > 0]
        moved = networks.decoder.free.without_articulation(moved - moved.mean(0)) / units.gain[0, :N_STRONG].numpy()
        parts.append(np.apply_along_axis(np.convolve, 0, moved.astype(np.float64), SMOOTH, "valid"))
    return Motions(*parts)

"""The style space: encodes prompts, interpolates, mixes and samples styles (paper 3.1, 3.2)."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vast_cli.core.arrays import Float32, Int64
from vast_cli.core.errors import VastError
from vast_cli.records import FaceTrack, Posteriorgram, Style
from vast_cli.store import assets
from vast_cli.store.weights import MOMENTS, STYLE_ENCODER, STYLE_ENHANCER, STYLE_MODEL, Weights
from vast_cli.style.encoder import StyleConfig, StyleEncoder
from vast_cli.style.enhancer import StyleEnhancer
from vast_cli.style.moments import N_MOMENTS, MomentSpace, head_motion

MAX_FRAMES = 7500  # 5 minutes; a longer prompt is represented by evenly spaced segments of this total
SEGMENT = 250  # frames of such a segment


@dataclass(frozen=True)
class StyleModel:
    """E^p, E^v and the space of moments, loaded."""

    config: StyleConfig
    encoder: StyleEncoder
    enhancer: StyleEnhancer
    moments: MomentSpace
    hash: str
    face_model_hash: str
    acoustic_model_hash: str

    @property
    def d_style(self) -> int:
        """Size of a style s = (z, q)."""
        return self.config.d_style + N_MOMENTS


def load_style_model(path: Path | None = None) -> StyleModel:
    """Read E^p and E^v from the shipped weights, or from a file of the same format.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`, `vast_record_invalid`, `vast_record_version`.
    """
    return STYLE_MODEL.load(assets.find("style") if path is None else path, _build_style_model)


def _build_style_model(weights: Weights) -> StyleModel:
    config = StyleConfig(**weights.header["style"])
    encoder, enhancer = StyleEncoder(config), StyleEnhancer(config)
    for prefix, network in ((STYLE_ENCODER, encoder), (STYLE_ENHANCER, enhancer)):
        network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.network_state(prefix).items()})
    return StyleModel(
        config,
        encoder.eval(),
        enhancer.eval(),
        MomentSpace(**weights.network_state(MOMENTS), person=float(weights.header["person"])),
        hash=weights.sha256[:16],
        face_model_hash=str(weights.header["face_model_hash"]),
        acoustic_model_hash=str(weights.header["acoustic_model_hash"]),
    )


def encode_style(track: FaceTrack, model: StyleModel, *, ppg: Posteriorgram | None = None) -> Style:
    """Style of a prompt of any length.

    Args:
        track: face track of the prompt; frames that are not valid are ignored.
        model: from `load_style_model`.
        ppg: speech of the prompt; None if it has no audio: the speech is then masked as unknown, as in training.

    Returns:
        The posterior, the moments, and s = (z, q): their means, z after the flow (`sample` gives other points).

    Raises:
        VastError: `vast_face_lost` without a valid frame, `vast_model_mismatch` for a track or speech of other models,
            `vast_non_finite` if the network fails.
    """
    if track.model_hash != model.face_model_hash:
        raise VastError(
            "vast_model_mismatch",
            f"the track of `{track.source}` was made with another face model than the style model's",
        )
    if ppg is not None and ppg.model_hash != model.acoustic_model_hash:
        raise VastError(
            "vast_model_mismatch",
            f"the speech of `{track.source}` was extracted with another acoustic model than the style model's",
        )
    if not track.valid.any():
        raise VastError("vast_face_lost", f"`{track.source}` has no frame with a face to encode a style from")
    selected = _select_frames(track)
    valid = track.valid[selected]
    if ppg is not None and len(ppg.values) == 0:
        ppg = None
    speech = (
        np.zeros((len(selected), model.config.n_ppg), np.float32)
        if ppg is None
        else ppg.at_video(0, track.n_frames)[selected]
    )
    expression = track.expression[selected]
    moments, moments_std, person = model.moments.split(model.moments.measure(expression, valid))
    with torch.inference_mode():
        posterior = model.encoder(
            torch.from_numpy(expression - person)[None],
            torch.from_numpy(speech)[None],
            torch.tensor([0.0 if ppg is None else 1.0]),
            torch.from_numpy(valid.astype(np.float32))[None],
        )
        seed = model.enhancer.flow_seed(posterior.h)
        latent, _ = model.enhancer(posterior.mean, seed)
    vector = np.concatenate([latent[0].numpy(), moments])
    if not np.isfinite(vector).all():
        raise VastError("vast_non_finite", f"the style encoder returned NaN or infinity for `{track.source}`")
    return Style(
        mean=posterior.mean[0].numpy(),
        log_std=posterior.log_std[0].numpy(),
        flow_seed=seed[0].numpy(),
        moments=moments,
        moments_std=moments_std,
        vector=vector,
        head=head_motion(track),
        source=track.source,
        n_frames=int(valid.sum()),
        speech_known=ppg is not None,
        model_hash=model.hash,
    )


def person_part(track: FaceTrack, model: StyleModel) -> Float32:
    """What a person's level differs from others' by beside style: expression [233], which the decoder never sees.

    An avatar adds its own to what is predicted for it, so that it rests as its person does.
    """
    selected = _select_frames(track)
    moments = model.moments.measure(track.expression[selected], track.valid[selected])
    return model.moments.split(moments)[2]


def _select_frames(track: FaceTrack) -> Int64:
    """Frames to use: all, or evenly spaced segments that add up to `MAX_FRAMES`; with a face if there is one."""
    n_frames = track.n_frames
    if n_frames <= MAX_FRAMES:
        return np.arange(n_frames, dtype=np.int64)
    starts = np.linspace(0, n_frames - SEGMENT, MAX_FRAMES // SEGMENT).astype(np.int64)
    selected: Int64 = (starts[:, None] + np.arange(SEGMENT)).reshape(-1)
    if not track.valid[selected].any():  # the segments missed the few frames with a face
        selected = np.flatnonzero(track.valid)[:MAX_FRAMES]
    return selected


def sample(style: Style, model: StyleModel, *, seed: int, temperature: float = 1.0) -> Style:
    """Another style of the same prompt: z0 sampled from the posterior, after the flow, and q within what is sure of it.

    The flow is orthogonal given the clip, so the noise goes through it by itself and `style` may be a mixture.

    Args:
        style: from `encode_style` or `mix_styles`.
        model: the model that encoded it.
        seed: of the random generator; equal seeds give equal styles.
        temperature: factor on the standard deviations; 0 gives the style itself.

    Raises:
        VastError: `vast_model_mismatch`.
    """
    if style.model_hash != model.hash:
        raise VastError("vast_model_mismatch", f"the style of `{style.source}` was made with another model")
    random = np.random.default_rng(seed)
    noise = random.standard_normal(len(style.mean)).astype(np.float32) * np.exp(style.log_std)
    with torch.inference_mode():
        turned, _ = model.enhancer(torch.from_numpy(noise)[None], torch.from_numpy(style.flow_seed)[None])
    moved = random.standard_normal(len(style.moments)).astype(np.float32) * style.moments_std
    offset = np.concatenate([turned[0].numpy(), moved])
    return dataclasses.replace(style, vector=style.vector + np.float32(temperature) * offset)


def sample_prior(size: int, *, seed: int) -> Float32:
    """A random style: s [size] from the prior N(0, I)."""
    vector: Float32 = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    return vector


def interpolate(neutral: Float32, vector: Float32, strength: float) -> Float32:
    """Style at a strength: 0 is `neutral` [d_s] (the avatar's own), 1 is `vector` [d_s], above 1 exaggerates."""
    result: Float32 = (neutral + np.float32(strength) * (vector - neutral)).astype(np.float32)
    return result


def mix(vectors: list[Float32], weights: list[float]) -> Float32:
    """Weighted mean of style vectors, [d_s] each; the weights are divided by their sum.

    Raises:
        VastError: `vast_option_invalid` for weights that are not one finite number per style with a positive sum.
    """
    if not vectors or len(vectors) != len(weights) or not all(np.isfinite(weights)) or sum(weights) <= 0:
        raise VastError(
            "vast_option_invalid", "weights of styles must be finite numbers, one per style, with a positive sum"
        )
    share = np.asarray(weights, np.float64) / sum(weights)
    mixed: Float32 = np.einsum("k,kd->d", share, np.stack(vectors)).astype(np.float32)
    return mixed


def mix_styles(parts: list[Style], weights: list[float]) -> Style:
    """A style between others: their weighted mean; what `sample` adds to it is that of the heaviest.

    Args:
        parts: styles of one model.
        weights: one a style; they are divided by their sum.

    Raises:
        VastError: `vast_option_invalid` as in `mix`, `vast_model_mismatch` for styles of several models.
    """
    if len({part.model_hash for part in parts}) > 1:
        raise VastError("vast_model_mismatch", "styles of different models cannot be mixed")
    vector = mix([part.vector for part in parts], weights)
    first = parts[int(np.argmax(weights))]
    return dataclasses.replace(
        first,
        vector=vector,
        moments=vector[len(first.mean) :],
        head=np.average([part.head for part in parts], axis=0, weights=weights).astype(np.float32),
        source=" + ".join(part.source for part in parts),
        n_frames=sum(part.n_frames for part in parts),
    )

"""Learn the face model's expression basis and neutral operator from tracked clips.

Everything comes from one matrix: the covariance C of stabilised meshes around their clip's mean. Split PCA: the lower
face's rows are the PCA of w * D, the upper face's of (1 - w) * D, so their covariances are W C W. Mirrored copies of
all meshes count too, which makes components symmetric.

The frame of reference stays that of the base model: mean face, vertices of bone, weights of the lower face, identity
prior (ICT-FaceKit's identity shapes). Only statistics of clips enter the weights, no image and no single face.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vast_cli import records
from vast_cli.core.arrays import Float32, Float64, Int64
from vast_cli.core.errors import VastError
from vast_cli.face import fit, smooth
from vast_cli.face.landmark_track import LandmarkTrack
from vast_cli.face.model import FORMAT, VERSION, FaceModel
from vast_cli.face.topology import Topology
from vast_cli.training.corpora import CorpusClip, read_index
from vast_cli.training.tracks import cached_landmarks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceModelSettings:
    """How clips are weighted, which components are strong, and what the neutral operator assumes."""

    min_run: int = 12  # frames; shorter runs have no mean worth the name
    anchor_frames: int = 48  # a shorter run has too few frames for an anchor
    clip_frames: float = 130.0  # a clip counts as this many frames at most
    speaker_frames: float = 1000.0  # a speaker counts as this many frames at most
    speaker_clips: float = 6.0  # differences between a speaker's clips count as this many at most
    # %IOD, the paper's rule: how far 3 sd move a mouth vertex; here 0.029 or more, and 0
    strong_threshold: float = 0.005
    identity_noise: float = 0.006  # IOD, per coordinate
    style_factor: float = 3.0  # of the covariance between a person's clips in S_e
    neutral_rank: int = 96  # of the neutral operator


DEFAULTS = FaceModelSettings()


@dataclass
class SpeakerStatistics:
    """Running sums over a speaker's clips."""

    products: Float64  # [1434, 1434]
    counted: float = 0.0  # frames in `products`
    n_clips: int = 0
    n_frames: int = 0
    anchors: list[Float64] = field(default_factory=list)  # [1434] of each clip that is long enough


@dataclass(frozen=True)
class LearnedBasis:
    """Components and neutral operator."""

    rows: Float64  # [233, 1434]
    sd: Float64  # [233]
    n_strong: int
    left: Float64  # [1434, 96]
    right: Float64  # [96, 1434]


def train_face_model(
    corpus: Path,
    output: Path,
    *,
    seed: int,
    landmarks_cache: Path,
    base: Path | None = None,
    weights: Path | None = None,
    settings: FaceModelSettings = DEFAULTS,
) -> dict[str, Any]:
    """Learn a face model from the `train` clips of a corpus and write it to `output`.

    Args:
        corpus: folder of `index.csv`.
        output: the weights file.
        seed: kept in the header; nothing here is random.
        landmarks_cache: folder of `LandmarkTrack` files; missing ones are tracked and written there.
        base: model that gives the frame of reference and the identity prior; the shipped one if not given.
        weights: folder of the tracker's networks.
        settings: weights of clips and speakers, thresholds.

    Returns:
        What was used and how far the result is from the base model.
    """
    model = FaceModel.load(base)
    topology = Topology.load(*(None if weights is None else weights / n for n in ("topology.npz", "index_sets.json")))
    clips = training_clips(read_index(corpus))
    speakers = collect_statistics(clips, model, landmarks_cache=landmarks_cache, weights=weights, settings=settings)
    basis = learn_basis(
        with_mirror(pooled_covariance(speakers, settings), topology),
        with_mirror(style_covariance(speakers, settings), topology),
        model,
        mouth=np.concatenate([topology.sets["lips_outer"], topology.sets["lips_inner"]]),
        settings=settings,
    )
    report = {
        "clips": sum(s.n_clips for s in speakers.values()),
        "speakers": len(speakers),
        "frames": sum(s.n_frames for s in speakers.values()),
        **compare_with_base(basis, model),
    }
    _save(output, basis, model, seed=seed, report=report)
    return report


def _save(output: Path, basis: LearnedBasis, base: FaceModel, *, seed: int, report: dict[str, Any]) -> None:
    tensors = {
        "v_bar": base.v_bar,
        "basis": basis.rows.astype(np.float32),
        "sd": basis.sd.astype(np.float32),
        "identity_basis": base.identity_basis,
        "identity_sd": base.identity_sd,
        "mean_expression_left": basis.left.astype(np.float32),
        "mean_expression_right": basis.right.astype(np.float32),
        "w_rigid": base.w_rigid,
        "w_mouth": base.w_mouth,
    }
    header = {
        "n_strong": basis.n_strong,
        "iod": base.iod,
        "unit": "canonical",
        "seed": seed,
        "base": base.hash,
        "training": report,
    }
    records.save_tensors(output, tensors, kind=FORMAT, version=VERSION, header=header)


def training_clips(clips: list[CorpusClip]) -> list[CorpusClip]:
    """`train` clips; of a recording that is in several sets, the avatar's copy is left out."""
    elsewhere = {c.source for c in clips if c.set != "avatar"}
    return [c for c in clips if c.split == "train" and not (c.set == "avatar" and c.source in elsewhere)]


def deviations(
    track: LandmarkTrack, model: FaceModel, *, min_run: int = DEFAULTS.min_run
) -> Iterator[tuple[Float32, Float32]]:
    """For each run of valid frames: meshes around their mean, filtered (5/2) [n, 1434], and its anchor [478, 3]."""
    for run in fit.runs(track, model):
        if len(run) < min_run:
            continue
        points = track.points[run]
        target = model.v_bar
        for _ in range(2):  # to the clip's own mean instead of a neutral mesh: nothing learned before enters
            meshes, _ = model.stabilise(points, target)
            target = meshes.mean(0)
        meshes, _ = model.stabilise(points, target)
        around = (meshes - meshes.mean(0)).reshape(len(run), -1)
        yield smooth.savgol(around, smooth.WEAK_WINDOW), model.anchor(meshes)


def collect_statistics(
    clips: list[CorpusClip],
    model: FaceModel,
    *,
    landmarks_cache: Path,
    weights: Path | None = None,
    settings: FaceModelSettings = DEFAULTS,
) -> dict[str, SpeakerStatistics]:
    """Sums over the clips of each speaker; long clips count as `clip_frames`.

    Raises:
        VastError: `vast_input_missing` if no clip could be tracked.
    """
    speakers: dict[str, SpeakerStatistics] = {}
    for clip in clips:
        try:
            track = cached_landmarks(clip, landmarks_cache, face=model, weights=weights)
        except VastError as error:
            log.warning("%s is left out: %s", clip.name, error.message)
            continue
        parts = list(deviations(track, model, min_run=settings.min_run))
        n = sum(len(d) for d, _ in parts)
        if n == 0:
            continue
        # float32 products are exact enough (relative 1e-6) and four times as fast
        products = np.asarray(sum((d.T @ d).astype(np.float64) for d, _ in parts))
        speaker = speakers.setdefault(clip.speaker, SpeakerStatistics(np.zeros_like(products)))
        speaker.n_clips += 1
        speaker.n_frames += n
        speaker.counted += min(n, settings.clip_frames)
        speaker.products += products * (min(n, settings.clip_frames) / n)
        longest, anchor = max(parts, key=lambda part: len(part[0]))
        if len(longest) >= settings.anchor_frames:
            speaker.anchors.append(anchor.reshape(-1).astype(np.float64))
    if not speakers:
        raise VastError("vast_input_missing", "no clip of the corpus could be used")
    return speakers


def pooled_covariance(speakers: dict[str, SpeakerStatistics], settings: FaceModelSettings = DEFAULTS) -> Float64:
    """Covariance [1434, 1434] of meshes around their clip's mean; a speaker counts as `speaker_frames` at most."""
    shares = {name: min(1.0, settings.speaker_frames / s.counted) for name, s in speakers.items()}
    total = sum(s.products * shares[name] for name, s in speakers.items())
    count = sum(s.counted * shares[name] for name, s in speakers.items())
    return np.asarray(total / count)


def style_covariance(speakers: dict[str, SpeakerStatistics], settings: FaceModelSettings = DEFAULTS) -> Float64:
    """Covariance of the anchors of a speaker's clips around the speaker's mean: how style varies in one person."""
    total, count = 0.0, 0.0
    for speaker in speakers.values():
        freedom = len(speaker.anchors) - 1
        if freedom < 1:
            continue
        offsets = np.stack(speaker.anchors)
        offsets -= offsets.mean(0)
        share = min(1.0, settings.speaker_clips / freedom)
        total = total + share * (offsets.T @ offsets)
        count += share * freedom
    if not count:
        raise VastError("vast_input_missing", "no speaker of the corpus has two clips")
    return np.asarray(total / count)


def with_mirror(covariance: Float64, topology: Topology) -> Float64:
    """Covariance of the meshes and their mirrored copies."""
    index = (3 * topology.mirror[:, None] + np.arange(3)).reshape(-1)
    sign = np.tile([-1.0, 1.0, 1.0], len(topology.mirror))
    mirrored = covariance[np.ix_(index, index)] * sign[:, None] * sign
    result: Float64 = 0.5 * (covariance + mirrored)
    return result


def learn_basis(
    covariance: Float64,
    between_clips: Float64,
    model: FaceModel,
    *,
    mouth: Int64,
    settings: FaceModelSettings = DEFAULTS,
) -> LearnedBasis:
    """Split PCA, the paper's rule (3.3) for speech-strongly-related components, and the neutral operator.

    Args:
        covariance: [1434, 1434], within clips, canonical units.
        between_clips: [1434, 1434], between a person's clips (`style_covariance`).
        model: gives the weights of the lower face and the identity prior.
        mouth: vertices whose motion decides what is strong.
        settings: threshold of the rule, and of the neutral operator.

    Raises:
        VastError: `vast_record_invalid` if the rule does not give the paper's 85 and 148.
    """
    w = np.repeat(model.w_mouth.astype(np.float64), 3)
    lower, lower_sd = principal_components(w[:, None] * covariance * w, records.N_STRONG)
    upper, upper_sd = principal_components((1 - w)[:, None] * covariance * (1 - w), records.N_WEAK)
    rows, sd = np.concatenate([lower, upper]), np.concatenate([lower_sd, upper_sd])
    strong = mouth_offset(rows, sd, mouth, iod=model.iod) > settings.strong_threshold
    n_strong = int(strong.sum())
    if n_strong != records.N_STRONG or not strong[:n_strong].all():
        raise VastError(
            "vast_record_invalid", f"the rule makes {n_strong} components strong, the paper has {records.N_STRONG}"
        )
    left, right = neutral_operator(covariance + settings.style_factor * between_clips, model, settings)
    return LearnedBasis(rows, sd, n_strong, left, right)


def principal_components(covariance: Float64, n: int) -> tuple[Float64, Float64]:
    """First `n` principal components [n, d], largest entry positive, and standard deviations [n]."""
    values, vectors = np.linalg.eigh(covariance)
    rows = vectors[:, ::-1][:, :n].T
    size = np.abs(rows)
    # symmetric components have their largest entry twice: the first of the near-largest decides
    first = np.argmax(size > 0.999 * size.max(1, keepdims=True), axis=1)
    rows = rows * np.sign(rows[np.arange(n), first])[:, None]
    return rows, np.sqrt(np.maximum(values[::-1][:n], 0))


def mouth_offset(rows: Float64, sd: Float64, mouth: Int64, *, iod: float) -> Float64:
    """[n], how far 3 standard deviations of each component move the mouth vertex that moves most, %IOD."""
    offsets = np.linalg.norm(rows.reshape(len(rows), -1, 3)[:, mouth], axis=2).max(1)
    result: Float64 = 100 * 3 * sd * offsets / iod
    return result


def neutral_operator(
    expression: Float64, model: FaceModel, settings: FaceModelSettings = DEFAULTS
) -> tuple[Float64, Float64]:
    """Factors of G = S_e (S_i + S_e)^-1, the expression in the difference of a clip's anchor and the mean face.

    S_e is the covariance within clips and between the clips of a person; without the latter (a first version had 2 x
    within clips) neutral meshes of an unseen actor's emotions lay 14 % further apart, compared with those of different
    persons. S_i is the covariance between identities: 80 components and a floor.
    """
    shapes = model.identity_basis.astype(np.float64) * model.identity_sd[:, None]
    identity = shapes.T @ shapes + (settings.identity_noise * model.iod) ** 2 * np.eye(len(expression))
    operator = np.linalg.solve(identity + expression, expression).T
    u, s, vt = np.linalg.svd(operator)
    root = np.sqrt(s[: settings.neutral_rank])
    return u[:, : settings.neutral_rank] * root, root[:, None] * vt[: settings.neutral_rank]


def compare_with_base(basis: LearnedBasis, base: FaceModel) -> dict[str, float]:
    """How much of the base model's components, weighted by their variance, lies in the span of the learned ones."""
    n = basis.n_strong
    shares = {}
    for name, rows, others in (
        ("strong", slice(0, n), slice(0, base.n_strong)),
        ("weak", slice(n, None), slice(base.n_strong, None)),
    ):
        shapes = base.basis[others].astype(np.float64) * base.sd[others, None]
        inside = shapes @ basis.rows[rows].T
        shares[f"base_{name}_explained"] = round(float(np.square(inside).sum() / np.square(shapes).sum()), 5)
    first = np.abs(np.einsum("ij,ij->i", basis.rows[:6], base.basis[:6].astype(np.float64)))
    shares["first_six_cosine"] = round(float(first.mean()), 3)
    return shares

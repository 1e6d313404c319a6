"""Train style encoder, enhancer and hybrid decoder together (paper 3.1-3.3, Eq. 2)."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vast_cli.core.errors import VastError
from vast_cli.core.text import human_size
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.store.weights import DECODER, MOMENTS, STYLE_ENCODER, STYLE_ENHANCER, STYLE_MODEL
from vast_cli.style.encoder import StyleConfig
from vast_cli.style.moments import MomentSpace
from vast_cli.training.checkpoint import fingerprint
from vast_cli.training.loop import Figures, Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.optimisation import has_bf16_instructions, scaled_cosine, weight_decay_groups
from vast_cli.training.style.audio import cached_posteriorgrams, correlation, refine_shifts
from vast_cli.training.style.batches import StyleBatches
from vast_cli.training.style.corpus import StyleClip, halves, load_clips, mirror_matrix, person_directions, split_dev
from vast_cli.training.style.free_motion import complete_free_motion, fit_free_motion
from vast_cli.training.style.moments import fit_moment_space
from vast_cli.training.style.networks import (
    MAX_BATCH,
    LossWeights,
    StyleNetworks,
    predicted_gap,
    style_vector,
    whole_gap,
)
from vast_cli.training.style.variants import samples_style

log = logging.getLogger(__name__)
FULL_PRECISION = ("centre", "scale", "levels", "spreads", "gap", "closing", "closed_gap", "lids", "closing_lids")


@dataclass(frozen=True)
class StyleTrainingSettings:
    """How the style model is trained; the defaults are those of the shipped weights."""

    steps: int = 1600
    batch: int = 16  # targets a step, 64 at most
    seed: int = 0  # of everything random
    seconds: float | None = None  # end after that much time; the schedule still counts steps
    peak_rate: float = 1.5e-3
    warm_up: int = 200  # steps
    weight_decay: float = 0.03
    ema: float = 0.998
    check_every: int = 200  # steps between dev figures
    tolerance: float = 0.01  # of r on dev: less than chance makes between two checks
    refine_at: float = 0.25  # share of the steps after which the offsets of the audio are measured with the net itself
    kl_warm_up: float = 0.2  # share of the steps over which the KL comes in
    person_noise: float = 0.5  # of the sd between persons, added to the prompt's mean expression
    person: float = 0.005  # how much of the difference between persons is their faces (`MomentSpace`)
    roll_out_every: int = 6  # steps
    free_at: float = 0.3  # share of the steps after which motion that the audio does not explain is measured
    variant: str = "vast"  # one of `VARIANTS`; `with_variant` sets what it means
    weights: LossWeights = field(default_factory=LossWeights)
    style: StyleConfig = field(default_factory=StyleConfig)  # sizes of E^p and E^v
    expression: ExpressionConfig = field(default_factory=ExpressionConfig)  # sizes of D


@dataclass(frozen=True)
class StyleData:
    """What the style model is trained on."""

    corpus: Path  # folder of clips with `index.csv`
    tracks: Path | None = None  # folder of tracks; `tracks/` in the work folder if not given
    face_model: Path | None = None  # the shipped one if not given
    acoustic: Path | None = None  # acoustic model, the shipped one if not given
    max_clips: int | None = None  # use only so many clips


def train_style(
    data: StyleData,
    output: Path,
    settings: StyleTrainingSettings = StyleTrainingSettings(),
    *,
    work: Path = Path("build"),
    threads: int = 1,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> dict[str, Any]:
    """Train on split `train` of the video corpus and write the best averaged weights to `output`.

    Resumes from the checkpoint in `work/style` after an interruption, also `kill -9`: batches and noise depend on
    (seed, step) only.

    Args:
        data: corpus and models.
        output: weight file, safetensors.
        settings: of the training.
        work: caches: `tracks/`, `style/` (posteriorgrams, checkpoint, `log.jsonl`).
        threads: of torch.
        on_status: called after each step.

    Returns:
        Dev figures of the weights that were written.

    Raises:
        VastError: `vast_option_invalid`, and those of reading.
    """
    if settings.batch > MAX_BATCH:
        raise VastError("vast_option_invalid", f"a batch has {MAX_BATCH} targets at most, not {settings.batch}")
    torch.set_num_threads(threads)
    folder = work / "style"
    folder.mkdir(parents=True, exist_ok=True)
    face = FaceModel.load(data.face_model)
    posteriorgrams, acoustic_hash = cached_posteriorgrams(data.acoustic, folder / "ppg")
    assets_folder = None if data.face_model is None else data.face_model.parent
    tracks = data.tracks or work / "tracks"
    clips = load_clips(data.corpus, tracks, face=face, posteriorgrams=posteriorgrams, weights=assets_folder)
    train, dev = split_dev(clips[: data.max_clips])
    log.info("%d clips to train on, %d dev clips", len(train), len(dev))

    space = fit_moment_space(train, face, person=settings.person)
    for clip in clips:
        clip.remove_person(space)
    networks, batches = prepare(train, face, settings, space, assets_folder=assets_folder)
    trainer = StyleTrainer(networks, batches, dev or train[:4], settings, folder=folder, on_status=on_status)
    header = {
        "style": asdict(settings.style),
        "expression": asdict(settings.expression),
        "face_model_hash": face.hash,
        "acoustic_model_hash": acoustic_hash,
        "steps": settings.steps,
        "seed": settings.seed,
        "batch": settings.batch,
        "clips": len(train),
        "person": settings.person,
        "variant": settings.variant,
    }
    report = trainer.run(fingerprint(settings, ignore=("seconds",), data=json.dumps(header, sort_keys=True)))
    if samples_style(settings.variant):
        complete_free_motion(trainer.loop.best, train)
    save_style_and_expression(trainer.loop.best, output, header=header | {"dev": report})
    return report


def prepare(
    train: list[StyleClip],
    face: FaceModel,
    settings: StyleTrainingSettings,
    space: MomentSpace,
    *,
    assets_folder: Path | None = None,
) -> tuple[StyleNetworks, StyleBatches]:
    """Networks with their statistics, and the source of batches."""
    names = ("topology.npz", "index_sets.json")
    topology = Topology.load(*(None if assets_folder is None else assets_folder / name for name in names))
    mirror = mirror_matrix(face, topology.mirror)
    lips = sorted({*topology.sets["lips_inner"], *topology.sets["lips_outer"]})
    # every set counts with its share, mirrored as well: the mean face is symmetric
    centre = np.mean([np.average(c.expression, axis=0, weights=c.weight + 1e-6) for c in train], axis=0)
    centre = ((centre + centre @ mirror) / 2).astype(np.float32)
    torch.manual_seed(settings.seed)
    networks = StyleNetworks(settings.style, settings.expression, face, centre, lips, space)
    networks.variational = float(settings.weights.kl > 0)
    networks.set_power([c for c in train if c.in_sync] or train)
    batches = StyleBatches(
        train,
        size=settings.batch,
        seed=settings.seed,
        mirror=mirror,
        persons=person_directions(train),
        person_noise=settings.person_noise,
        iod=face.iod,
        space=space,
    )
    return networks, batches


class StyleTrainer:
    """The style model's losses and dev figures; `loop.best` are the weights to ship."""

    def __init__(
        self,
        networks: StyleNetworks,
        batches: StyleBatches,
        dev: list[StyleClip],
        settings: StyleTrainingSettings,
        *,
        folder: Path,
        on_status: Callable[[TrainingStatus], None] | None = None,
    ) -> None:
        self.networks, self.batches, self.dev, self.settings = networks, batches, dev, settings
        groups = weight_decay_groups(networks, settings.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=settings.peak_rate)
        self.loop = Loop(
            self._loop_settings(), networks, optimiser, averaged=networks, folder=folder, on_status=on_status
        )
        self.bf16 = has_bf16_instructions()

    def _loop_settings(self) -> LoopSettings:
        settings = self.settings

        def schedule(step: int, done: float) -> float:
            return scaled_cosine(settings.peak_rate, (step + 1) / settings.warm_up, done, floor=0.02)

        return LoopSettings(
            "style",
            schedule,
            steps=settings.steps,
            seconds=settings.seconds,
            ema=settings.ema,
            ema_warm_up=(2, 21),
            check_every=settings.check_every,
            keep_best=True,
            # of weights as good on dev the latest: eye motion and spread, which dev does not measure, keep improving
            tolerance=settings.tolerance,
        )

    def run(self, fingerprint: str) -> dict[str, Any]:
        """Train to the end of the steps or of the time; gives the dev figures of the best weights."""
        self.loop.resume(fingerprint)
        shifts = self.loop.state.notes.get("shifts", {})
        for clip in self.batches.clips:
            clip.shift = shifts.get(clip.path, clip.shift)
        self.loop.run(self.step, self.check)
        return dict(self.loop.state.best_figures)

    def step(self, step: int, done: float) -> Losses:
        """Losses of one batch."""
        if step == int(self.settings.refine_at * self.settings.steps):
            average = self.loop.average
            self.loop.state.notes["shifts"] = refine_shifts(self.batches.clips, lambda clip: whole_gap(average, clip))
        if step == int(self.settings.free_at * self.settings.steps) and samples_style(self.settings.variant):
            fit_free_motion(self.loop.average, self.batches.clips)
            self.networks.decoder.free.load_state_dict(self.loop.average.decoder.free.state_dict())
        self.networks.train()
        batch = self.batches.draw(step)
        torch.manual_seed(hash((self.batches.seed, step)) % 2**31)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):  # 1.3x on a core with bf16 instructions
            kl_share = min(1.0, done / self.settings.kl_warm_up)
            roll_out = step % self.settings.roll_out_every == 0
            return self.networks.loss(batch, kl_share=kl_share, weights=self.settings.weights, roll_out=roll_out)

    def check(self, _losses: Mapping[str, float]) -> Figures:
        """Dev figures of the averaged weights."""
        return dev_figures(self.loop.average, self.dev)


def dev_figures(networks: StyleNetworks, dev: list[StyleClip]) -> Figures:
    """Correlation of the lip gap on dev clips, each half in the style of the other, and its gain (ratio of sd)."""
    networks.eval()
    by_set: dict[str, list[float]] = {}
    gains = []
    for clip, prompt, target in halves([c for c in dev if c.in_sync]):
        predicted, truth = predicted_gap(networks, clip, target, style_vector(networks, clip, prompt))
        by_set.setdefault(clip.set, []).append(correlation(predicted, truth))
        gains.append(float(predicted.std() / max(truth.std(), 1e-6)))
    report = {f"r_{name}": round(float(np.mean(values)), 4) for name, values in by_set.items()}
    main = report.get("r_talk", float(np.mean(list(report.values())) if report else 0.0))
    return report | {"gain": round(float(np.mean(gains)) if gains else 0.0, 3), "figure": main}


def save_style_and_expression(networks: StyleNetworks, path: Path, *, header: dict[str, Any]) -> None:
    """Write the networks as what `style` and `expression` load; half precision (the figures stay the same)."""
    parts = {
        STYLE_ENCODER: networks.encoder,
        STYLE_ENHANCER: networks.enhancer,
        DECODER: networks.decoder,
    }
    tensors = {}
    for prefix, network in parts.items():
        for name, value in network.state_dict().items():
            full_precision = name in FULL_PRECISION or name.startswith("free.")
            tensors[prefix + name] = value.numpy() if full_precision else value.numpy().astype(np.float16)
    space = networks.space
    for name in ("mean", "scale", "chance", "style", "between", "lid", "gap"):
        tensors[MOMENTS + name] = np.asarray(getattr(space, name), np.float32)
    STYLE_MODEL.save(path, tensors, header)
    log.info("wrote %s, %s", path, human_size(path.stat().st_size))

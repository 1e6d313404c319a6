"""Train LagSync: mouths and audio of one instant close together, all others apart."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vast_cli.sync.lagsync import LagSync, save_lagsync
from vast_cli.sync.network import AudioTower, LagSyncConfig, LagSyncNet
from vast_cli.training.checkpoint import fingerprint, ignore_pickled, load_checkpoint, save_checkpoint
from vast_cli.training.lagsync.audio import AudioTowerSettings, AudioTowerTrainer, read_speech
from vast_cli.training.lagsync.batches import LagSyncBatch, LagSyncBatches
from vast_cli.training.lagsync.contrast import LagContrast
from vast_cli.training.lagsync.corpus import (
    SHAPE_POINTS,
    LagSyncClip,
    load_clips,
    split_speakers,
    total_seconds,
    training_clips,
)
from vast_cli.training.lagsync.figures import dev_figures
from vast_cli.training.loop import Figures, Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.optimisation import capped_cosine, has_bf16_instructions, weight_decay_groups

log = logging.getLogger(__name__)

FOLDS = 8  # of the training speakers; one is held out


@dataclass(frozen=True)
class LagSyncTrainingSettings:
    """How LagSync is trained; the defaults are those of the shipped weights."""

    steps: int = 1000  # at most
    batch: int = 20  # runs of 31 frames a step
    seed: int = 0  # of everything random
    held_out: int = 0  # which eighth of the training speakers, 0 - 7, to stop by
    peak_rate: float = 1.5e-3
    warm_up: int = 100  # steps
    weight_decay: float = 0.05
    clip_norm: float = 2.0
    ema: float = 0.995
    check_every: int = 200  # steps between figures of the held-out speakers
    patience: int = 5  # checks without a better figure
    shape_weight: float = 3.0  # of the lips' shape read from each crop; falls to a tenth
    network: LagSyncConfig = field(default_factory=LagSyncConfig)
    audio_tower: AudioTowerSettings = field(default_factory=AudioTowerSettings)  # its seed is that of the training


@dataclass(frozen=True)
class LagSyncData:
    """What LagSync is trained on."""

    corpus: Path  # folder of clips with `index.csv`
    speech: Path | None = None  # labelled corpora to pretrain the audio tower on; without it starts at random
    more: Path | None = None  # folder of further such corpora
    max_clips: int | None = None  # use only so many clips


class LagSyncTrainer:
    """LagSync's losses and held-out figures; `loop.best` are the weights to ship."""

    def __init__(
        self,
        network: LagSyncNet,
        batches: LagSyncBatches,
        dev: Sequence[LagSyncClip],
        settings: LagSyncTrainingSettings,
        *,
        folder: Path,
        on_status: Callable[[TrainingStatus], None] | None = None,
    ) -> None:
        self.network, self.batches, self.dev, self.settings = network, batches, dev, settings
        self.contrast = LagContrast()
        self.shape = nn.Linear(network.config.lip, 2 * SHAPE_POINTS)
        self.modules = nn.ModuleList([network, self.contrast, self.shape])
        groups = weight_decay_groups(self.modules, settings.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=settings.peak_rate, betas=(0.9, 0.98))
        self.loop = Loop(
            self._loop_settings(), self.modules, optimiser, averaged=network, folder=folder, on_status=on_status
        )
        self.bf16 = has_bf16_instructions()

    def _loop_settings(self) -> LoopSettings:
        settings = self.settings

        def schedule(step: int, done: float) -> float:
            return capped_cosine(settings.peak_rate, step, done, warm_up=settings.warm_up, floor=0.01)

        return LoopSettings(
            "lagsync",
            schedule,
            steps=settings.steps,
            clip_norm=settings.clip_norm,
            ema=settings.ema,
            ema_warm_up=(1, 11),
            check_every=settings.check_every,
            keep_best=True,
            patience=settings.patience,
        )

    def run(self, fingerprint: str) -> Figures:
        """Train to the end of the steps or until the held-out figure no longer rises; gives the best figures."""
        self.loop.resume(fingerprint)
        self.loop.run(self.step, self.check)
        return self.loop.state.best_figures

    def step(self, step: int, done: float) -> Losses:
        """Losses of one batch."""
        batch = self.batches.draw(step)
        torch.manual_seed(self.batches.seed * 1_000_003 + step)
        self.modules.train()
        contrast, shape = self._losses(batch)
        loss = contrast + self.settings.shape_weight * max(0.1, 1 - 2 * done) * shape
        return {"loss": loss, "contrast": contrast, "shape": shape}

    def _losses(self, batch: LagSyncBatch) -> tuple[torch.Tensor, torch.Tensor]:
        network = self.network
        b, n = batch.crops.shape[:2]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            lips = network.mouth.picture(torch.from_numpy(batch.crops.reshape(b * n, 96, 96)).float())
            predicted = self.shape(lips).float()
            mouth = network.mouth.embed(lips.float().reshape(b, n, -1))
            audio = network.sound(torch.from_numpy(batch.audio).flatten(0, 1))
        shape = F.smooth_l1_loss(predicted, torch.from_numpy(batch.shape).reshape(b * n, -1))
        audio = audio.reshape(b, -1, audio.shape[-1])
        same_clip = torch.from_numpy(batch.same_clip)
        contrast: torch.Tensor = self.contrast(mouth, audio, torch.from_numpy(batch.audio_exists), same_clip)
        return contrast, shape

    def check(self, losses: Mapping[str, float]) -> Figures:
        """Figures of the held-out speakers; without any the contrast of training stands in."""
        if not self.dev:
            return {"figure": -losses["contrast"]}
        return dev_figures(LagSync(self.loop.average, ""), self.dev)


def train_lagsync(
    data: LagSyncData,
    output: Path,
    settings: LagSyncTrainingSettings = LagSyncTrainingSettings(),
    *,
    work: Path = Path("build"),
    threads: int = 1,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> dict[str, Any]:
    """Train on split `train` of the video corpus and write the averaged weights that did best on held-out speakers.

    Resumes from the checkpoint in `work/lagsync` after an interruption: batches and noise depend on (seed, step) only.

    Args:
        data: corpora.
        output: weight file, safetensors.
        settings: of the training.
        work: caches: `landmarks/`, `lagsync/` (crops, features, audio tower, checkpoint, `log.jsonl`).
        threads: of torch.
        on_status: called after each step.

    Returns:
        Figures of the weights that were written on the held-out speakers (`dev_figures`).
    """
    torch.set_num_threads(threads)
    folder = work / "lagsync"
    rows = training_clips(data.corpus)[: data.max_clips]
    clips = load_clips(rows, folder / "crops", landmarks=work / "landmarks")
    train, dev = split_speakers(clips, FOLDS, settings.held_out)
    log.info("%.1f minutes to train on, %.1f minutes held out", total_seconds(train) / 60, total_seconds(dev) / 60)
    tower, accuracy = pretrained_audio_tower(data, settings, folder, on_status=on_status)
    torch.manual_seed(settings.seed)
    network = LagSyncNet(settings.network)
    if tower is not None:
        network.sound.load_state_dict(tower.state_dict())
    batches = LagSyncBatches(train, size=settings.batch, seed=settings.seed)
    trainer = LagSyncTrainer(network, batches, dev, settings, folder=folder, on_status=on_status)
    header = {
        "steps": settings.steps,
        "seed": settings.seed,
        "batch": settings.batch,
        "held_out": settings.held_out,
        "clips": len(train),
        "sound_start": accuracy,
    }
    figures = trainer.run(fingerprint(settings, clips=len(train), audio_tower_accuracy=accuracy))
    save_lagsync(trainer.loop.best, output, notes=header | {"dev": figures})
    return dict(figures)


def pretrained_audio_tower(
    data: LagSyncData,
    settings: LagSyncTrainingSettings,
    folder: Path,
    *,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> tuple[AudioTower | None, float | None]:
    """An audio tower that knows phones, and its accuracy; made once and cached in `folder`. None without speech."""
    if data.speech is None:
        return None, None
    path = folder / "audio_tower.safetensors"
    ignore_pickled(folder / "sound.pt")
    tower_settings = replace(settings.audio_tower, seed=settings.seed)
    name = fingerprint(tower_settings, network=settings.network.to_header(), more=data.more is not None)
    tower = AudioTower(settings.network)
    cached = load_checkpoint(path, {"tower": tower}, fingerprint=name)
    if cached is not None:
        return tower, cached["accuracy"]
    speech = read_speech(data.speech, data.more, folder / "speech")
    tower, accuracy = AudioTowerTrainer(speech, settings.network, tower_settings, on_status=on_status).run()
    save_checkpoint(path, {"tower": tower}, fingerprint=name, state={"accuracy": accuracy})
    return tower, accuracy

"""Train LagSync: mouths and sounds of one instant close together, all others apart."""

import copy
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from vast_cli.core import devices, files
from vast_cli.sync.lagsync import LagSync, save_lagsync
from vast_cli.sync.network import LagSyncConfig, LagSyncNet
from vast_cli.training.lagsync.audio import pretrain_sound, read_speech
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

log = logging.getLogger(__name__)

PEAK_RATE = 1.5e-3
WARM_UP = 100  # steps
EMA = 0.995
CHECK_EVERY = 200  # steps between figures of the held-out speakers
PATIENCE = 5  # checks without a better figure
SHAPE_WEIGHT = 3.0  # of the lips' shape told from each picture, falling to a tenth
FOLDS = 8


class Trainer:
    """The loop: optimiser, average, checkpoint, log, early stop."""

    def __init__(
        self, network: LagSyncNet, batches: LagSyncBatches, dev: Sequence[LagSyncClip], *, folder: Path, steps: int
    ) -> None:
        self.network, self.batches, self.dev, self.folder, self.steps = network, batches, dev, folder, steps
        self.contrast = LagContrast()
        self.shape = nn.Linear(network.config.lip, 2 * SHAPE_POINTS)
        self.all = nn.ModuleList([network, self.contrast, self.shape])
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        matrices = [p for p in self.all.parameters() if p.ndim > 1]
        vectors = [p for p in self.all.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))
        self.bf16 = "avx512_bf16" in devices.cpu_flags()
        self.step = 0
        self.best_figures: dict[str, float] = {}
        self.since_best = 0

    def run(self, settings: str) -> dict[str, float]:
        """Train to the end of the steps or until the held-out figure no longer rises."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume(settings)
        sums, count, began = np.zeros(2), 0, time.monotonic()
        bar = tqdm(total=self.steps, initial=self.step, desc="lagsync", unit="step", mininterval=5)
        while self.step < self.steps and self.since_best < PATIENCE:
            sums += self._train_step()
            count += 1
            bar.update()
            if self.step % CHECK_EVERY == 0 or self.step == self.steps:
                self._check(sums / count, settings, time.monotonic() - began)
                bar.set_postfix(figure=f"{self.best_figures.get('figure', 0):.3f}")
                sums, count = np.zeros(2), 0
        bar.close()
        return self.best_figures

    def _train_step(self) -> np.ndarray:
        done = self.step / self.steps
        rate = PEAK_RATE * min((self.step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = self.batches.draw(self.step)
        torch.manual_seed(self.batches.seed * 1_000_003 + self.step)
        self.all.train()
        contrast, shape = self._losses(batch)
        loss = contrast + SHAPE_WEIGHT * max(0.1, 1 - 2 * done) * shape
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.all.parameters(), 2.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return np.array([contrast.item(), shape.item()])

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(EMA, self.step / (self.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        for mean, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mean.copy_(now)

    def _losses(self, batch: LagSyncBatch) -> tuple[torch.Tensor, torch.Tensor]:
        network = self.network
        b, n = batch.crops.shape[:2]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            lips = network.mouth.picture(torch.from_numpy(batch.crops.reshape(b * n, 96, 96)).float())
            told = self.shape(lips).float()
            mouth = network.mouth.embed(lips.float().reshape(b, n, -1))
            sound = network.sound(torch.from_numpy(batch.audio).flatten(0, 1))
        shape = F.smooth_l1_loss(told, torch.from_numpy(batch.shape).reshape(b * n, -1))
        sound = sound.reshape(b, -1, sound.shape[-1])
        same = torch.from_numpy(batch.same_clip)
        return self.contrast(mouth, sound, torch.from_numpy(batch.audio_exists), same), shape

    def _check(self, losses: np.ndarray, settings: str, wall_s: float) -> None:
        figures = dev_figures(LagSync(self.average, ""), self.dev) if self.dev else {"figure": float(-losses[0])}
        self.since_best += 1
        if figures["figure"] >= self.best_figures.get("figure", -np.inf):
            self.best.load_state_dict(self.average.state_dict())
            self.best_figures, self.since_best = figures | {"step": self.step}, 0
        line = {"step": self.step, "contrast": losses[0], "shape": losses[1], **figures, "wall_s": round(wall_s, 1)}
        with (self.folder / "log.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        state = {
            "settings": settings,
            "step": self.step,
            "since_best": self.since_best,
            "best_figures": self.best_figures,
            "all": self.all.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with files.atomic_write(self.folder / "checkpoint.pt") as part:
            torch.save(state, part)

    def _resume(self, settings: str) -> None:
        """Go on from the checkpoint if it belongs to these settings."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["settings"] != settings:
            log.warning("the checkpoint in %s has other settings: beginning anew", path.parent)
            return
        self.step, self.since_best = state["step"], state["since_best"]
        self.best_figures = state["best_figures"]
        self.all.load_state_dict(state["all"])
        self.average.load_state_dict(state["average"])
        self.best.load_state_dict(state["best"])
        self.optimiser.load_state_dict(state["optimiser"])


def train_lagsync(
    corpus: Path,
    output: Path,
    *,
    speech: Path | None = None,
    more: Path | None = None,
    work: Path = Path("build"),
    seed: int = 0,
    steps: int = 1000,
    sound_steps: int = 2000,
    batch: int = 20,
    held_out: int = 0,
    config: LagSyncConfig = LagSyncConfig(),
    threads: int = 1,
    max_clips: int | None = None,
) -> dict[str, Any]:
    """Train on split `train` of the video corpus and write the averaged weights that did best on held-out speakers.

    Goes on from the checkpoint in `work/lagsync` after an interruption: batches and noise depend on (seed, step) only.

    Args:
        corpus: folder of clips with `index.csv`.
        output: weight file, safetensors.
        speech: folder of labelled corpora that the sound tower learns phones from first; none: it starts from chance.
        more: folder of further such corpora.
        work: caches: `landmarks/`, `lagsync/` (crops, features, `sound.pt`, checkpoint, `log.jsonl`).
        seed: of everything random.
        steps: optimiser steps at most.
        sound_steps: steps of the sound tower's start.
        batch: runs of 31 frames a step.
        held_out: which eighth of the training speakers, 0 - 7, to stop by.
        config: sizes of the network.
        threads: of torch.
        max_clips: use only so many clips (tests).

    Returns:
        Figures of the weights that were written on the held-out speakers (`lagsync_figures`).
    """
    torch.set_num_threads(threads)
    folder = work / "lagsync"
    rows = training_clips(corpus)[:max_clips]
    clips = load_clips(rows, folder / "crops", landmarks=work / "landmarks")
    train, dev = split_speakers(clips, FOLDS, held_out)
    log.info("%.1f minutes to train on, %.1f minutes held out", total_seconds(train) / 60, total_seconds(dev) / 60)
    sound, known = sound_start(speech, more, config, folder, steps=sound_steps, seed=seed)
    torch.manual_seed(seed)
    network = LagSyncNet(config)
    if sound is not None:
        network.sound.load_state_dict(sound)
    trainer = Trainer(network, LagSyncBatches(train, size=batch, seed=seed), dev, folder=folder, steps=steps)
    header = {
        "steps": steps,
        "seed": seed,
        "batch": batch,
        "held_out": held_out,
        "clips": len(train),
        "sound_start": known,
    }
    figures = trainer.run(json.dumps(header | {"config": config.to_header()}, sort_keys=True))
    save_lagsync(trainer.best, output, notes=header | {"dev": figures})
    return figures


def sound_start(
    speech: Path | None, more: Path | None, config: LagSyncConfig, folder: Path, *, steps: int, seed: int
) -> tuple[dict[str, torch.Tensor] | None, float | None]:
    """State of a sound tower that knows phones, and the share of them it tells; made once and kept in `folder`."""
    if speech is None:
        return None, None
    path = folder / "sound.pt"
    settings = f"{config.to_header()} {steps} {seed} {more is not None}"
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if kept["settings"] == settings:
            return kept["tower"], kept["right"]
    tower, right = pretrain_sound(read_speech(speech, more, folder / "speech"), config, steps=steps, seed=seed)
    with files.atomic_write(path) as part:
        torch.save({"settings": settings, "tower": tower.state_dict(), "right": right}, part)
    return tower.state_dict(), right

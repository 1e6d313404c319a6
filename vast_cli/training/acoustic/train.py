"""Train the acoustic network: filter banks to phones, frame by frame (paper 4.1)."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from vast_cli.core.files import atomic_write
from vast_cli.core.streams import prefetch
from vast_cli.speech.acoustic import AcousticConfig, AcousticModel
from vast_cli.speech.weights import load_acoustic_model, save_acoustic_model
from vast_cli.training.acoustic.batches import Crops
from vast_cli.training.acoustic.corpus import (
    CONDITIONS,
    IGNORE,
    MORE_SHARES,
    SHARES,
    Utterances,
    labels_path,
    load_segments,
    load_utterances,
)
from vast_cli.training.acoustic.realign import realign
from vast_cli.training.acoustic.scores import corpus_scores

log = logging.getLogger(__name__)

PEAK_RATE = 2e-3
WARM_UP = 400  # steps
EMA = 0.999
DROPOUT = 0.1  # by 4,500 steps without it, speech frames of so762 train are .09 better than those of other speakers ...
DROPOUT_FROM = 0.375  # ... but .15 and wider masks from the start cost .025 of the held-out figure at 2,000 steps
CHECK_EVERY = 500  # steps between checkpoints with their held-out figure
VALIDATION = ("so762", "libri", "video")
CONFIG = AcousticConfig(dilations=(1, 1, 1, 2, 2, 2, 1, 1))


def train_acoustic(
    corpus: Path,
    output: Path,
    *,
    more: Path | None = None,
    realigned: Path | None = None,
    steps: int = 26_000,
    seed: int = 0,
    batch: int = 24,
    config: AcousticConfig = CONFIG,
    work: Path = Path("build/acoustic"),
    cache: Path | None = None,
    start: Path | None = None,
    peak_rate: float = PEAK_RATE,
    share: float = 1.0,
    threads: int = 1,
    restart: bool = False,
) -> dict[str, float]:
    """Train on the corpora of `corpus` and `more` and write the averaged (EMA) weights to `output`.

    Goes on from the last checkpoint in `work` if one with the same settings is there, also after `kill -9`; every
    batch depends on (seed, step) only, so the result is that of a run without a break.

    Args:
        corpus: folder of the speech corpora, with the labelled clips in `../video`.
        more: folder of further corpora (`speech_sources`, `synthetic_speech`); those that are there are used.
        realigned: folder of tables with better phone borders (`realign`), used where there is one for a corpus.
        output: weight file, safetensors.
        steps: optimiser steps; one step is `batch` crops of 2.56 s.
        work: checkpoint, and `log.jsonl` with one line a check, `latest.safetensors`.
        cache: features, `work/cache` if not given.
        start: weights to start from instead of chance.
        peak_rate: of the optimiser, after the warm-up.
        share: of the training utterances, 0 ... 1, for learning curves.
        threads: of torch; one core runs 6 - 12 steps/s.
        restart: begin anew even if there is a checkpoint.

    Returns:
        Held-out figures: `speech_merged` of the corpora `VALIDATION`, and their mean `val`.
    """
    torch.set_num_threads(threads)
    corpora = training_corpora(corpus, more, realigned, cache or work / "cache", share)
    held_out = {name: load_utterances(corpus, name, "val", cache or work / "cache") for name in VALIDATION}
    return fit(
        corpora, held_out, output,
        config=config, steps=steps, seed=seed, batch=batch, work=work,
        start=start, peak_rate=peak_rate, restart=restart,
    )  # fmt: skip


def training_corpora(
    corpus: Path, more: Path | None, realigned: Path | None, cache: Path, share: float = 1.0
) -> list[tuple[Utterances, float]]:
    """Every corpus in every condition, with the weight of an hour of it."""
    named = [(corpus, name, weight) for name, weight in SHARES.items()]
    if more is not None:
        named += [(more, name, weight) for name, weight in MORE_SHARES.items() if labels_path(more, name).exists()]
    found = []
    for root, name, weight in named:
        better = realigned / f"{name}.npz" if realigned else None
        segments = load_segments(better) if better and better.exists() else None
        for condition in CONDITIONS:
            utterances = load_utterances(root, name, "train", cache, condition=condition, segments=segments)
            found.append((part_of(utterances, share), weight * condition.share))
    return found


def train_twice(corpus: Path, output: Path, *, more: Path | None, work: Path, **settings: Any) -> dict[str, float]:
    """Train, let the network align the phones of its own training data once more, and train anew on those labels.

    Args:
        work: `first.safetensors`, `realigned/` and the checkpoints of both trainings.
        settings: of `train_acoustic`.
    """
    first = work / "first.safetensors"
    if not first.exists():
        train_acoustic(corpus, first, more=more, work=work / "first", cache=work / "cache", **settings)
    model = load_acoustic_model(first)
    for root, names in ((corpus, SHARES), (more, MORE_SHARES)):
        for name in names if root is not None else ():
            target = work / "realigned" / f"{name}.npz"
            if labels_path(root, name).exists() and not target.exists():
                realign(model, root, name, target)
    return train_acoustic(
        corpus, output, more=more, realigned=work / "realigned", work=work / "second", cache=work / "cache", **settings
    )


def part_of(utterances: Utterances, share: float) -> Utterances:
    """The first `share` of the utterances: whole speakers, as the tables are sorted by them."""
    n = max(1, round(share * len(utterances)))
    end = utterances.pointer[n]
    return Utterances(utterances.features[:end], utterances.labels[:end], utterances.pointer[: n + 1])


def fit(
    corpora: list[tuple[Utterances, float]],
    held_out: dict[str, Utterances],
    output: Path,
    *,
    config: AcousticConfig,
    steps: int,
    seed: int,
    batch: int,
    work: Path,
    start: Path | None = None,
    peak_rate: float = PEAK_RATE,
    restart: bool = False,
) -> dict[str, float]:
    """The loop of `train_acoustic` on utterances that are in memory."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = AcousticModel(config)
    model.mean.copy_(torch.from_numpy(training_mean(corpora)))
    if start is not None:
        model.load_state_dict(load_acoustic_model(start).state_dict())
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(model), lr=peak_rate, betas=(0.9, 0.98))
    crops = Crops(corpora, model.mean.numpy().copy(), gate=config.gate)
    settings = f"{config.to_json()} {steps} {seed} {batch} {sum(len(u) for u, _ in corpora)}"
    checkpoint = work / "checkpoint.pt"
    first = 0 if restart else _resume(checkpoint, settings, model, averaged, optimiser)
    # avx512_bf16 makes a step 3 times faster (docs); without it autocast would be several times slower
    bf16 = _has_bf16_instructions()
    batches = prefetch(crops.batch(np.random.default_rng([seed, step]), batch) for step in range(first, steps))
    losses: list[float] = []
    figures: dict[str, float] = {}
    began = time.monotonic()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc="acoustic", unit="step", mininterval=5)
    for step in bar:
        rate = peak_rate * min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.002)
        for group in optimiser.param_groups:
            group["lr"] = rate
        for block in model.blocks:
            block.dropout = DROPOUT if step >= DROPOUT_FROM * steps else 0.0
        x, y = next(batches)
        torch.manual_seed(seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(torch.from_numpy(x))
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), torch.from_numpy(y).flatten(), ignore_index=IGNORE, label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(EMA, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        losses.append(loss.item())
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            figures = {name: corpus_scores(averaged, u)["speech_merged"] for name, u in held_out.items()}
            figures["val"] = sum(figures.values()) / max(1, len(figures))
            line = {"step": step + 1, "loss": float(np.mean(losses)), "rate": rate, **figures}
            line["wall_s"] = round(time.monotonic() - began, 1)
            with (work / "log.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            bar.set_postfix(loss=f"{line['loss']:.3f}", val=f"{figures['val']:.3f}")
            losses.clear()
            notes = {"steps": step + 1, "of": steps, "seed": seed}
            save_acoustic_model(averaged, work / "latest.safetensors", notes=notes)
            _save(checkpoint, settings, step + 1, model, averaged, optimiser)
    save_acoustic_model(averaged, output, notes={"steps": steps, "seed": seed, "val": figures.get("val")})
    return figures


def training_mean(corpora: list[tuple[Utterances, float]]) -> np.ndarray:
    """Mean of the log bands over sounding frames of all corpora, [80], each frame counting its share."""
    total, weight = np.zeros(corpora[0][0].features.shape[1]), 0.0
    for utterances, share in corpora:
        sounding = (utterances.labels != 0) & (utterances.labels != IGNORE)
        total += share * utterances.features[sounding].astype(np.float64).sum(axis=0)
        weight += share * sounding.sum()
    return (total / weight).astype(np.float32)


def _groups(model: AcousticModel) -> list[dict[str, object]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]


def _has_bf16_instructions() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _save(
    path: Path, settings: str, step: int, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    state = {
        "settings": settings,
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with atomic_write(path) as part:
        torch.save(state, part)


def _resume(path: Path, settings: str, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load the checkpoint if it belongs to these settings; gives the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != settings:
        log.warning("the checkpoint in %s has other settings: beginning anew", path.parent)
        return 0
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])

"""Train the acoustic network: filter banks to phones, frame by frame (paper 4.1)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from vast_cli.core.arrays import Float32, Int64
from vast_cli.core.streams import prefetch
from vast_cli.speech.acoustic import AcousticConfig, AcousticModel, DilatedBlock
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
from vast_cli.training.checkpoint import fingerprint
from vast_cli.training.loop import Figures, Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.optimisation import capped_cosine, has_bf16_instructions, weight_decay_groups

log = logging.getLogger(__name__)

VALIDATION = ("so762", "libri", "video")

Corpora = list[tuple[Utterances, float]]  # with the weight of an hour of each


@dataclass(frozen=True)
class AcousticTrainingSettings:
    """How the acoustic network is trained; the defaults are those of the shipped weights."""

    steps: int = 26_000
    batch: int = 24  # crops of 2.56 s a step
    seed: int = 0  # of everything random
    peak_rate: float = 2e-3
    warm_up: int = 400  # steps
    weight_decay: float = 0.05
    ema: float = 0.999
    # by 4,500 steps without dropout, speech frames of so762 train are .09 better than those of other speakers ...
    dropout: float = 0.1
    dropout_from: float = 0.375  # ... but .15 and wider masks from the start cost .025 of the figure at 2,000 steps
    label_smoothing: float = 0.05
    check_every: int = 500  # steps between checkpoints with their held-out figure
    start: Path | None = None  # weights to start from instead of random ones
    network: AcousticConfig = field(default_factory=lambda: AcousticConfig(dilations=(1, 1, 1, 2, 2, 2, 1, 1)))


@dataclass(frozen=True)
class AcousticData:
    """What the acoustic network is trained on."""

    corpus: Path  # folder of the speech corpora, with the labelled clips in `../video`
    more: Path | None = None  # folder of further corpora (`sources`, `synthetic`); those that exist are used
    realigned: Path | None = None  # folder of tables with better phone borders (`realign`), used where they exist
    cache: Path | None = None  # folder of features; `cache/` in the work folder if not given
    share: float = 1.0  # of the training utterances, 0 ... 1, for learning curves


def train_acoustic(
    data: AcousticData,
    output: Path,
    settings: AcousticTrainingSettings = AcousticTrainingSettings(),
    *,
    work: Path = Path("build/acoustic"),
    threads: int = 1,
    on_status: Callable[[TrainingStatus], None] | None = None,
    name: str = "acoustic",
) -> Figures:
    """Train on the corpora and write the averaged (EMA) weights to `output`.

    Resumes from the checkpoint in `work` after an interruption, also `kill -9`: batches and noise depend on
    (seed, step) only.

    Args:
        data: corpora.
        output: weight file, safetensors.
        settings: of the training.
        work: checkpoint, `log.jsonl` and `latest.safetensors`.
        threads: of torch; one core runs 6 - 12 steps/s.
        on_status: called after each step.
        name: of the training, for its progress.

    Returns:
        Held-out figures: `speech_merged` of the corpora `VALIDATION`, and their mean `val`.
    """
    torch.set_num_threads(threads)
    cache = data.cache or work / "cache"
    corpora = training_corpora(replace(data, cache=cache))
    held_out = {name: load_utterances(data.corpus, name, "val", cache) for name in VALIDATION}
    trainer = AcousticTrainer(corpora, held_out, settings, folder=work, on_status=on_status, name=name)
    figures = trainer.run()
    notes = {"steps": settings.steps, "seed": settings.seed, "val": figures.get("val")}
    save_acoustic_model(trainer.loop.average, output, notes=notes)
    return figures


def train_twice(
    data: AcousticData,
    output: Path,
    settings: AcousticTrainingSettings = AcousticTrainingSettings(),
    *,
    work: Path = Path("build/acoustic"),
    threads: int = 1,
    on_status: Callable[[TrainingStatus], None] | None = None,
) -> Figures:
    """Train, align the phones of the training data with the network once more, and train again on those labels.

    Args:
        data: corpora.
        output: weight file, safetensors.
        settings: of both trainings.
        work: `first.safetensors`, `realigned/` and the checkpoints of both trainings.
        threads: of torch.
        on_status: called after each step.

    Returns:
        Held-out figures of the second training.
    """
    first = work / "first.safetensors"
    data = replace(data, cache=work / "cache")
    if not first.exists():
        train_acoustic(
            data, first, settings, work=work / "first", threads=threads, on_status=on_status, name="acoustic (first)"
        )
    model = load_acoustic_model(first)
    for root, names in ((data.corpus, SHARES), (data.more, MORE_SHARES)):
        for name in names if root is not None else ():
            assert root is not None
            target = work / "realigned" / f"{name}.npz"
            if labels_path(root, name).exists() and not target.exists():
                realign(model, root, name, target)
    data = replace(data, realigned=work / "realigned")
    return train_acoustic(
        data, output, settings, work=work / "second", threads=threads, on_status=on_status, name="acoustic (second)"
    )


def training_corpora(data: AcousticData) -> Corpora:
    """Every corpus in every condition, with the weight of an hour of it; `data.cache` must be set."""
    assert data.cache is not None
    sources = [(data.corpus, name, weight) for name, weight in SHARES.items()]
    if data.more is not None:
        more = data.more
        sources += [(more, name, weight) for name, weight in MORE_SHARES.items() if labels_path(more, name).exists()]
    corpora = []
    for root, name, weight in sources:
        realigned = data.realigned / f"{name}.npz" if data.realigned else None
        segments = load_segments(realigned) if realigned and realigned.exists() else None
        for condition in CONDITIONS:
            utterances = load_utterances(root, name, "train", data.cache, condition=condition, segments=segments)
            corpora.append((first_part(utterances, data.share), weight * condition.share))
    return corpora


def first_part(utterances: Utterances, share: float) -> Utterances:
    """The first `share` of the utterances: whole speakers, as the tables are sorted by them."""
    n = max(1, round(share * len(utterances)))
    end = utterances.pointer[n]
    return Utterances(utterances.features[:end], utterances.labels[:end], utterances.pointer[: n + 1])


class AcousticTrainer:
    """The acoustic network's loss and held-out figures; `loop.average` are the weights to ship."""

    def __init__(
        self,
        corpora: Corpora,
        held_out: Mapping[str, Utterances],
        settings: AcousticTrainingSettings,
        *,
        folder: Path,
        on_status: Callable[[TrainingStatus], None] | None = None,
        name: str = "acoustic",
    ) -> None:
        self.held_out, self.settings, self.folder = held_out, settings, folder
        torch.manual_seed(settings.seed)
        self.model = AcousticModel(settings.network)
        self.model.mean.copy_(torch.from_numpy(training_mean(corpora)))
        if settings.start is not None:
            self.model.load_state_dict(load_acoustic_model(settings.start).state_dict())
        groups = weight_decay_groups(self.model, settings.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=settings.peak_rate, betas=(0.9, 0.98))
        self.crops = Crops(corpora, self.model.mean.numpy().copy(), gate=settings.network.gate)
        self.loop = Loop(
            self._loop_settings(name), self.model, optimiser, averaged=self.model, folder=folder, on_status=on_status
        )
        self.fingerprint = fingerprint(settings, utterances=sum(len(u) for u, _ in corpora))
        self.bf16 = has_bf16_instructions()
        self._batches: Iterator[tuple[Float32, Int64]] = iter(())

    def _loop_settings(self, name: str) -> LoopSettings:
        settings = self.settings

        def schedule(step: int, done: float) -> float:
            return capped_cosine(settings.peak_rate, step, done, warm_up=settings.warm_up, floor=0.002)

        return LoopSettings(
            name,
            schedule,
            steps=settings.steps,
            ema=settings.ema,
            ema_warm_up=(1, 10),
            check_every=settings.check_every,
            figure="val",
        )

    def run(self) -> Figures:
        """Train to the end; gives the figures of the averaged weights."""
        self.loop.resume(self.fingerprint)
        settings = self.settings
        self._batches = prefetch(
            self.crops.batch(np.random.default_rng([settings.seed, step]), settings.batch)
            for step in range(self.loop.state.step, settings.steps)
        )
        self.loop.run(self.step, self.check)
        return self.loop.state.figures

    def step(self, step: int, _done: float) -> Losses:
        """Cross-entropy of the phones of the next batch."""
        settings = self.settings
        for block in self.model.blocks:
            assert isinstance(block, DilatedBlock)
            block.dropout = settings.dropout if step >= settings.dropout_from * settings.steps else 0.0
        x, y = next(self._batches)
        torch.manual_seed(settings.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.model(torch.from_numpy(x))
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            torch.from_numpy(y).flatten(),
            ignore_index=IGNORE,
            label_smoothing=settings.label_smoothing,
        )
        return {"loss": loss}

    def check(self, _losses: Mapping[str, float]) -> Figures:
        """Held-out figures of the averaged weights, which are written to `latest.safetensors`."""
        average = self.loop.average
        figures = {name: corpus_scores(average, u)["speech_merged"] for name, u in self.held_out.items()}
        notes = {"steps": self.loop.state.step, "of": self.settings.steps, "seed": self.settings.seed}
        save_acoustic_model(average, self.folder / "latest.safetensors", notes=notes)
        return figures | {"val": sum(figures.values()) / max(1, len(figures))}


def training_mean(corpora: Corpora) -> Float32:
    """Mean of the log bands over sounding frames of all corpora, [80], each frame counting its share."""
    total, weight = np.zeros(corpora[0][0].features.shape[1]), 0.0
    for utterances, share in corpora:
        sounding = (utterances.labels != 0) & (utterances.labels != IGNORE)
        total += share * utterances.features[sounding].astype(np.float64).sum(axis=0)
        weight += share * sounding.sum()
    mean: Float32 = (total / weight).astype(np.float32)
    return mean

"""Train style encoder, enhancer and hybrid decoder together (paper 3.1-3.3, Eq. 2)."""

import copy
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vast_cli import records
from vast_cli.core.errors import VastError
from vast_cli.core.text import human_size
from vast_cli.expression.hybrid import PART as EXPRESSION_PART
from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import FaceModel
from vast_cli.face.topology import Topology
from vast_cli.style.encoder import StyleConfig
from vast_cli.style.space import FORMAT, PART, VERSION
from vast_cli.training.style.audio import correlation, posteriorgrams_of, refine_shifts
from vast_cli.training.style.batches import Batches
from vast_cli.training.style.corpus import Clip, halves, load_clips, mirror_matrix, person_directions, split_dev
from vast_cli.training.style.networks import MAX_BATCH, Networks, Weights, predicted_gap, style_vector, whole_gap

log = logging.getLogger(__name__)

PEAK_RATE = 1.5e-3
WARM_UP = 200  # steps
EMA = 0.998
CHECK_EVERY = 300  # steps between dev figures
AS_GOOD = 0.01  # of r on dev: less than chance makes between two checks
REFINE_AT = 0.25  # share of the steps after which the offsets of sounds are measured anew with the net itself
KL_WARM_UP = 0.2  # share of the steps over which the KL comes in
PERSON_NOISE = 0.5  # of the sd between persons, added to the prompt's mean expression


def train_style(
    corpus: Path,
    output: Path,
    *,
    work: Path = Path("build"),
    seed: int = 0,
    steps: int = 3600,
    batch: int = 16,
    seconds: float | None = None,
    tracks: Path | None = None,
    face_model: Path | None = None,
    acoustic: Path | None = None,
    style: StyleConfig = StyleConfig(),
    expression: ExpressionConfig = ExpressionConfig(),
    weights: Weights = Weights(),
    threads: int = 1,
    max_clips: int | None = None,
) -> dict[str, Any]:
    """Train on split `train` of the video corpus and write the best averaged weights to `output`.

    Goes on from the checkpoint in `work/style` after an interruption, also `kill -9`: batches and noise depend on
    (seed, step) only.

    Args:
        corpus: folder of clips with `index.csv`.
        output: weight file, safetensors.
        work: caches: `tracks/`, `style/` (posteriorgrams, checkpoint, `log.jsonl`).
        seed: of everything random.
        steps: optimiser steps.
        batch: targets a step, 64 at most.
        seconds: stop after that much time (the schedule still counts steps).
        tracks: folder of tracks if not `work/tracks`.
        face_model: face model if not the one that ships.
        acoustic: acoustic model if not the one that ships.
        style: sizes of E^p and E^v.
        expression: sizes of D.
        weights: of the terms.
        threads: of torch.
        max_clips: use only so many clips (tests).

    Returns:
        Dev figures of the weights that were written.
    """
    if batch > MAX_BATCH:
        raise VastError("vast_option_invalid", f"a batch has {MAX_BATCH} targets at most, not {batch}")
    torch.set_num_threads(threads)
    folder = work / "style"
    folder.mkdir(parents=True, exist_ok=True)
    face = FaceModel.load(face_model)
    sounds, acoustic_hash = posteriorgrams_of(acoustic, folder / "ppg")
    beside = None if face_model is None else face_model.parent
    clips = load_clips(corpus, tracks or work / "tracks", face=face, posteriorgrams=sounds, weights=beside)
    train, dev = split_dev(clips[:max_clips])
    log.info("%d clips to train on, %d dev clips", len(train), len(dev))

    networks, batches = prepare(train, face, style, expression, assets_folder=beside, size=batch, seed=seed)
    trainer = Trainer(networks, batches, dev or train[:4], folder=folder, steps=steps, weights=weights)
    header = {
        "style": asdict(style),
        "expression": asdict(expression),
        "face_model_hash": face.hash,
        "acoustic_model_hash": acoustic_hash,
        "steps": steps,
        "seed": seed,
        "batch": batch,
        "clips": len(train),
    }
    report = trainer.run(seconds=seconds, settings=json.dumps(header, sort_keys=True))
    save(trainer.best, output, header=header | {"dev": report})
    return report


def prepare(
    train: list[Clip],
    face: FaceModel,
    style: StyleConfig,
    expression: ExpressionConfig,
    *,
    assets_folder: Path | None = None,
    size: int,
    seed: int,
) -> tuple[Networks, Batches]:
    """Networks with their statistics, and the source of batches."""
    names = ("topology.npz", "index_sets.json")
    topology = Topology.load(*(None if assets_folder is None else assets_folder / name for name in names))
    mirror = mirror_matrix(face, topology.mirror)
    lips = sorted({*topology.sets["lips_inner"], *topology.sets["lips_outer"]})
    # every set counts with its share, mirrored as well: the mean face is symmetric
    centre = np.mean([np.average(c.expression, axis=0, weights=c.weight + 1e-6) for c in train], axis=0)
    centre = ((centre + centre @ mirror) / 2).astype(np.float32)
    torch.manual_seed(seed)
    networks = Networks(style, expression, face, centre, lips)
    networks.set_power([c for c in train if c.in_step] or train)
    batches = Batches(
        train,
        size=size,
        seed=seed,
        mirror=mirror,
        persons=person_directions(train),
        person_noise=PERSON_NOISE,
        iod=face.iod,
    )
    return networks, batches


class Trainer:
    """The loop: optimiser, average, checkpoint, log."""

    def __init__(
        self,
        networks: Networks,
        batches: Batches,
        dev: list[Clip],
        *,
        folder: Path,
        steps: int,
        weights: Weights,
    ) -> None:
        self.networks, self.batches, self.dev = networks, batches, dev
        self.average = copy.deepcopy(networks).eval()
        self.best = self.average
        self.folder, self.steps, self.weights = folder, steps, weights
        decay = [p for p in networks.parameters() if p.ndim > 1]
        plain = [p for p in networks.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}], lr=PEAK_RATE
        )
        self.bf16 = _has_bf16_instructions()
        self.step = 0
        self.best_figure = -1.0
        self.best_report: dict[str, Any] = {}
        self.shifts: dict[str, int] = {}

    def run(self, *, seconds: float | None, settings: str) -> dict[str, Any]:
        """Train to the end of the steps or of the time."""
        self._resume(settings)
        started, sums, count = time.monotonic(), {}, 0
        bar = tqdm(total=self.steps, initial=self.step, unit="step", mininterval=5)
        while self.step < self.steps and (seconds is None or time.monotonic() - started < seconds):
            if self.step == int(REFINE_AT * self.steps):
                self.shifts = refine_shifts(self.batches.clips, lambda clip: whole_gap(self.average, clip))
            for name, value in self._train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            bar.update()
            if self.step % CHECK_EVERY == 0 or self.step == self.steps:
                self._check({n: round(v / count, 4) for n, v in sums.items()}, settings, time.monotonic() - started)
                bar.set_postfix(dev=f"{self.best_figure:.3f}")
                sums, count = {}, 0
        bar.close()
        if count or not self.best_report:  # the time was up between two checks
            means = {n: round(v / count, 4) for n, v in sums.items()}
            self._check(means, settings, time.monotonic() - started)
        return self.best_report

    def _train_step(self) -> dict[str, float]:
        self.networks.train()
        batch = self.batches.draw(self.step)
        torch.manual_seed(hash((self.batches.seed, self.step)) % 2**31)
        done = self.step / self.steps
        rate = PEAK_RATE * min(1.0, (self.step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):  # 1.3x on a core with bf16 instructions
            terms = self.networks.loss(batch, kl_share=min(1.0, done / KL_WARM_UP), weights=self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(EMA, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.networks.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        return {name: float(value.detach()) for name, value in terms.items()}

    def _check(self, terms: dict[str, float], settings: str, passed: float) -> None:
        report = dev_figures(self.average, self.dev)
        line = {"step": self.step, "seconds": round(passed, 1), **terms, **report}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        # of weights that are as good on dev the latest: what is drawn for the eyes and the spread go on getting better
        if report["figure"] >= self.best_figure - AS_GOOD:
            self.best_report, self.best = report | {"step": self.step}, copy.deepcopy(self.average)
        self.best_figure = max(self.best_figure, report["figure"])
        self._save(settings)

    # --- checkpoint -------------------------------------------------------------------------------------------------

    def _save(self, settings: str) -> None:
        tensors = {
            f"{part}/{k}": v.numpy()
            for part in ("networks", "average", "best")
            for k, v in getattr(self, part).state_dict().items()
        }
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{k}": np.asarray(v) for k, v in state.items()}
        header = {
            "settings": settings,
            "step": self.step,
            "best_figure": self.best_figure,
            "best_report": self.best_report,
            "shifts": self.shifts,
        }
        records.save_tensors(
            self.folder / "checkpoint.safetensors", tensors, kind="vast.checkpoint", version=1, header=header
        )

    def _resume(self, settings: str) -> None:
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors, header = records.load_tensors(path, kind="vast.checkpoint", version=1)
        if header["settings"] != settings:
            log.warning("the checkpoint in %s is of other settings; training starts anew", self.folder)
            return
        self.best = copy.deepcopy(self.average)
        for part in ("networks", "average", "best"):
            prefix = part + "/"
            getattr(self, part).load_state_dict(
                {k.removeprefix(prefix): torch.from_numpy(v) for k, v in tensors.items() if k.startswith(prefix)}
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser/"):
                _, index, key = name.split("/")
                state.setdefault(int(index), {})[key] = torch.from_numpy(value)
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.step, self.best_figure = header["step"], header["best_figure"]
        self.best_report, self.shifts = header["best_report"], header["shifts"]
        for clip in self.batches.clips:
            clip.shift = self.shifts.get(clip.path, clip.shift)


def dev_figures(networks: Networks, dev: list[Clip]) -> dict[str, float]:
    """Correlation of the lip gap on dev clips, each half in the style of the other, and its gain (ratio of sd)."""
    networks.eval()
    found: dict[str, list[float]] = {}
    gains = []
    for clip, prompt, target in halves([c for c in dev if c.in_step]):
        predicted, truth = predicted_gap(networks, clip, target, style_vector(networks, clip, prompt))
        found.setdefault(clip.set, []).append(correlation(predicted, truth))
        gains.append(float(predicted.std() / max(truth.std(), 1e-6)))
    report = {f"r_{name}": round(float(np.mean(values)), 4) for name, values in found.items()}
    main = report.get("r_talk", float(np.mean(list(report.values())) if report else 0.0))
    return report | {"gain": round(float(np.mean(gains)) if gains else 0.0, 3), "figure": main}


def save(networks: Networks, path: Path, *, header: dict[str, Any]) -> None:
    """Write the networks as what `style` and `expression` load; half precision (the figures stay the same)."""
    parts = {
        f"{PART}encoder.": networks.encoder,
        f"{PART}enhancer.": networks.enhancer,
        EXPRESSION_PART: networks.decoder,
    }
    tensors = {}
    for prefix, network in parts.items():
        for name, value in network.state_dict().items():
            keep = name in ("centre", "scale")
            tensors[prefix + name] = value.numpy() if keep else value.numpy().astype(np.float16)
    records.save_tensors(path, tensors, kind=FORMAT, version=VERSION, header=header)
    log.info("wrote %s, %s", path, human_size(path.stat().st_size))


def _has_bf16_instructions() -> bool:
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False

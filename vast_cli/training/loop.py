"""The training loop of all networks: averaged weights, checks, checkpoints, log, early stop, progress.

A trainer gives the loop its modules, an optimiser and a function `step` that returns the parts of the loss by name.
Everything random in a step must depend on the seed and the step's number only: then a run that was killed and resumed
ends with the weights of an uninterrupted one.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean as mean
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vast_cli.training.checkpoint import load_checkpoint, save_checkpoint

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)
LOSS = "loss"  # the part that is minimised

Losses = dict[str, Tensor]  # scalars by name, `LOSS` among them
Figures = dict[str, float]  # held-out figures by name
Step = Callable[[int, float], Losses]  # number of the step, share of the training that is done -> losses
Check = Callable[[Mapping[str, float]], Figures]  # mean losses since the last check -> held-out figures


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs. It ends after `steps` or `seconds`, whichever comes first."""

    name: str  # shown with the progress
    schedule: Callable[[int, float], float]  # step, share done -> learning rate
    steps: int | None = None
    seconds: float | None = None  # spent in steps by all resumed runs together; without `steps` the schedule's clock
    clip_norm: float | None = 1.0  # of the gradient
    ema: float = 0.999  # decay of the averaged weights
    ema_warm_up: tuple[int, int] = (1, 10)  # (a, b): the decay is (step + a) / (step + b) at most
    check_every: int | None = None  # steps; a check measures, logs and writes the checkpoint
    check_every_s: float | None = None  # the same in seconds, for trainings that run for a time
    figure: str = "figure"  # of the check's figures: shown with the progress
    keep_best: bool = False  # the result is the average with the largest figure; else the last one
    tolerance: float = 0.0  # this far below the largest figure is as good: the latest is kept
    patience: int | None = None  # end after so many checks without a best


@dataclass(frozen=True)
class TrainingStatus:
    """Where a training stands, for a progress display."""

    name: str
    done: int  # steps, or seconds where the training runs for a time
    total: int
    loss: float  # mean since the last check
    figure_name: str
    figure: float | None  # of the last check
    eta_s: float

    def detail(self) -> str:
        """`loss 0.412, held-out val 0.713`."""
        loss = f"loss {self.loss:.3f}"
        return loss if self.figure is None else f"{loss}, held-out {self.figure_name} {self.figure:.3f}"


@dataclass
class LoopState:
    """What a checkpoint holds beside tensors."""

    step: int = 0  # steps done
    spent_s: float = 0.0  # in steps, not in checks
    figures: Figures = field(default_factory=dict)  # of the last check
    best_figures: Figures = field(default_factory=dict)  # of the best weights, with their `step`
    highest: float | None = None  # figure
    since_best: int = 0  # checks
    notes: dict[str, Any] = field(default_factory=dict)  # the trainer's own, JSON


class Loop(Generic[M]):
    """Trains to the end; `average` and `best` are the weights to use.

    Args:
        settings: see `LoopSettings`.
        trained: what the optimiser trains.
        optimiser: its learning rate follows the schedule.
        averaged: `trained` or the part of it whose average is kept.
        also: further modules and optimisers of the checkpoint, which the trainer updates itself.
        folder: of `checkpoint.safetensors`, `log.jsonl` and `tensorboard/`; None writes nothing.
        on_status: called after each step.
    """

    def __init__(
        self,
        settings: LoopSettings,
        trained: nn.Module,
        optimiser: Optimizer,
        *,
        averaged: M,
        also: Mapping[str, nn.Module | Optimizer] | None = None,
        folder: Path | None = None,
        on_status: Callable[[TrainingStatus], None] | None = None,
    ) -> None:
        self.settings, self.trained, self.optimiser, self.averaged = settings, trained, optimiser, averaged
        self.average = copy.deepcopy(averaged).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average) if settings.keep_best else self.average
        self.folder, self.on_status = folder, on_status
        self.state = LoopState()
        self._fingerprint = ""
        self._parts = {"trained": trained, "average": self.average, "optimiser": optimiser, **(also or {})}
        if settings.keep_best:
            self._parts["best"] = self.best

    @property
    def done(self) -> float:
        """Share of the training that is done."""
        if self.settings.steps is not None:
            return self.state.step / self.settings.steps
        return self.state.spent_s / (self.settings.seconds or 1.0)

    def resume(self, fingerprint: str) -> bool:
        """Continue from the folder's checkpoint if it has this fingerprint; True if so."""
        self._fingerprint = fingerprint
        if self.folder is None:
            return False
        state = load_checkpoint(self._checkpoint, self._parts, fingerprint=fingerprint)
        if state is None:
            return False
        self.state = LoopState(**state)
        log.warning("%s: resuming at step %d of `%s`", self.settings.name, self.state.step, self._checkpoint)
        return True

    def run(self, step: Step, check: Check | None = None, *, after_update: Callable[[], Losses] | None = None) -> None:
        """Train to the end.

        Args:
            step: losses of one step; the loop minimises `LOSS`.
            check: held-out figures of `average`.
            after_update: called after the optimiser's step, to update a discriminator; gives its losses.
        """
        state, first, first_s = self.state, self.state.step, self.state.spent_s
        losses: dict[str, list[float]] = {}  # since the last check
        checked_s = state.spent_s
        board = _tensorboard(self.folder, state.step)
        while not self._is_finished():
            started = time.monotonic()
            for name, value in self._update(step, after_update).items():
                losses.setdefault(name, []).append(float(value.detach()))
            state.spent_s += time.monotonic() - started
            self._report(mean(losses[LOSS]), step_s=(state.spent_s - first_s) / (state.step - first))
            if self._check_is_due(checked_s):
                self._check({name: mean(values) for name, values in losses.items()}, check, board)
                losses, checked_s = {}, state.spent_s
        if losses or (check is not None and not state.figures):  # the time was up between two checks
            self._check({name: mean(values) for name, values in losses.items()}, check, board)
        if board is not None:
            board.close()

    def _update(self, step: Step, after_update: Callable[[], Losses] | None) -> Losses:
        rate = self.settings.schedule(self.state.step, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses = step(self.state.step, self.done)
        self.optimiser.zero_grad()
        losses[LOSS].backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self._update_average()
        if after_update is not None:
            losses = losses | after_update()
        self.state.step += 1
        return losses

    @torch.no_grad()
    def _update_average(self) -> None:
        a, b = self.settings.ema_warm_up
        decay = min(self.settings.ema, (self.state.step + a) / (self.state.step + b))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.averaged.parameters()), 1 - decay)
        for buffer, latest in zip(self.average.buffers(), self.averaged.buffers(), strict=True):
            buffer.copy_(latest)

    def _is_finished(self) -> bool:
        settings, state = self.settings, self.state
        return (
            (settings.steps is not None and state.step >= settings.steps)
            or (settings.seconds is not None and state.spent_s >= settings.seconds)
            or (settings.patience is not None and state.since_best >= settings.patience)
        )

    def _check_is_due(self, checked_s: float) -> bool:
        settings, state = self.settings, self.state
        return (
            state.step == settings.steps
            or (settings.check_every is not None and state.step % settings.check_every == 0)
            or (settings.check_every_s is not None and state.spent_s - checked_s > settings.check_every_s)
        )

    def _check(self, losses: Mapping[str, float], check: Check | None, board: Any) -> None:
        state = self.state
        state.figures = check(losses) if check is not None else {}
        if self.settings.keep_best:
            figure = state.figures[self.settings.figure]
            highest = -math.inf if state.highest is None else state.highest
            state.since_best += 1
            if figure >= highest - self.settings.tolerance:
                self.best.load_state_dict(self.average.state_dict())
                state.best_figures, state.since_best = state.figures | {"step": state.step}, 0
            state.highest = max(highest, figure)
        rate = float(self.optimiser.param_groups[0]["lr"])
        line = {"step": state.step, **losses, "rate": rate, **state.figures, "wall_s": round(state.spent_s, 1)}
        log.info("%s: %s", self.settings.name, line)
        if board is not None:
            for name, value in {**losses, "rate": rate, **state.figures}.items():
                board.add_scalar(f"{'held_out' if name in state.figures else 'train'}/{name}", value, state.step)
        if self.folder is not None:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            save_checkpoint(self._checkpoint, self._parts, fingerprint=self._fingerprint, state=asdict(state))

    @property
    def _checkpoint(self) -> Path:
        assert self.folder is not None
        return self.folder / "checkpoint.safetensors"

    def _report(self, loss: float, *, step_s: float) -> None:
        if self.on_status is None:
            return
        settings, state = self.settings, self.state
        left = [] if settings.seconds is None else [settings.seconds - state.spent_s]
        left += [] if settings.steps is None else [(settings.steps - state.step) * step_s]
        done, total = (state.step, settings.steps) if settings.steps else (state.spent_s, settings.seconds or 0.0)
        figure = state.figures.get(settings.figure)
        eta_s = max(0.0, min(left))
        self.on_status(
            TrainingStatus(settings.name, round(min(done, total)), round(total), loss, settings.figure, figure, eta_s)
        )


def _tensorboard(folder: Path | None, step: int) -> Any:
    """A writer of curves, where TensorBoard is installed."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=step)

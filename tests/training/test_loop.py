"""The training loop on a line of four parameters: resuming, early stop, choice of weights, log, checkpoint."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vast_cli.training.checkpoint import fingerprint
from vast_cli.training.loop import Figures, Loop, LoopSettings, Losses, TrainingStatus
from vast_cli.training.optimisation import capped_cosine, scaled_cosine

RATE = 0.05


class Line(nn.Module):
    """y = w x + b with a count of its steps in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


class Trainer:
    """Fits a line to the sum of its inputs; dies at step `dies_at`."""

    def __init__(self, folder: Path | None, *, dies_at: int = -1, **changes: Any) -> None:
        torch.manual_seed(0)
        self.line, self.critic = Line(), nn.Linear(1, 1)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters())
        settings = {"steps": 20, "check_every": 4, "keep_best": True, "schedule": lambda step, done: RATE * (1 - done)}
        self.statuses: list[TrainingStatus] = []
        self.dies_at = dies_at
        self.loop = Loop(
            LoopSettings("line", **(settings | changes)),
            self.line,
            torch.optim.AdamW(self.line.parameters()),
            averaged=self.line,
            also={"critic": self.critic, "critic_optimiser": self.critic_optimiser},
            folder=folder,
            on_status=self.statuses.append,
        )

    def step(self, step: int, done: float) -> Losses:
        if step == self.dies_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        self.line.get_buffer("count").add_(1)
        return {"loss": ((self.line.linear(x) - x.sum(1, keepdim=True)) ** 2).mean(), "done": torch.tensor(done)}

    def update_critic(self) -> Losses:
        loss = self.critic(torch.ones(1, 1)).square().mean()
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return {"critic": loss}

    def check(self, losses: Mapping[str, float]) -> Figures:
        return {"figure": -losses["loss"]}

    def run(self, name: str = "a") -> "Trainer":
        self.loop.resume(name)
        self.loop.run(self.step, self.check, after_update=self.update_critic)
        return self

    def states(self) -> dict[str, torch.Tensor]:
        parts = {"line": self.line, "average": self.loop.average, "best": self.loop.best, "critic": self.critic}
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


@pytest.mark.parametrize("dies_at", [3, 4, 11])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, dies_at: int) -> None:
    whole = Trainer(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Trainer(tmp_path / "killed", dies_at=dies_at).run()
    resumed = Trainer(tmp_path / "killed").run()
    assert resumed.statuses[0].done == dies_at // 4 * 4 + 1
    for name, value in whole.states().items():
        assert torch.equal(value, resumed.states()[name]), name
    assert whole.loop.state.best_figures == resumed.loop.state.best_figures
    assert whole.loop.average.get_buffer("count") == 20


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    whole = Trainer(tmp_path).run()
    again = Trainer(tmp_path, dies_at=20).run()
    assert not again.statuses and again.loop.state.figures == whole.loop.state.figures
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 5


def test_a_checkpoint_of_other_settings_or_formats_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Trainer(tmp_path).run("a")
    with caplog.at_level(logging.WARNING):
        assert Trainer(tmp_path).run("b").statuses[0].done == 1
        assert "other settings" in caplog.text
        (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
        (tmp_path / "checkpoint.pt").touch()
        assert Trainer(tmp_path).run("b").statuses[0].done == 1
    assert "is not a valid vast.checkpoint file" in caplog.text
    assert "checkpoint.pt`, a file of an earlier version" in caplog.text


def test_the_checkpoint_is_safetensors_with_scalars_in_its_header(tmp_path: Path) -> None:
    from safetensors import safe_open

    Trainer(tmp_path).run()
    with safe_open(tmp_path / "checkpoint.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["header"])
        names = set(file.keys())
    assert header["state"]["step"] == 20 and header["fingerprint"] == "a"
    assert {"trained/linear.weight", "best/linear.bias", "optimiser/0/exp_avg", "critic_optimiser/1/step"} <= names


@pytest.mark.parametrize(("tolerance", "best"), [(0.0, 2), (0.3, 5)])
def test_of_weights_within_the_tolerance_the_latest_are_kept(tolerance: float, best: int) -> None:
    figures = iter([0.5, 0.9, 0.5, 0.7, 0.8])
    trainer = Trainer(None, steps=5, check_every=1, tolerance=tolerance)
    trainer.loop.run(trainer.step, lambda losses: {"figure": next(figures)})
    assert trainer.loop.state.best_figures["step"] == best


def test_training_ends_when_the_figure_no_longer_rises() -> None:
    figures = iter([0.5, 0.9, 0.5, 0.7, 0.8])
    trainer = Trainer(None, check_every=1, patience=3)
    trainer.loop.run(trainer.step, lambda losses: {"figure": next(figures)})
    assert trainer.loop.state.step == 5 and trainer.loop.state.best_figures == {"figure": 0.9, "step": 2}


def test_a_time_ends_the_training_and_is_its_clock() -> None:
    trainer = Trainer(None, steps=None, check_every=None, check_every_s=0.01, seconds=0.05)
    trainer.loop.run(trainer.step, trainer.check)
    state = trainer.loop.state
    assert state.spent_s >= 0.05 and state.figures
    assert trainer.loop.done >= 1 and trainer.loop.optimiser.param_groups[0]["lr"] < RATE


def test_log_and_status_hold_loss_figure_and_remaining_time(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    assert set(lines[0]) == {"step", "loss", "done", "critic", "rate", "figure", "wall_s"}
    assert lines[0]["loss"] == -lines[0]["figure"] and lines[-1]["loss"] < lines[0]["loss"]
    first, last = trainer.statuses[0], trainer.statuses[-1]
    assert (first.done, first.total, first.figure) == (1, 20, None) and first.eta_s > 0
    assert last.eta_s == 0 and last.figure == lines[3]["figure"]
    assert last.detail() == f"loss {last.loss:.3f}, held-out figure {last.figure:.3f}"


def test_curves_are_written_where_tensorboard_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    curves: dict[str, list[int]] = {}

    class SummaryWriter:
        def __init__(self, folder: Path, *, purge_step: int) -> None:
            assert folder == tmp_path / "tensorboard" and purge_step == 0

        def add_scalar(self, name: str, value: float, step: int) -> None:
            curves.setdefault(name, []).append(step)

        def close(self) -> None:
            curves["closed"] = []

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Trainer(tmp_path).run()
    assert set(curves) == {"train/loss", "train/done", "train/critic", "train/rate", "held_out/figure", "closed"}
    assert curves["train/loss"] == [4, 8, 12, 16, 20]


def test_learning_rates_warm_up_and_fall_to_their_floor() -> None:
    assert capped_cosine(2.0, 4, 0.0, warm_up=10, floor=0.01) == 1.0
    assert capped_cosine(2.0, 99, 1.0, warm_up=10, floor=0.01) == pytest.approx(0.02)
    assert scaled_cosine(2.0, 0.5, 0.0, floor=0.02) == 1.0
    assert scaled_cosine(2.0, 7.0, 1.0, floor=0.02) == pytest.approx(0.04)


def test_a_fingerprint_holds_settings_and_data() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Settings:
        steps: int = 3
        seconds: float | None = None

    assert fingerprint(Settings(), clips=2) == fingerprint(Settings(), clips=2)
    assert fingerprint(Settings(), clips=2) != fingerprint(Settings(steps=4), clips=2)
    assert fingerprint(Settings(seconds=1.0), ignore=("seconds",)) == fingerprint(Settings(), ignore=("seconds",))

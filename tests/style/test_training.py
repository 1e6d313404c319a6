"""Training of the style model: it learns, and a killed run resumes where it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vast_cli.expression.nonautoregressive import ExpressionConfig
from vast_cli.face.model import FaceModel
from vast_cli.style.encoder import StyleConfig
from vast_cli.training.style.batches import WINDOW, StyleBatch
from vast_cli.training.style.corpus import StyleClip, interpolate_rows, shift_frames
from vast_cli.training.style.moments import fit_moment_space
from vast_cli.training.style.train import StyleTrainer, StyleTrainingSettings, prepare, save_style_and_expression

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
STYLE = StyleConfig(width=16, hidden=24, d_style=8, n_reflections=2)
EXPRESSION = ExpressionConfig(d_style=8, free=3, width=32, blocks=1, heads=4, hidden=16, drawn=8, mixtures=2)

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As `train_style` runs by default; more threads wait for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def face() -> FaceModel:
    if not (WEIGHTS / "face_model.safetensors").exists():
        pytest.skip("weights/face_model.safetensors is not here")
    return FaceModel.load(WEIGHTS / "face_model.safetensors")


@pytest.fixture
def clips(face: FaceModel) -> list[StyleClip]:
    """Eight clips whose jaw opens with class 1 of the speech, one of them silent, one short."""
    made = []
    for i in range(8):
        random = np.random.default_rng(i)
        n = 40 if i == 3 else 150
        opened = np.convolve(random.random(n + 4) < 0.3, np.ones(5) / 5, "valid")[:n].astype(np.float32)
        values = np.zeros((2 * n, 40), np.float32)
        values[:, 1] = np.repeat(opened, 2)
        values[:, 2] = 1 - values[:, 1]
        expression = 0.05 * random.standard_normal((n, 233)).astype(np.float32) * face.sd
        expression[:, 0] += 3 * opened + 0.3 * i
        made.append(
            StyleClip(
                path=f"talk/{i}.mp4",
                set="style" if i == 5 else "talk",
                group=("talk", str(i), ""),
                expression=expression,
                weight=np.ones(n, np.float32),
                identity=face.v_bar,
                ppgs=[] if i == 5 else [values],
                in_sync=i != 5,
            )
        )
    return made


def trainer(clips: list[StyleClip], face: FaceModel, folder: Path, **changes: Any) -> StyleTrainer:
    settings = StyleTrainingSettings(batch=4, seed=3, style=STYLE, expression=EXPRESSION, **changes)
    space = fit_moment_space(clips[:6], face, person=settings.person)
    for clip in clips:
        clip.remove_person(space)
    networks, batches = prepare(clips[:6], face, settings, space, assets_folder=WEIGHTS)
    return StyleTrainer(networks, batches, clips[6:], settings, folder=folder)


def test_lips_learn_to_follow_the_audio(clips: list[StyleClip], face: FaceModel, tmp_path: Path) -> None:
    run = trainer(clips, face, tmp_path, steps=90, check_every=30)
    report = run.run("a")
    assert report["r_talk"] > 0.6
    save_style_and_expression(run.loop.best, tmp_path / "style.safetensors", header={})


def test_a_resumed_training_ends_like_an_uninterrupted_one(
    clips: list[StyleClip], face: FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # without refinement, which would shift the audio of the shared clips
    changes = {"steps": 5, "check_every": 2, "refine_at": 2.0}
    whole = trainer(clips, face, tmp_path / "whole", **changes)
    whole.run("a")

    killed = trainer(clips, face, tmp_path / "killed", **changes)
    draw = killed.batches.draw

    def die(step: int) -> StyleBatch:
        if step == 3:
            raise KeyboardInterrupt
        return draw(step)

    monkeypatch.setattr(killed.batches, "draw", die)
    with pytest.raises(KeyboardInterrupt):
        killed.run("a")
    resumed = trainer(clips, face, tmp_path / "killed", **changes)
    resumed.run("a")
    assert resumed.loop.state.step == 5
    assert resumed.loop.state.best_figures == whole.loop.state.best_figures
    for name, value in whole.networks.state_dict().items():
        assert torch.equal(value, resumed.networks.state_dict()[name]), name
    for name, value in whole.loop.best.state_dict().items():
        assert torch.equal(value, resumed.loop.best.state_dict()[name]), name


def test_batches_are_whole_numbers_and_repeat(clips: list[StyleClip], face: FaceModel, tmp_path: Path) -> None:
    batches = trainer(clips, face, tmp_path, steps=1).batches
    for step in range(30):
        a, b = batches.draw(step), batches.draw(step)
        for name, value in vars(a).items():
            assert torch.isfinite(value).all() and torch.equal(value, getattr(b, name)), name
        assert a.target.shape == (4, WINDOW, 233) and (a.prompt_mask.sum(1) > 0).all()


def test_speech_in_a_batch_is_that_of_the_clip(clips: list[StyleClip], face: FaceModel, tmp_path: Path) -> None:
    batches = trainer(clips, face, tmp_path, steps=1).batches

    class Still:
        """A random generator that changes nothing."""

        def integers(self, *_: int) -> int:
            return 0

        def uniform(self, low: float, high: float) -> float:
            return 1.0 if low > 0 else 0.0

        def random(self) -> float:
            return 1.0

    found, _ = batches._speech(clips[0], 40, 30, Still(), pace=1.0, quiet=False)
    assert np.allclose(found[1:], clips[0].speech(40, 70), atol=1e-5)
    assert np.allclose(found[:-1], clips[0].speech(39, 69), atol=1e-5)


def test_shifting_speech_moves_it_and_fills_with_silence() -> None:
    values = np.eye(40, dtype=np.float32)[5:15]
    later, earlier = shift_frames(values, 3), shift_frames(values, -3)
    assert np.array_equal(later[:7], values[3:]) and (later[7:, 0] == 1).all() and len(later) == 10
    assert np.array_equal(earlier[3:], values[:7]) and (earlier[:3, 0] == 1).all() and len(earlier) == 10
    assert np.allclose(interpolate_rows(values, np.arange(10) + 3.0)[:7], values[3:])

"""The head moves as far and as fast as that of a prompt, about its neck, within the footage's range."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vast_cli.core.arrays import Float32, Float64
from vast_cli.core.devices import Compute
from vast_cli.pipeline.extract import encode_prompt
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import head_motion
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest, RenderResult
from vast_cli.records import Style
from vast_cli.renderer import HeadMotion, Renderer
from vast_cli.renderer.avatar import TemplateFootage
from vast_cli.renderer.head_motion import PIVOT, Pose

from .conftest import TinyAvatar

OWN = np.radians([2.0, 2.0, 2.0])  # sd of the template's pitch, yaw and roll
END = np.sqrt(2) * OWN  # of its range


def head(degrees: list[float], seconds: list[float]) -> Float32:
    return np.array([degrees, seconds], np.float32)


def moving(degrees: list[float], *, amount: float = 1.0, seconds: float = 1.0, seed: int = 0) -> HeadMotion:
    motion = HeadMotion.in_style(head(degrees, [seconds] * 3), TEMPLATE, amount=amount, seed=seed)
    assert motion is not None
    return motion


def template_pose(n: int) -> Pose:
    """Slow waves that do not come in step."""
    time = np.arange(n)[:, None] / 25
    rotation = END * np.sin(time * [0.31, 0.37, 0.43])
    translation = np.concatenate([130 + 2 * np.sin(time * [0.5, 0.6]), np.zeros((n, 1))], 1)
    return rotation.astype(np.float32), np.full(n, 7.7, np.float32), translation.astype(np.float32)


TEMPLATE = template_pose(20_000)[0]


@pytest.fixture(scope="module")
def turned(tiny: TinyAvatar) -> Callable[..., tuple[Pose, Pose]]:
    """The template's pose and the turned one, over 40 minutes."""

    def call(motion: HeadMotion, n: int = 60_000) -> tuple[Pose, Pose]:
        pose = template_pose(n)
        return pose, motion.turn(pose, 0, face=tiny.face)

    return call


def test_the_head_gets_the_spread_of_the_prompt_where_that_is_larger(turned: Callable[..., Any]) -> None:
    """But for what the footage's range takes."""
    _, (rotation, scale, _) = turned(moving([2.5, 2.2, 1.0]))
    np.testing.assert_allclose(np.degrees(rotation.std(0)), [2.5, 2.2, 2.0], rtol=0.08)
    assert np.ptp(scale) == 0


def test_amount_scales_what_the_template_lacks() -> None:
    spreads = [np.array(moving([3.0, 2.2, 2.1], amount=amount).spread) for amount in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(spreads[0], spreads[1] / 2)
    np.testing.assert_allclose(spreads[1], np.sqrt(np.radians([3.0, 2.2, 2.1]) ** 2 - OWN**2), rtol=0.01)
    assert (spreads[2] > spreads[1]).all()


def test_turns_have_the_spread_and_the_pace_of_the_prompt() -> None:
    motion = HeadMotion.in_style(head([3.0, 3.0, 3.0], [0.5, 1.0, 4.0]), TEMPLATE, amount=1.0, seed=0)
    assert motion is not None
    turns = motion.turns(0, 100_000)
    np.testing.assert_allclose(turns.std(0), motion.spread, rtol=0.05)
    wanted = np.exp(-0.2 / np.array([0.5, 1.0, 4.0]))
    np.testing.assert_allclose((turns[5:] * turns[:-5]).mean(0) / turns.var(0), wanted, rtol=0.03)
    assert np.abs(np.corrcoef(turns.T) - np.eye(3)).max() < 0.1, "the axes move by themselves"


def test_turns_are_smooth() -> None:
    """Also from one block of noise to the next."""
    motion = moving([3.0, 3.0, 3.0])
    turns = motion.turns(0, 20_000) / np.array(motion.spread)
    for steps in (np.diff(turns, axis=0), np.diff(turns, 2, axis=0)):
        assert steps.std() < 0.2 and np.abs(steps).max() < 6 * steps.std()


def test_a_frame_does_not_depend_on_the_run_that_it_is_in() -> None:
    motion = moving([4.0, 3.0, 5.0], seed=7)
    whole = motion.turns(0, 1700)
    for length in (1, 8, 96, 501):
        parts = [motion.turns(start, min(length, 1700 - start)) for start in range(0, 1700, length)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(moving([4.0, 3.0, 5.0], seed=8).turns(0, 1700), whole)


@pytest.mark.parametrize("degrees", [[3.0, 3.0, 3.0], [40.0, 40.0, 40.0]])
def test_turns_stay_within_the_range_of_the_footage(turned: Callable[..., Any], degrees: list[float]) -> None:
    _, (rotation, _, _) = turned(moving(degrees, amount=2.0))
    distance, own = (np.linalg.norm(values / END, axis=1) for values in (rotation, TEMPLATE))
    assert distance.max() < 1.02 * own.max()
    speed = np.abs(np.diff(rotation, axis=0)).max()
    assert speed < np.radians(2.0), "a head that would go further does not jump between the ends of its range"


def test_a_template_beyond_the_range_is_taken_no_further(tiny: TinyAvatar) -> None:
    rotation = np.full((50, 3), 3 * OWN[0], np.float32)
    pose = rotation, np.full(50, 7.7, np.float32), np.zeros((50, 3), np.float32)
    result, _, _ = moving([4.0, 4.0, 4.0]).turn(pose, 0, face=tiny.face)
    far, before = np.linalg.norm(result, axis=1), np.linalg.norm(rotation, axis=1)
    assert (far <= before + 1e-5).all() and (far < before - 1e-3).any()


def test_the_neck_stays_where_it_is(turned: Callable[..., Any], tiny: TinyAvatar) -> None:
    before, after = turned(moving([4.0, 4.0, 4.0]), 500)
    neck, nose = (np.broadcast_to(point, (500, 1, 3)).astype(np.float32) for point in (PIVOT, tiny.face.v_bar[1]))
    np.testing.assert_allclose(tiny.face.place(neck, *after), tiny.face.place(neck, *before), atol=1e-3)
    assert np.abs(tiny.face.place(nose, *after) - tiny.face.place(nose, *before)).max() > 3


@pytest.mark.parametrize("degrees", [[1.9, 0.5, 1.99], [0.0, 0.0, 0.0]])
def test_a_calm_prompt_leaves_the_template_alone(degrees: list[float]) -> None:
    assert HeadMotion.in_style(head(degrees, [1.0] * 3), TEMPLATE, amount=2.0, seed=0) is None


@pytest.mark.parametrize("seconds", [0.0, -3.0, 1e-9, 1e9])
def test_no_pace_breaks_the_noise(seconds: float) -> None:
    motion = moving([3.0, 3.0, 3.0], seconds=seconds)
    turns: Float64 = motion.turns(0, 20_000)
    np.testing.assert_allclose(turns.std(0), motion.spread, rtol=0.15)


def style(degrees: list[float]) -> Style:
    one = np.zeros(1, np.float32)
    return Style(
        mean=one, log_std=one, flow_seed=one, moments=one, moments_std=one, vector=np.zeros(2, np.float32),
        head=head(degrees, [1.0] * 3), source="prompt.mp4", n_frames=100, speech_known=True, model_hash="0",
    )  # fmt: skip


def test_without_style_amount_or_lack_nothing_moves(tiny: TinyAvatar) -> None:
    for prompt_style, amount in ((None, 1.0), (style([30.0] * 3), 0.0), (style([0.1] * 3), 1.0)):
        assert head_motion(prompt_style, tiny.avatar, amount=amount, seed=0) == (None, [])
    motion, warnings = head_motion(style([30.0] * 3), tiny.avatar, amount=1.0, seed=0)
    assert motion is not None and not warnings


def test_over_footage_the_option_is_left_out_with_a_warning(tiny: TinyAvatar, footage: TemplateFootage) -> None:
    avatar = dataclasses.replace(tiny.avatar, footage=footage)
    motion, warnings = head_motion(style([30.0] * 3), avatar, amount=1.0, seed=0)
    assert motion is None
    (warning,) = warnings
    assert "head_motion" in warning and "`tiny`" in warning and "footage" in warning


def test_the_renderer_turns_the_head_and_the_cuts_do_not_show(tiny: TinyAvatar, compute: Compute) -> None:
    motion, _ = head_motion(style([30.0] * 3), tiny.avatar, amount=1.0, seed=0)

    def affine(head: HeadMotion | None, *cuts: int) -> Float32:
        renderer = Renderer(tiny.avatar, face=tiny.face, rasteriser=tiny.rasteriser, compute=compute, head=head)
        spans = zip((0, *cuts), (*cuts, 40), strict=True)
        scenes = [run for a, b in spans for run in renderer.prepare(tiny.expression[a:b], a)]
        return np.concatenate([run.plate.affine for run in scenes])

    turned = affine(motion)
    np.testing.assert_array_equal(affine(motion, 8, 32), turned)
    np.testing.assert_allclose(affine(motion, 3, 10), turned, atol=1e-3)
    assert np.abs(turned - affine(None)).max() > 0.05


@pytest.fixture(scope="module")
def lively(models: Models, prompt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's style with a head that moves half as far again as the template."""
    record, _ = encode_prompt(prompt, models)
    path = tmp_path_factory.mktemp("style") / "lively.style"
    dataclasses.replace(record, head=head([3.0] * 3, [1.0] * 3)).save(path)
    return path


@pytest.fixture
def make(
    bundle: Path, speech: Path, lively: Path, models: Models, tmp_path: Path, ffmpeg: Callable[..., None]
) -> Callable[..., RenderResult]:
    """Render 10 s, in segments of 3 s, into the file `name`."""
    audio = tmp_path / "speech.wav"
    ffmpeg("-stream_loop", 2, "-i", speech, "-t", 10, "-ar", "16000", audio)

    def call(name: str, *, parts: Path | None = None, stop_at: int = 0, **options: Any) -> RenderResult:
        def progress(stage: str, done: int, _total: int | None) -> None:
            if stage == "render" and done == stop_at:
                raise KeyboardInterrupt

        values = {"segment": 3.0, "detail": "mesh", "encoder_preset": "ultrafast", "threads": 1, "device": "cpu"}
        request = RenderRequest.of(audio, str(bundle), tmp_path / name, values=values | options, style=lively)
        return render(request, models=models, parts=parts, progress=progress)

    return call


def test_an_interrupted_render_continues_with_the_same_head(make: Callable[..., RenderResult], tmp_path: Path) -> None:
    whole = make("whole.mp4", head_motion=1.0).output.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        make("cut.mp4", head_motion=1.0, parts=tmp_path / "parts", stop_at=150)
    assert make("other.mp4", head_motion=0.5, parts=tmp_path / "parts").taken_up == 0, "other heads, other segments"
    result = make("cut.mp4", head_motion=1.0, parts=tmp_path / "parts")
    assert result.taken_up == 1 and result.output.read_bytes() == whole


def test_0_gives_the_bytes_of_a_render_without_the_option(make: Callable[..., RenderResult]) -> None:
    plain = make("plain.mp4").output.read_bytes()
    assert make("zero.mp4", head_motion=0.0).output.read_bytes() == plain
    assert make("one.mp4", head_motion=1.0).output.read_bytes() != plain

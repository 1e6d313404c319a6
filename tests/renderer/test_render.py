"""Painting: the mouth follows the mesh, everything else follows the template alone, cuts do not show."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.records import Posteriorgram
from vast_cli.renderer import Renderer, State
from vast_cli.renderer.avatar import Avatar, Footage
from vast_cli.renderer.geometry import Array
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.render import speech_windows

from .conftest import SIDE, Sitter


def paint(
    sitter: Sitter, compute: Compute, expression: Array, avatar: Avatar | None = None, *, cuts: tuple[int, ...] = (),
    detail: str = "full", seed: int = 0,
) -> NDArray[np.uint8]:  # fmt: skip
    """Frames of an expression run given in parts."""
    painter = Renderer(
        avatar or sitter.avatar,
        face=sitter.face,
        rasteriser=sitter.rasteriser,
        compute=compute,
        detail=detail,
        seed=seed,
    )
    frames = []
    for start, stop in zip((0, *cuts), (*cuts, len(expression)), strict=True):
        done = start
        for run in painter.prepare(expression[start:stop], start):
            rng = np.random.default_rng(0)
            heard = rng.random((100, SPEECH_FRAMES, 40)).astype(np.float32)[done : done + len(run)]
            frames += painter.render(run, heard)
            done += len(run)
    return np.stack(frames)


def test_cuts_do_not_show(sitter: Sitter, compute: Compute) -> None:
    expression = sitter.expression[:30]
    whole = paint(sitter, compute, expression).astype(int)
    assert whole.shape == (30, SIDE, SIDE, 3)
    for cuts in ((8,), (1, 2, 19), (13,)):
        assert np.abs(paint(sitter, compute, expression, cuts=cuts) - whole).max() <= 1  # rounding of equal numbers


@pytest.mark.parametrize("detail", ["full", "mesh"])
def test_open_mouth_is_dark_and_closed_mouth_is_not(sitter: Sitter, compute: Compute, detail: str) -> None:
    expression = np.concatenate([sitter.jaw(0.0), sitter.jaw(2.0)])
    frames = paint(sitter, compute, expression, detail=detail)
    opened = sitter.build(expression, tuple(part[:2] for part in sitter.pose)).mesh.conditioning[1, ..., 3] > 0
    inside = cv2.erode(opened.astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.any()
    assert frames[1][inside].mean() < frames[0][inside].mean() - 40


def test_hull_is_blind_to_expression_and_holds_the_open_jaw(sitter: Sitter) -> None:
    pose = tuple(part[:1] for part in sitter.pose)
    closed, opened = (sitter.build(sitter.jaw(amount), pose) for amount in (0.0, 3.0))
    np.testing.assert_array_equal(closed.hull, opened.hull)
    np.testing.assert_array_equal(closed.plate.affine, opened.plate.affine)
    np.testing.assert_array_equal(closed.plate.features, opened.plate.features)
    assert (opened.hull[opened.mesh.mask > 0] > 0).all()


def test_outside_the_hull_no_expression_is_seen(sitter: Sitter, footage: Footage, compute: Compute) -> None:
    avatar = dataclasses.replace(sitter.avatar, footage=footage)
    n = 6
    frames = [paint(sitter, compute, np.repeat(sitter.jaw(a), n, 0), avatar) for a in (0.0, 2.5)]
    painter = Renderer(avatar, face=sitter.face, rasteriser=sitter.rasteriser, compute=compute)
    hull = np.concatenate([run.hull for run in painter.prepare(sitter.expression[:n], 0)])
    outside = ~(hull > 0).any(0)
    np.testing.assert_array_equal(frames[0][:, outside], frames[1][:, outside])
    assert (frames[0] != frames[1]).any()


def test_over_footage_the_rest_of_the_frame_is_the_footage(sitter: Sitter, footage: Footage, compute: Compute) -> None:
    avatar = dataclasses.replace(sitter.avatar, footage=footage)
    frames = paint(sitter, compute, sitter.expression[:4], avatar)
    assert (frames[:, :4] == 60).all()  # the grey room, PNG streams


def test_mesh_detail_leaves_the_network_out(sitter: Sitter, compute: Compute) -> None:
    expression = sitter.expression[:3]
    torch_free = paint(sitter, compute, expression, detail="mesh").astype(int)
    full = paint(sitter, compute, expression).astype(int)
    assert np.abs(full - torch_free).max() > 0
    with pytest.raises(VastError) as caught:
        paint(sitter, compute, expression, detail="best")
    assert caught.value.code == "vast_option_invalid"


def test_seed_chooses_where_the_template_begins(sitter: Sitter, compute: Compute) -> None:
    expression = np.repeat(sitter.jaw(0.5), 2, 0)
    first = paint(sitter, compute, expression, seed=0)
    assert (first == paint(sitter, compute, expression, seed=0)).all()
    assert any((first != paint(sitter, compute, expression, seed=s)).any() for s in (1, 2, 3))


def test_textured_mesh_looks_like_the_footage(sitter: Sitter, compute: Compute) -> None:
    run = sitter.build(sitter.expression, sitter.pose)
    from vast_cli.renderer import base

    painted = base.paint(run, sitter.avatar.texture, sitter.avatar.plate)
    skin = cv2.erode((run.mesh.mask.min(0) > 0).astype(np.uint8), np.ones((11, 11))) > 0
    assert np.abs(painted - sitter.frames)[:, skin].mean() < 6  # levels; another frame's is 9 and more


def test_speech_windows_repeat_at_the_ends_and_move_with_time() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((101, 40)).astype(np.float32)
    ppg = Posteriorgram(values=values / values.sum(1, keepdims=True), n_samples=32_000, model_hash="x")
    whole = speech_windows(ppg, 0, 50)
    assert whole.shape == (50, SPEECH_FRAMES, 40)
    np.testing.assert_array_equal(np.concatenate([speech_windows(ppg, 0, 20), speech_windows(ppg, 20, 30)]), whole)
    np.testing.assert_allclose(whole.sum(2), 1, atol=1e-5)


class Hungry(torch.nn.Module):
    """G on a machine whose memory holds `limit` frames."""

    def __init__(self, network: torch.nn.Module, limit: int, error: Exception) -> None:
        super().__init__()
        self.network, self.limit, self.error = network, limit, error
        self.config = network.config
        self.asked: list[int] = []

    def forward(
        self, picture: torch.Tensor, speech: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked.append(picture.shape[1])
        if picture.shape[1] > self.limit:
            raise self.error
        residual, state = self.network(picture, speech, state)
        return residual, state


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu", "numpy"])
def test_out_of_memory_halves_and_goes_on(
    sitter: Sitter, compute: Compute, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    expression = sitter.expression[:30]
    whole = paint(sitter, compute, expression).astype(int)
    hungry = Hungry(sitter.avatar.network, 3, error)
    frames = paint(sitter, compute, expression, dataclasses.replace(sitter.avatar, network=hungry))
    assert hungry.asked == [8, 4, *[2] * 15], "8 and 4 were tried once"
    assert np.abs(frames - whole).max() <= 1  # rounding
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_not_even_one_frame_fits(sitter: Sitter, compute: Compute) -> None:
    hungry = Hungry(sitter.avatar.network, 0, OUT_OF_MEMORY[0])
    with pytest.raises(VastError) as caught:
        paint(sitter, compute, sitter.expression[:10], dataclasses.replace(sitter.avatar, network=hungry))
    assert caught.value.code == "vast_out_of_memory"
    assert hungry.asked == [8, 4, 2, 1]


def test_other_errors_of_the_network_are_not_taken_for_it(sitter: Sitter, compute: Compute) -> None:
    hungry = Hungry(sitter.avatar.network, 0, RuntimeError("shape '[2]' is invalid"))
    with pytest.raises(RuntimeError, match="shape"):
        paint(sitter, compute, sitter.expression[:10], dataclasses.replace(sitter.avatar, network=hungry))
    assert hungry.asked == [8]


def test_state_goes_from_one_renderer_to_the_next(sitter: Sitter, compute: Compute) -> None:
    expression = sitter.expression[:32]
    heard = np.random.default_rng(0).random((8, SPEECH_FRAMES, 40)).astype(np.float32)

    def painter() -> Renderer:
        return Renderer(sitter.avatar, face=sitter.face, rasteriser=sitter.rasteriser, compute=compute)

    first, second, fresh = painter(), painter(), painter()
    whole = [first.render(run, heard) for run in first.prepare(expression[:16], 0)]
    assert fresh.state.values.size == 0, "renderers of one avatar share nothing"
    second.state = first.state
    whole += [first.render(run, heard) for run in first.prepare(expression[16:], 16)]
    rest = [second.render(run, heard) for run in second.prepare(expression[16:], 16)]
    assert np.array_equal(np.concatenate(whole[2:]), np.concatenate(rest))
    cold = [fresh.render(run, heard) for run in fresh.prepare(expression[16:], 16)]
    assert not np.array_equal(np.concatenate(cold), np.concatenate(rest)), "the state matters"


def test_a_state_of_another_network_is_refused(sitter: Sitter, compute: Compute) -> None:
    painter = Renderer(sitter.avatar, face=sitter.face, rasteriser=sitter.rasteriser, compute=compute)
    for state in (State(np.zeros((1, 2, 3, 4), np.float32), "float32"), State(np.ones((1,), np.float32), "int8")):
        with pytest.raises(VastError) as caught:
            painter.state = state
        assert caught.value.code == "vast_record_invalid"

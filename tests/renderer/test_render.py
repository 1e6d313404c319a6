"""The mouth follows the mesh, everything else follows the template only, and cuts do not show."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.records import Posteriorgram
from vast_cli.renderer import Renderer, RendererState
from vast_cli.renderer.avatar import Avatar, TemplateFootage
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.render import speech_windows

from .conftest import SIDE, TinyAvatar


def render(
    tiny: TinyAvatar,
    compute: Compute,
    expression: Float32,
    avatar: Avatar | None = None,
    *,
    cuts: tuple[int, ...] = (),
    detail: str = "full",
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Frames of an expression run, rendered in parts."""
    renderer = Renderer(
        avatar or tiny.avatar,
        face=tiny.face,
        rasteriser=tiny.rasteriser,
        compute=compute,
        detail=detail,
        seed=seed,
    )
    frames = []
    for start, stop in zip((0, *cuts), (*cuts, len(expression)), strict=True):
        done = start
        for run in renderer.prepare(expression[start:stop], start):
            rng = np.random.default_rng(0)
            speech = rng.random((100, SPEECH_FRAMES, 40)).astype(np.float32)[done : done + len(run)]
            frames += renderer.render(run, speech)
            done += len(run)
    return np.stack(frames)


def test_cuts_do_not_show(tiny: TinyAvatar, compute: Compute) -> None:
    expression = tiny.expression[:30]
    whole = render(tiny, compute, expression).astype(int)
    assert whole.shape == (30, SIDE, SIDE, 3)
    for cuts in ((8,), (1, 2, 19), (13,)):
        assert np.abs(render(tiny, compute, expression, cuts=cuts) - whole).max() <= 1  # rounding of equal numbers


@pytest.mark.parametrize("detail", ["full", "mesh"])
def test_open_mouth_is_dark_and_closed_mouth_is_not(tiny: TinyAvatar, compute: Compute, detail: str) -> None:
    expression = np.concatenate([tiny.jaw(0.0), tiny.jaw(2.0)])
    frames = render(tiny, compute, expression, detail=detail)
    opened = tiny.build(expression, tuple(part[:2] for part in tiny.pose)).mesh.conditioning[1, ..., 3] > 0
    inside = cv2.erode(opened.astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.any()
    assert frames[1][inside].mean() < frames[0][inside].mean() - 40


def test_hull_is_blind_to_expression_and_holds_the_open_jaw(tiny: TinyAvatar) -> None:
    pose = tuple(part[:1] for part in tiny.pose)
    closed, opened = (tiny.build(tiny.jaw(amount), pose) for amount in (0.0, 3.0))
    np.testing.assert_array_equal(closed.hull, opened.hull)
    np.testing.assert_array_equal(closed.plate.affine, opened.plate.affine)
    np.testing.assert_array_equal(closed.plate.features, opened.plate.features)
    assert (opened.hull[opened.mesh.mask > 0] > 0).all()


def test_outside_the_hull_no_expression_shows(tiny: TinyAvatar, footage: TemplateFootage, compute: Compute) -> None:
    avatar = dataclasses.replace(tiny.avatar, footage=footage)
    n = 6
    frames = [render(tiny, compute, np.repeat(tiny.jaw(a), n, 0), avatar) for a in (0.0, 2.5)]
    renderer = Renderer(avatar, face=tiny.face, rasteriser=tiny.rasteriser, compute=compute)
    hull = np.concatenate([run.hull for run in renderer.prepare(tiny.expression[:n], 0)])
    outside = ~(hull > 0).any(0)
    np.testing.assert_array_equal(frames[0][:, outside], frames[1][:, outside])
    assert (frames[0] != frames[1]).any()


def test_over_footage_the_rest_of_the_frame_is_the_footage(
    tiny: TinyAvatar, footage: TemplateFootage, compute: Compute
) -> None:
    avatar = dataclasses.replace(tiny.avatar, footage=footage)
    frames = render(tiny, compute, tiny.expression[:4], avatar)
    assert (frames[:, :4] == 60).all()  # the grey room, PNG streams


def test_mesh_detail_leaves_the_network_out(tiny: TinyAvatar, compute: Compute) -> None:
    expression = tiny.expression[:3]
    mesh_only = render(tiny, compute, expression, detail="mesh").astype(int)
    full = render(tiny, compute, expression).astype(int)
    assert np.abs(full - mesh_only).max() > 0
    with pytest.raises(VastError) as caught:
        render(tiny, compute, expression, detail="best")
    assert caught.value.code == "vast_option_invalid"


def test_the_seed_selects_where_the_template_starts(tiny: TinyAvatar, compute: Compute) -> None:
    expression = np.repeat(tiny.jaw(0.5), 2, 0)
    first = render(tiny, compute, expression, seed=0)
    assert (first == render(tiny, compute, expression, seed=0)).all()
    assert any((first != render(tiny, compute, expression, seed=s)).any() for s in (1, 2, 3))


def test_textured_mesh_looks_like_the_footage(tiny: TinyAvatar, compute: Compute) -> None:
    run = tiny.build(tiny.expression, tiny.pose)
    from vast_cli.renderer import base

    rendered = base.render_base(run, tiny.avatar.texture, tiny.avatar.plate)
    skin = cv2.erode((run.mesh.mask.min(0) > 0).astype(np.uint8), np.ones((11, 11))) > 0
    assert np.abs(rendered - tiny.frames)[:, skin].mean() < 6  # levels; another frame differs by 9 and more


def test_speech_windows_repeat_at_the_ends_and_move_with_time() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((101, 40)).astype(np.float32)
    ppg = Posteriorgram(values=values / values.sum(1, keepdims=True), n_samples=32_000, model_hash="x")
    whole = speech_windows(ppg, 0, 50)
    assert whole.shape == (50, SPEECH_FRAMES, 40)
    np.testing.assert_array_equal(np.concatenate([speech_windows(ppg, 0, 20), speech_windows(ppg, 20, 30)]), whole)
    np.testing.assert_allclose(whole.sum(2), 1, atol=1e-5)


class LimitedMemory(torch.nn.Module):
    """G on a machine whose memory holds `limit` frames."""

    def __init__(self, network: torch.nn.Module, limit: int, error: Exception) -> None:
        super().__init__()
        self.network, self.limit, self.error = network, limit, error
        self.config = network.config
        self.batches: list[int] = []

    def forward(
        self, frames: torch.Tensor, speech: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.batches.append(frames.shape[1])
        if frames.shape[1] > self.limit:
            raise self.error
        residual, state = self.network(frames, speech, state)
        return residual, state


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu", "numpy"])
def test_out_of_memory_halves_the_batch(
    tiny: TinyAvatar, compute: Compute, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    expression = tiny.expression[:30]
    whole = render(tiny, compute, expression).astype(int)
    limited = LimitedMemory(tiny.avatar.network, 3, error)
    frames = render(tiny, compute, expression, dataclasses.replace(tiny.avatar, network=limited))
    assert limited.batches == [8, 4, *[2] * 15], "8 and 4 were tried once"
    assert np.abs(frames - whole).max() <= 1  # rounding
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_out_of_memory_with_a_single_frame_is_an_error(tiny: TinyAvatar, compute: Compute) -> None:
    limited = LimitedMemory(tiny.avatar.network, 0, OUT_OF_MEMORY[0])
    with pytest.raises(VastError) as caught:
        render(tiny, compute, tiny.expression[:10], dataclasses.replace(tiny.avatar, network=limited))
    assert caught.value.code == "vast_out_of_memory"
    assert limited.batches == [8, 4, 2, 1]


def test_other_errors_of_the_network_are_raised(tiny: TinyAvatar, compute: Compute) -> None:
    limited = LimitedMemory(tiny.avatar.network, 0, RuntimeError("shape '[2]' is invalid"))
    with pytest.raises(RuntimeError, match="shape"):
        render(tiny, compute, tiny.expression[:10], dataclasses.replace(tiny.avatar, network=limited))
    assert limited.batches == [8]


def test_another_renderer_continues_from_a_state(tiny: TinyAvatar, compute: Compute) -> None:
    expression = tiny.expression[:32]
    speech = np.random.default_rng(0).random((8, SPEECH_FRAMES, 40)).astype(np.float32)

    def new_renderer() -> Renderer:
        return Renderer(tiny.avatar, face=tiny.face, rasteriser=tiny.rasteriser, compute=compute)

    first, second, fresh = new_renderer(), new_renderer(), new_renderer()
    whole = [first.render(run, speech) for run in first.prepare(expression[:16], 0)]
    assert fresh.state.values.size == 0, "renderers of one avatar share nothing"
    second.state = first.state
    whole += [first.render(run, speech) for run in first.prepare(expression[16:], 16)]
    rest = [second.render(run, speech) for run in second.prepare(expression[16:], 16)]
    assert np.array_equal(np.concatenate(whole[2:]), np.concatenate(rest))
    cold = [fresh.render(run, speech) for run in fresh.prepare(expression[16:], 16)]
    assert not np.array_equal(np.concatenate(cold), np.concatenate(rest)), "the state matters"


def test_a_state_of_another_network_is_refused(tiny: TinyAvatar, compute: Compute) -> None:
    renderer = Renderer(tiny.avatar, face=tiny.face, rasteriser=tiny.rasteriser, compute=compute)
    for state in (
        RendererState(np.zeros((1, 2, 3, 4), np.float32), "float32"),
        RendererState(np.ones((1,), np.float32), "int8"),
    ):
        with pytest.raises(VastError) as caught:
            renderer.state = state
        assert caught.value.code == "vast_record_invalid"

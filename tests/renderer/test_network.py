"""The network G starts as the identity, runs in pieces of any size and never uses later frames."""

import pytest
import torch
from torch import Tensor

from vast_cli.renderer.network import N_INPUT, N_SPEECH, SPEECH_FRAMES, RendererNetwork, RendererNetworkConfig


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(1, 12, N_INPUT, 32, 40), torch.rand(1, 12, SPEECH_FRAMES, N_SPEECH)


@pytest.fixture
def network() -> RendererNetwork:
    torch.manual_seed(2)
    network = RendererNetwork(RendererNetworkConfig(8, 12, 16)).eval()
    torch.nn.init.normal_(network.last.weight, std=0.1)
    return network


def test_untrained_network_changes_nothing(inputs: tuple[Tensor, Tensor]) -> None:
    residual, _ = RendererNetwork(RendererNetworkConfig(8, 12, 16))(*inputs)
    assert residual.shape == (1, 12, 3, 32, 40)
    assert not residual.any()


@pytest.mark.parametrize("cuts", [[1], [5], [3, 4, 11], list(range(1, 12))])
def test_runs_joined_equal_the_whole(network: RendererNetwork, inputs: tuple[Tensor, Tensor], cuts: list[int]) -> None:
    frames, speech = inputs
    with torch.inference_mode():
        whole, _ = network(frames, speech)
        parts, state = [], None
        for start, stop in zip([0, *cuts], [*cuts, 12], strict=True):
            part, state = network(frames[:, start:stop], speech[:, start:stop], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


def test_later_frames_do_not_change_earlier_ones(network: RendererNetwork, inputs: tuple[Tensor, Tensor]) -> None:
    frames, speech = inputs
    with torch.inference_mode():
        before, _ = network(frames, speech)
        after, _ = network(torch.cat([frames[:, :8], 1 - frames[:, 8:]], 1), speech)
    torch.testing.assert_close(after[:, :8], before[:, :8], rtol=0, atol=1e-6)
    assert (after[:, 8:] - before[:, 8:]).abs().max() > 1e-3


def test_state_stays_bounded_in_long_videos(network: RendererNetwork, inputs: tuple[Tensor, Tensor]) -> None:
    frames, speech = inputs
    state, sizes = None, []
    with torch.inference_mode():
        for _ in range(20):
            residual, state = network(frames, speech, state)
            sizes.append(float(residual.abs().mean()))
    assert state is not None
    assert state.abs().max() <= 1
    assert abs(sizes[-1] - sizes[1]) < 0.02 * sizes[1]  # the same frames give the same residuals


def test_speech_changes_the_frames(network: RendererNetwork, inputs: tuple[Tensor, Tensor]) -> None:
    frames, speech = inputs
    with torch.inference_mode():
        assert (network(frames, speech)[0] - network(frames, 1 - speech)[0]).abs().max() > 1e-6

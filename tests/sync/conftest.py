"""A small untrained network, and the shipped one if it exists."""

from pathlib import Path

import pytest
import torch

from vast_cli.sync import LagSync, load_lagsync
from vast_cli.sync.network import LagSyncConfig, LagSyncNet

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "lagsync.safetensors"
SMALL = LagSyncConfig(channels=(4, 8, 8, 8), lip=16, hidden=16, dims=8)


@pytest.fixture
def untrained() -> LagSync:
    torch.manual_seed(0)
    return LagSync(LagSyncNet(SMALL), "lagsync@untrained")


@pytest.fixture(scope="session")
def shipped() -> LagSync:
    if not WEIGHTS.is_file():
        pytest.skip("weights/lagsync.safetensors is not here")
    return load_lagsync(WEIGHTS)

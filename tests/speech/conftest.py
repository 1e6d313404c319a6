"""A small untrained network, and the trained one if it exists."""

from pathlib import Path

import pytest
import torch

from vast_cli.speech import AcousticConfig, AcousticModel, load_acoustic_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def random_model() -> AcousticModel:
    torch.manual_seed(0)
    model = AcousticModel(AcousticConfig(hidden=32, dilations=(1, 2, 3)))
    model.mean.fill_(-4.0)
    model.hash = "0" * 16
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def trained_model() -> AcousticModel:
    path = ROOT / "weights" / "acoustic.safetensors"
    if not path.exists():
        pytest.skip("weights/acoustic.safetensors has not been trained")
    return load_acoustic_model(path)


@pytest.fixture(scope="session")
def speech_data() -> Path:
    folder = ROOT.parent / "shared" / "data" / "speech"
    if not folder.exists():
        pytest.skip("the speech corpora (../shared/data/speech) are not on this machine")
    return folder

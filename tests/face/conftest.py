"""The face model and tracker as they ship, and the corpus where it is."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vast_cli.face import FaceModel, MeshRasteriser, Topology
from vast_cli.store.assets import data_folder

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def weights() -> Path:
    return data_folder("weights")


@pytest.fixture(scope="session")
def model(weights: Path) -> FaceModel:
    return FaceModel.load(weights / "face_model.safetensors")


@pytest.fixture(scope="session")
def topology(weights: Path) -> Topology:
    return Topology.load(weights / "topology.npz", weights / "index_sets.json")


@pytest.fixture(scope="session")
def rasteriser(weights: Path) -> MeshRasteriser:
    return MeshRasteriser(weights / "topology.npz", weights / "index_sets.json")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def corpus() -> Path:
    path = SHARED / "data" / "video"
    if not (path / "index.csv").is_file():
        pytest.skip("needs the video corpus in ../shared/data/video")
    return path


@pytest.fixture(scope="session")
def talking(corpus: Path) -> NDArray[np.uint8]:
    """50 frames of a person of split val, [50, 256, 256, 3]."""
    from vast_cli.media import VideoReader

    frames = [
        frame for _, frame in zip(range(50), VideoReader(corpus / "mead" / "mead_W009_happy_l3.mp4"), strict=False)
    ]
    return np.stack(frames)

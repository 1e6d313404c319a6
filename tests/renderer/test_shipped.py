"""The shipped avatar is complete, has no footage, and its mouth follows the mesh."""

import json

import numpy as np
import pytest

from vast_cli.core.devices import Compute
from vast_cli.face import FaceModel, MeshRasteriser
from vast_cli.renderer import Avatar, Renderer
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.store.assets import data_folder
from vast_cli.store.bundles import CARD

MAX_SIZE = 12_000_000  # bytes
CHIN = 152


@pytest.fixture(scope="module")
def obama() -> Avatar:
    folder = data_folder("weights") / "avatars" / "obama"
    if not (folder / CARD).is_file():
        pytest.skip("avatar obama has not been fitted yet")
    return Avatar.load(folder)


def test_the_bundle_is_small_and_has_no_footage(obama: Avatar) -> None:
    folder = data_folder("weights") / "avatars" / "obama"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_SIZE
    assert obama.footage is None
    card = json.loads((folder / CARD).read_text())
    assert {"subject", "licence", "consent", "sha256"} <= card.keys()
    assert "/" not in json.dumps(
        {key: value for key, value in card.items() if key not in ("licence", "consent", "source")}
    )


def test_only_the_mouth_follows_the_mesh(obama: Avatar, compute: Compute) -> None:
    weights = data_folder("weights")
    face = FaceModel.load(weights / "face_model.safetensors")
    rasteriser = MeshRasteriser(weights / "topology.npz", weights / "index_sets.json")
    drop = face.basis[: face.n_strong].reshape(face.n_strong, -1, 3)[:, CHIN, 1] * face.sd[: face.n_strong]
    jaw = int(np.abs(drop).argmax())
    frames, inside = [], None
    for amount in (0.0, 1.5):
        expression = np.zeros((12, len(face.sd)), np.float32)
        expression[:, jaw] = -np.sign(drop[jaw]) * amount * face.sd[jaw]
        renderer = Renderer(obama, face=face, rasteriser=rasteriser, compute=compute)
        for run in renderer.prepare(expression, 0):
            frames += renderer.render(run, np.zeros((len(run), SPEECH_FRAMES, 40), np.float32))
            inside = run.mesh.conditioning[-1, ..., 3] > 0
    closed, opened = frames[11].astype(int), frames[23].astype(int)
    assert inside is not None
    assert np.abs(closed - opened)[inside].mean() > 10
    top, bottom, left, right = obama.region
    outside = np.ones(closed.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert not np.abs(closed - opened)[outside].any()

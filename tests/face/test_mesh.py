"""Mesh images: the fast rasteriser equals a slow one, and what its channels mean."""

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.face import FaceModel, MeshRasteriser, hull
from vast_cli.records import MeshImages


def face(
    model: FaceModel, *, size: int, turn: tuple[float, float, float] = (0.1, 0.3, 0.05), x: float | None = None
) -> Float32:
    """The mean face in the middle of an image of `size` pixels: [1, 478, 3]."""
    centre = np.array([[size / 2 if x is None else x, size / 2, 0]], np.float32)
    scale = np.full(1, size / 28, np.float32)
    return model.place(model.v_bar[None], np.array([turn], np.float32), scale, centre)


def slow(vertices: Float32, rasteriser: MeshRasteriser, size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """NCC and uv of each pixel [size, size, 5] by edge functions, triangle after triangle from far to near."""
    canonical, uv = rasteriser.topology.canonical.astype(float), rasteriser.topology.uv
    ncc = 255 * (canonical - canonical.min(0)) / (canonical.max(0) - canonical.min(0))
    attributes = np.concatenate([ncc, uv], 1)
    y, x = np.mgrid[:size, :size] + 0.5
    result, covered = np.zeros((size, size, 5)), np.zeros((size, size), bool)
    corners = vertices[rasteriser.triangles].astype(float)
    for t in np.argsort(-corners[:, :, 2].sum(1), kind="stable"):
        (ax, ay, _), (bx, by, _), (cx, cy, _) = corners[t]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        u = 1 - v - w
        inside = (u >= 0) & (v >= 0) & (w >= 0)
        a, b, c = attributes[rasteriser.triangles[t]]
        result[inside] = (u[..., None] * a + v[..., None] * b + w[..., None] * c)[inside]
        covered |= inside
    return result, covered


def test_fast_rasteriser_equals_the_slow_one(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    size = 64
    vertices = face(model, size=size)
    images = rasteriser.render(vertices, size, size)
    expected, covered = slow(vertices[0], rasteriser, size)
    assert np.array_equal(images.mask[0] > 0, covered)
    assert np.abs(images.conditioning[0, :, :, :3] - expected[:, :, :3]).max() <= 0.51  # rounding to whole numbers
    assert np.abs(images.uv[0] - expected[:, :, 3:]).max() < 1e-4


def test_the_front_of_a_turned_head_hides_what_is_behind(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    """The nose is nearest: where it is visible, pixels have its colour (large canonical z)."""
    vertices = face(model, size=128, turn=(0, 0.6, 0))
    images = rasteriser.render(vertices, 128, 128)
    tip = np.floor(vertices[0, 4, :2]).astype(int)
    assert images.conditioning[0, tip[1], tip[0], 2] > 230


def test_irises_lie_in_eyes_and_the_mouth_between_the_lips(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    vertices = face(model, size=256)
    vertices[0, [14, 87, 317], 1] += 8  # open the mouth
    images = rasteriser.render(vertices, 256, 256)
    mouth, eyes, iris = (images.conditioning[0, :, :, k] > 0 for k in (3, 4, 5))
    assert mouth.sum() > 50 and eyes.sum() > 50 and iris.sum() > 20
    assert not (iris & ~eyes).any()
    middle = vertices[0, [13, 14], :2].mean(0).astype(int)
    assert mouth[middle[1], middle[0]]
    lips = hull(vertices[0, rasteriser.lips_outer], 256, 256) > 0
    assert not (mouth & ~lips).any()


def test_a_mesh_outside_of_the_image_gives_no_pixels(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    images = rasteriser.render(face(model, size=64, x=-1e7), 64, 64)
    assert not images.mask.any() and not images.conditioning.any()


def test_a_mesh_partly_outside_is_a_crop_of_the_whole(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    vertices = face(model, size=128)
    whole = rasteriser.render(vertices, 128, 128)
    cut = rasteriser.render(vertices - np.array([50, 30, 0], np.float32), 70, 60)
    assert np.array_equal(whole.mask[0, 30:100, 50:110], cut.mask[0])
    difference = whole.conditioning[0, 30:100, 50:110].astype(int) - cut.conditioning[0]
    assert np.abs(difference).max() <= 1


def test_frames_do_not_depend_on_each_other(model: FaceModel, rasteriser: MeshRasteriser) -> None:
    """Swapping two frames swaps their images."""
    vertices = np.concatenate([face(model, size=64), face(model, size=64, turn=(0, -0.4, 0))])
    forward: MeshImages = rasteriser.render(vertices, 64, 64)
    swapped = rasteriser.render(vertices[::-1], 64, 64)
    assert np.array_equal(forward.conditioning, swapped.conditioning[::-1])
    assert np.array_equal(forward.uv, swapped.uv[::-1])


def test_a_hull_holds_its_points(rng: np.random.Generator) -> None:
    points = rng.uniform(10, 54, (30, 2)).astype(np.float32)
    mask = hull(points, 64, 64)
    assert all(mask[int(y), int(x)] for x, y in points)
    assert not mask[:8].any() and not mask[:, 57:].any()

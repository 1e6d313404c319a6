"""Figures of an avatar on footage that it was not fitted to, beside their floors and ceiling.

    python benchmarks/renderer.py ../shared/data/video/avatar/obama.mp4 --box 62 76 325 --minutes 12
    python benchmarks/renderer.py ../shared/data/video/avatar/obama_long.mp4 --portrait --minutes 12 \
        --driver ../shared/data/video/avatar/german_anchor.mp4

Fits an avatar to all but the last tenth (or loads the bundle of `--bundle`), renders that tenth from its expressions
and poses, and prints measures (described at `HeldOut.measure`). With `--driver` the avatar also acts another person's
clip and is tracked again. `--sheet` writes every 12th held-out frame and mouths at four times their size, truth | ours.
"""

import argparse
import dataclasses
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from vast_cli import media
from vast_cli.core import devices
from vast_cli.core.arrays import Float32, Image
from vast_cli.face import FaceModel, MeshRasteriser, track_video
from vast_cli.records import FaceTrack
from vast_cli.renderer import Avatar, Renderer, scene
from vast_cli.renderer.geometry import Box
from vast_cli.renderer.render import crop_to_box, speech_windows
from vast_cli.training.renderer.footage import (
    MeasuredFootage,
    encode_frames,
    footage_posteriorgram,
    measure_footage,
    track_footage,
)
from vast_cli.training.renderer.settings import RendererTrainingSettings
from vast_cli.training.renderer.texture import Unwrapper
from vast_cli.training.renderer.train import AvatarRequest, fit_renderer

Frames = Sequence[Image]

SIZE = 256  # all measures are taken in an image of this side
NEAREST, HALF_WAY, MOST = 6, 13, 60  # of the soft nearest mixture
DRIVEN = 250  # frames of the driver
COLUMNS = ("SSIM whole", "SSIM box", "ssim_mouth", "mouth dB", "hull dB", "gradient", "flicker")


def luma(frame: Image) -> Image:
    """RGB to grey levels."""
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def ssim(a: Image, b: Image) -> tuple[float, Float32]:
    """Structural similarity of luma (Gaussian, sigma 1.5): mean and map."""
    value, full = structural_similarity(
        luma(a), luma(b), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    return float(value), full


def psnr(a: Image, b: Image, where: object) -> float:
    """Peak signal to noise ratio over some pixels of RGB levels, dB."""
    error = np.square(a.astype(np.float64) - b)[where].mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def mouth_box(lips: Float32) -> tuple[slice, slice]:
    """Rows and columns of the mouth crop: mean of the outer lip line +- (.8, .64) of its width."""
    centre, width = lips[:, :2].mean(0), np.ptp(lips[:, 0])
    x, y = (
        np.clip(np.round([c - r * width, c + r * width]), 0, SIZE).astype(int)
        for c, r in zip(centre, (0.8, 0.64), strict=True)
    )
    return slice(y[0], y[1]), slice(x[0], x[1])


def sharpness(frame: Image, where: tuple[slice, slice]) -> float:
    """Sum of squared luma steps to the right and lower neighbour."""
    part = luma(frame)[where].astype(np.float64)
    return float(np.square(np.diff(part, axis=0)).sum() + np.square(np.diff(part, axis=1)).sum())


class HeldOut:
    """Held-out frames with their mouths and hulls; `measure` compares rendered frames with them."""

    def __init__(self, truth: Frames, box: Box, hulls: Float32, lips: Float32) -> None:
        self.whole = [cv2.resize(t, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for t in truth]
        self.boxed = [crop_to_box(t, box) for t in truth]
        self.box, self.hulls = box, hulls > 0
        self.mouths = [mouth_box(points) for points in lips]

    def measure(self, rendered: Frames) -> list[float]:
        """SSIM whole, SSIM box, `ssim_mouth`, mouth and hull PSNR, gradient ratio, flicker."""
        rows, boxed = [], []
        for k, frame in enumerate(rendered):
            ours = crop_to_box(frame, self.box)
            boxed.append(ours)
            truth, mouth = self.boxed[k], self.mouths[k]
            box_value, box_map = ssim(ours, truth)
            whole = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            rows.append(
                [
                    ssim(whole, self.whole[k])[0],
                    box_value,
                    box_map[mouth].mean(),
                    psnr(ours, truth, mouth),
                    psnr(ours, truth, self.hulls[k]),
                    sharpness(ours, mouth) / sharpness(truth, mouth),
                ]
            )
        video = np.stack(boxed).astype(np.float32)
        flicker = np.abs(video[2:] - 2 * video[1:-1] + video[:-2]).mean(3)
        return [*np.mean(rows, 0), float(flicker[self.hulls[1:-1]].mean())]


@dataclasses.dataclass
class Bench:
    """An avatar and its footage, split in time."""

    avatar: Avatar
    frames: list[Image]
    track: FaceTrack
    measured: MeasuredFootage
    n_train: int
    face: FaceModel
    rasteriser: MeshRasteriser

    @property
    def test(self) -> slice:
        """Frames held out."""
        return slice(self.n_train, len(self.frames))

    def pose(self, part: slice) -> tuple[Float32, Float32, Float32]:
        """Tracked poses of some frames."""
        return self.track.rotation[part], self.track.scale[part], self.track.translation[part]

    def render(self, expression: Float32, part: slice, speech: Float32, *, detail: str = "full") -> list[Image]:
        """The avatar with some expressions in the poses and, over footage, the background of the frames `part`."""
        footage = None if self.avatar.footage is None else encode_frames(self.frames[part])
        avatar = dataclasses.replace(self.avatar, footage=footage)
        renderer = Renderer(
            avatar,
            face=self.face,
            rasteriser=self.rasteriser,
            compute=devices.choose("cpu", threads=1),
            detail=detail,
        )
        frames: list[Image] = []
        pose = self.pose(part)
        for start in range(0, len(expression), 8):
            run = slice(start, min(start + 8, len(expression)))
            built = scene.build(
                avatar.subject,
                expression[run],
                (pose[0][run], pose[1][run], pose[2][run]),
                face=self.face,
                rasteriser=self.rasteriser,
                positions=np.arange(run.start, run.stop, dtype=np.float64),
            )
            frames += renderer.render(built, speech[run])
        return frames


def compose(bench: Bench, faces: Float32) -> list[Image]:
    """Box images [n, size, size, 3] blended into the true frames inside the grown neutral hull, for the floors."""
    box = bench.avatar.subject.box
    hulls = np.concatenate([run.hull for run in bench.measured.scenes])[bench.test]
    side, left, top = round(box.side), round(box.left), round(box.top)
    result = []
    for true, face, hull in zip(bench.frames[bench.test], faces, hulls, strict=True):
        face = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        alpha = cv2.resize(hull, (side, side))[..., None]
        frame = true.copy()
        under = frame[top : top + side, left : left + side].astype(np.float32)
        mixed = under + alpha * (face - under)
        frame[top : top + side, left : left + side] = np.clip(np.round(mixed), 0, 255)
        result.append(frame)
    return result


def posed_mean(bench: Bench) -> tuple[Float32, Float32]:
    """Mean of the training frames as they are, and moved by the head's pose (affine): [n, size, size, 3] each."""
    frames, affine = bench.measured.frames, bench.measured.plate.affine
    flags = cv2.INTER_LINEAR
    some = range(0, bench.n_train, 3)
    aligned = np.mean(
        [cv2.warpAffine(frames[k], affine[k], (SIZE, SIZE), flags=flags) for k in some], 0, dtype=np.float32
    )
    moved = [
        cv2.warpAffine(aligned, a, (SIZE, SIZE), flags=flags | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
        for a in affine[bench.test]
    ]
    still = np.mean(frames[: bench.n_train], 0, dtype=np.float32)
    return np.repeat(still[None], len(moved), 0), np.stack(moved)


def soft_nearest(bench: Bench, below: Float32) -> Float32:
    """A floor: training textures of the nearest lip shapes, mixed and rendered over the mesh, no network."""
    unwrapper = Unwrapper(bench.rasteriser.topology.uv, bench.rasteriser.triangles, SIZE)
    measured, count = bench.measured, bench.n_train
    points = measured.vertices[:count, : scene.N_SURFACE]
    textures = np.stack(
        [unwrapper.unwrap(f, p).astype(np.float16) for f, p in zip(measured.frames, points, strict=False)]
    )
    sets = bench.rasteriser.topology.sets
    lips = np.concatenate([sets["lips_outer"], sets["lips_inner"]])
    shapes = bench.face.decode(bench.track.identity, bench.track.expression)[:, lips].reshape(len(bench.frames), -1)
    distance = np.linalg.norm(shapes[bench.test][:, None] - shapes[None, :count], axis=2)
    ordered = np.sort(distance, 1)
    width = np.maximum(np.median(ordered[:, HALF_WAY - 1]) / 2, ordered[:, NEAREST - 1])[:, None]
    weight = np.exp(-(distance**2) / (2 * width**2))
    weight[distance > ordered[:, MOST - 1 : MOST]] = 0
    weight /= weight.sum(1, keepdims=True)
    meshes = [run.mesh for run in measured.scenes]
    uv, mask = (np.concatenate([getattr(m, name) for m in meshes])[bench.test] for name in ("uv", "mask"))
    result = below.astype(np.float32).copy()
    for k, row in enumerate(weight):
        used = np.flatnonzero(row)
        texture = unwrapper.image(np.tensordot(row[used].astype(np.float32), textures[used].astype(np.float32), 1))
        rendered = cv2.remap(texture, uv[k] * SIZE - np.float32(0.5), None, cv2.INTER_LINEAR)
        inside = cv2.distanceTransform(mask[k], cv2.DIST_L2, 3)
        alpha = np.clip(inside / 5, 0, 1)[..., None]
        result[k] += alpha * (rendered - result[k])
    return result


def quality(bench: Bench, sheet: Path | None) -> None:
    """Table of held-out figures: ours, floors, ceiling."""
    test, measured = bench.test, bench.measured
    hulls = np.concatenate([run.hull for run in measured.scenes])[test]
    lips = measured.vertices[test][:, bench.rasteriser.lips_outer]
    held_out = HeldOut(bench.frames[test], bench.avatar.subject.box, hulls, lips)
    print("| held out | " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))

    def row(name: str, frames: Frames) -> None:
        values = held_out.measure(frames)
        texts = [f"{v:.4f}" if k < 3 else f"{v:.2f}" for k, v in enumerate(values)]
        print(f"| {name} | " + " | ".join(texts) + " |", flush=True)

    row("*the footage itself*", bench.frames[test])
    still, moved = posed_mean(bench)

    def whole(faces: Float32) -> list[Image]:
        if bench.avatar.footage is not None:
            return compose(bench, faces)
        return list(np.clip(np.round(faces), 0, 255).astype(np.uint8))

    row("static mean face", whole(still))
    row("mean face moved by the head's pose", whole(moved))
    row("textured mesh, soft nearest", whole(soft_nearest(bench, moved)))
    expression, speech = bench.track.expression[test], measured.speech[test]
    row("ours without G", bench.render(expression, test, speech, detail="mesh"))
    ours = bench.render(expression, test, speech)
    row("**ours**", ours)
    row("ours, speech unknown", bench.render(expression, test, np.zeros_like(speech)))
    if sheet is not None:
        write_sheet(sheet, held_out, ours)


def write_sheet(path: Path, held_out: HeldOut, ours: Frames) -> None:
    """Every 12th frame and its mouth at four times its size, truth | ours."""
    rows: list[Image] = []
    for k in range(0, len(ours), 12):
        pair = [held_out.boxed[k], crop_to_box(ours[k], held_out.box)]
        mouth = held_out.mouths[k]
        enlarged = [cv2.resize(p[mouth], (4 * 96, 4 * 64), interpolation=cv2.INTER_CUBIC) for p in pair]
        rows.append(np.concatenate([*pair, *enlarged], 1))
    columns = 2 if len(rows) > 5 else 1
    rows += [np.zeros_like(rows[0])] * (-len(rows) % columns)
    sheet = np.concatenate([np.concatenate(rows[k : k + columns], 1) for k in range(0, len(rows), columns)])
    media.write_png(path, sheet)


def gaps(frames: Frames, bench: Bench) -> tuple[Float32, Float32]:
    """Lip gap and mouth width of rendered frames, tracked again, %IOD."""
    track = track_video(frames, model=bench.face)
    meshes = bench.face.decode(track.identity, track.expression)
    eyes = np.linalg.norm(track.identity[33, :2] - track.identity[263, :2])
    width = 100 * np.linalg.norm(meshes[:, 61, :2] - meshes[:, 291, :2], axis=1) / eyes
    return bench.face.lip_gap(track.identity, track.expression), width.astype(np.float32)


def driving(bench: Bench, driver: Path) -> None:
    """Lips follow the mesh: another person's expressions, re-tracked; expressions of two frames swapped."""
    with media.VideoReader(driver) as reader:
        track = track_video(reader, model=bench.face, source=driver.name)
    n = min(DRIVEN, track.n_frames, bench.n_train)
    part = slice(0, n)
    expression = track.expression[part]
    ppg = footage_posteriorgram(driver)
    speech = np.zeros((n, 11, 40), np.float32) if ppg is None else speech_windows(ppg, 0, n)
    gap, width = gaps(bench.render(expression, part, speech), bench)
    identity = bench.avatar.subject.identity
    target = bench.face.lip_gap(identity, expression)
    own = bench.face.lip_gap(identity, bench.track.expression[part])
    design = np.stack([target, own, np.ones(n)], 1)
    gain, leak, _ = np.linalg.lstsq(design, gap, rcond=None)[0]
    meshes = bench.face.decode(identity, expression)
    eyes = np.linalg.norm(identity[33, :2] - identity[263, :2])
    target_width = 100 * np.linalg.norm(meshes[:, 61, :2] - meshes[:, 291, :2], axis=1) / eyes
    print(f"\ndriven by `{driver.name}`, {n} frames in the poses of training frames, tracked again:")
    print(f"lip gap r {np.corrcoef(target, gap)[0, 1]:.3f}, gain {gain:.2f}, template's own gap {leak:+.3f}; ", end="")
    r, slope = np.corrcoef(target_width, width)[0, 1], np.polyfit(target_width, width, 1)[0]
    print(f"mouth width r {r:.3f}, gain {slope:.2f}")
    swapped_expressions(bench, int(own.argmax()), int(own.argmin()))


def swapped_expressions(bench: Bench, opened: int, closed: int) -> None:
    """An open and a closed mouth in each other's pose: the gap follows the expression, all else the pose."""
    expressions = bench.track.expression[[opened, closed]]
    silent = np.zeros((1, 11, 40), np.float32)
    pairs = {}
    for name, frame in (("open", opened), ("closed", closed)):
        at = slice(frame, frame + 1)
        pairs[name] = [bench.render(expressions[k : k + 1], at, silent)[0] for k in (0, 1)]
    for name, frame in (("open", opened), ("closed", closed)):
        both = gaps([pairs[name][0]] * 30 + [pairs[name][1]] * 30, bench)[0]
        print(
            f"pose of the {name} frame: gap {both[:30].mean():.1f} with the open mouth, "
            f"{both[30:].mean():.1f} with the closed one"
        )
        hull = np.concatenate([run.hull for run in bench.measured.scenes])[frame] > 0
        ours = [crop_to_box(p, bench.avatar.subject.box).astype(int) for p in pairs[name]]
        print(f"  largest difference outside the hull: {np.abs(ours[0] - ours[1])[~hull].max()} levels")


def speed(bench: Bench) -> None:
    """Frames a second of meshes + textures + G + composition, one thread."""
    track = bench.track
    renderer = Renderer(
        bench.avatar, face=bench.face, rasteriser=bench.rasteriser, compute=devices.choose("cpu", threads=1)
    )
    n = 96
    expression = np.ascontiguousarray(track.expression[:n])
    speech = bench.measured.speech[:n]
    spent = {"meshes": 0.0, "frames": 0.0}
    wall = time.perf_counter()
    done = 0
    cpu = time.process_time()
    for run in renderer.prepare(expression, 0):
        now = time.process_time()
        spent["meshes"] += now - cpu
        renderer.render(run, speech[done : done + len(run)])
        done += len(run)
        cpu = time.process_time()
        spent["frames"] += cpu - now
    seconds = time.perf_counter() - wall
    parts = ", ".join(f"{name} {1000 * value / n:.1f} ms" for name, value in spent.items())
    print(f"\none thread: {n / sum(spent.values()):.1f} frames a CPU second ({n / seconds:.1f} wall); {parts} a frame")


def main() -> None:
    """Fit or load, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--portrait", action="store_true", help="a bundle without footage: the plate replaces it")
    parser.add_argument("--box", type=float, nargs=3, metavar=("LEFT", "TOP", "SIDE"))
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument(
        "--bundle", type=Path, help="load this bundle (fitted with the same holdout) instead of fitting"
    )
    parser.add_argument("--holdout", type=float, default=0.1)
    parser.add_argument("--driver", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    compute = devices.choose("cpu", threads=options.threads)
    cv2.setNumThreads(1)
    box = Box(*options.box, SIZE) if options.box else None
    bundle = options.bundle or options.work / options.footage.stem
    if options.bundle is None:
        used = time.process_time()
        request = AvatarRequest(
            options.footage, bundle, options.footage.stem, portrait=options.portrait, holdout=options.holdout, box=box
        )
        settings = RendererTrainingSettings(seconds=60 * options.minutes)
        report = fit_renderer(request, settings, compute=compute, work=options.work)
        print(f"fitted in {time.process_time() - used:.0f} CPU s: {report}\n")
    avatar = Avatar.load(bundle)
    face, rasteriser = FaceModel.load(), MeshRasteriser()
    track, frames = track_footage(options.footage, face)
    ppg = footage_posteriorgram(options.footage)
    measured = measure_footage(track, frames, avatar.subject, model=face, rasteriser=rasteriser, ppg=ppg)
    n_train = len(frames) - round(options.holdout * len(frames))
    bench = Bench(avatar, frames, track, measured, n_train, face, rasteriser)
    quality(bench, options.sheet)
    if options.driver is not None:
        driving(bench, options.driver)
    speed(bench)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()

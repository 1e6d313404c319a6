"""Fit an avatar to footage of one person: textures, plate, then G (paper 3.4, Eq. 5-7)."""

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vast_cli import assets, files, media, speech
from vast_cli.devices import Compute, cpu_flags
from vast_cli.errors import VastError
from vast_cli.face import FaceChoice, FaceModel, MeshRasteriser, track_video
from vast_cli.records import FaceTrack, Posteriorgram
from vast_cli.renderer import base, scene
from vast_cli.renderer.avatar import Avatar, Footage
from vast_cli.renderer.geometry import Array, Box, PoseStatistics, pose_numbers
from vast_cli.renderer.limiter import measure_range
from vast_cli.renderer.network import SPEECH_FRAMES, Network, NetworkConfig
from vast_cli.renderer.plate import Plate, PlateInput
from vast_cli.renderer.render import crop_to_box, speech_windows
from vast_cli.renderer.scene import N_SURFACE, Scene, Subject
from vast_cli.training.discriminator import Discriminator, discriminator_loss, generator_loss
from vast_cli.training.losses.perceptual import features, perceptual
from vast_cli.training.plate import fit_plate
from vast_cli.training.texture import FittedTexture, Unwrapper, fit_texture

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
Image = NDArray[np.uint8]

SIZE = 256  # of the renderer box, pixels
TEXTURE_PORTRAIT = 192  # texture plane, pixels a side; the face is about 110 px wide in a portrait
TEXTURE_FOOTAGE = 256  # ... and 165 px over footage: mouth 30.6 dB for 30.0, gradient ratio .46 for .38 at 192
MIN_FRAMES = 100  # 4 s
MIN_FACE = 40.0  # pixels between the outer eye corners
BOX_MARGIN = 1.25  # over footage: the box is this much larger than the hull of all poses
JAW_SD = 3.0  # how wide the hull's jaw is open, standard deviations of S0
RUN = 8  # frames built at once
PORTRAIT_STEPS = 600  # of the plate's fit; over footage it only fills the hull
FOOTAGE_STEPS = 400

WINDOW = 6  # frames of a training sample; the paper has 16, crops are cheaper and the state is carried
WARM = 2  # of them only carry state, without gradient
SAMPLES = 4  # windows a step
CROP = (80, 96)  # height and width of a crop, multiples of 8
MOUTH_SHARE = 0.65  # of the crops lie on the mouth
MOUTH_WEIGHT = 4.0  # on pixels of the mouth's interior and lips
RATE = 6e-4
PERCEPTUAL_WEIGHT = 0.02
ADVERSARIAL_WEIGHT = 0.004
ADVERSARIAL_FROM = 0.35  # of the time
SPEECH_DROPOUT = 0.25  # windows whose speech is unknown: footage and prompts may have no sound
NOISE_SD = 1.5  # levels of 255, on the base picture: prediction's errors must not become shimmer
EMA = 0.998
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Material:
    """The footage, measured."""

    frames: Image  # [n, 256, 256, 3], the renderer box
    scene: list[Scene]  # runs of RUN frames
    vertices: Array  # [n, 478, 3], box pixels
    speech: Array  # [n, 11, 40]
    lower: Array  # [n, d]
    upper: Array
    pose: Array  # [n, 6], standardised
    plate: PlateInput
    mouth: Array  # [n, 2], centre of the lips, box pixels


def fit_renderer(
    footage: Path,
    output: Path,
    *,
    name: str,
    portrait: bool,
    seconds: float,
    holdout: float,
    compute: Compute,
    subject: str = "unknown",
    licence: str = "unknown",
    consent: str = "unknown",
    face: str = "largest",
    work: Path = Path("build"),
    seed: int = 0,
    box: Box | None = None,
    plate_steps: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make an avatar and write its bundle to the folder `output`.

    Args:
        footage: video of one person.
        output: folder of the bundle.
        name: of the avatar.
        portrait: keep no footage; the plate stands for it.
        seconds: wall time for training G.
        holdout: share of the end that is not trained on; 0 trains on all.
        compute: device and threads.
        subject: who is shown.
        licence: of the footage.
        consent: what the person agreed to.
        face: which face of the footage.
        work: folder of the checkpoint; a broken fit goes on from there.
        seed: of everything random.
        box: renderer box; chosen from the poses if not given.
        plate_steps: of the plate's fit.
        progress: told how far each stage is.

    Returns:
        What was done, and figures on the held-out end (`figures`).

    Raises:
        VastError: `vast_footage_unfit`, `vast_no_face`, `vast_face_lost`, and those of reading.
    """
    tell: Progress = progress or (lambda stage, done, total: None)
    model, rasteriser = FaceModel.load(), MeshRasteriser()
    track, pictures = _watch(footage, model, face, tell)
    n_train = len(pictures) - round(holdout * len(pictures))
    person = describe(track, model, rasteriser, portrait=portrait, box=box, n_train=n_train)
    material = measure(
        track, pictures, person, model=model, rasteriser=rasteriser, ppg=_listen(footage, tell), progress=tell
    )
    lower_weight = np.clip(1.6 * model.w_mouth[:N_SURFACE] - 0.1, 0, 1)
    fitted = slice(0, n_train)
    unwrapper = Unwrapper(
        rasteriser.topology.uv, rasteriser.triangles, TEXTURE_PORTRAIT if portrait else TEXTURE_FOOTAGE
    )
    fitted_texture = fit_texture(
        material.frames[fitted],
        material.vertices[fitted, :N_SURFACE],
        lower_shapes=material.lower[fitted],
        upper_shapes=material.upper[fitted],
        pose=material.pose[fitted],
        lower_weight=lower_weight,
        unwrapper=unwrapper,
    )
    steps = plate_steps or (PORTRAIT_STEPS if portrait else FOOTAGE_STEPS)
    work = work / f"renderer-{name}-{_key(footage, person.box, n_train, steps, seed)}"
    work.mkdir(parents=True, exist_ok=True)
    plate = _plate(material, fitted, person, work / "plate.pt", steps=steps, seed=seed, tell=tell)
    region = scene.region_of(np.stack([run.hull.max(0) for run in material.scene]), SIZE)
    kept = slice(0, len(pictures)) if holdout == 0 else fitted
    avatar = Avatar(
        name=name,
        card={
            "subject": subject,
            "licence": licence,
            "consent": consent,
            "footage": {
                "name": footage.name,
                "sha256": files.sha256(footage),
                "frames": len(pictures),
                "trained": n_train,
            },
            "keeps_footage": not portrait,
            "size": [SIZE, SIZE] if portrait else [pictures[0].shape[1], pictures[0].shape[0]],
        },
        face_model_hash=model.hash,
        subject=person,
        region=region,
        rotation=track.rotation[kept],
        scale=track.scale[kept],
        translation=track.translation[kept],
        texture=fitted_texture.texture,
        plate=plate,
        network=Network(NetworkConfig()),
        expression_range=measure_range(track.expression[fitted]),
        neutral=np.zeros(0, np.float32),
        neutral_model="",
        footage=None if portrait else _keep(pictures[kept]),
    )
    avatar = _with_neutral_style(avatar, track, material, n_train)
    bases = paint_bases(avatar, material, fitted_texture, progress=tell, portrait=portrait)
    report = train_network(
        avatar,
        material,
        bases,
        n_train=n_train,
        seconds=seconds,
        compute=compute,
        work=work,
        seed=seed,
        progress=tell,
    )
    card = avatar.card | {"training": report | {"seconds": seconds, "seed": seed, "holdout": holdout}}
    dataclasses.replace(avatar, card=card).save(output)
    return report


def _key(*what: object) -> str:
    """Names the folder of a fit: a fit of other footage, box, share or seed must not go on from this one's files."""
    text = "|".join(files.sha256(w) if isinstance(w, Path) else str(w) for w in what)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plate(
    material: "Material", fitted: slice, person: Subject, kept: Path, *, steps: int, seed: int, tell: Progress
) -> Plate:
    """Fit the plate, or take it from an earlier, broken fit."""
    plate = Plate(person.box.size)
    if kept.is_file():
        plate.load_state_dict(torch.load(kept, weights_only=True))
        return plate.eval().requires_grad_(False)
    pose = PlateInput(material.plate.affine[fitted], material.plate.features[fitted])
    plate = fit_plate(material.frames[fitted], pose, person.reference, steps=steps, seed=seed, progress=tell)
    with files.atomic_write(kept) as part:
        torch.save(plate.state_dict(), part)
    return plate


# --- measuring the footage -------------------------------------------------------------------------------------------


def _watch(footage: Path, model: FaceModel, face: str, tell: Progress) -> tuple[FaceTrack, list[Image]]:
    """Track the face and keep the frames; footage for a renderer is minutes at most."""
    pictures: list[Image] = []
    choice: FaceChoice = face if face in ("largest", "left", "right") else int(face)  # type: ignore[assignment]
    with media.VideoReader(footage) as reader:

        def frames():
            for picture in reader:
                pictures.append(picture)
                tell("track", len(pictures), reader.n_frames)
                yield picture

        track = track_video(frames(), model=model, source=footage.name, face=choice)
    valid = np.flatnonzero(track.valid)
    if len(valid) < MIN_FRAMES:
        raise VastError(
            "vast_footage_unfit", f"`{footage}` shows the face in {len(valid)} frames only, {MIN_FRAMES} are needed"
        )
    eyes = float(np.median(track.scale[valid]) * model.iod)
    if eyes < MIN_FACE * min(1.0, SIZE / min(track.height, track.width)):
        raise VastError(
            "vast_footage_unfit",
            f"the face in `{footage}` is {eyes:.0f} px between the outer eye corners, {MIN_FACE:.0f} are needed",
        )
    # the longest run with the face: a renderer is fitted to one continuous piece
    breaks = np.flatnonzero(~track.valid | (track.segment != np.roll(track.segment, 1)))
    runs = np.split(np.arange(track.n_frames), breaks)
    best = max(runs, key=lambda r: int(track.valid[r].sum()))
    best = best[track.valid[best]]
    if len(best) < MIN_FRAMES:
        raise VastError("vast_footage_unfit", f"`{footage}` has no run of {MIN_FRAMES} frames with the face in it")
    if len(best) < track.n_frames:
        log.warning("using frames %d - %d of %d: the longest run with the face", best[0], best[-1], track.n_frames)
    cut = {
        key: getattr(track, key)[best]
        for key in ("valid", "score", "segment", "expression", "rotation", "scale", "translation")
    }
    return dataclasses.replace(track, **cut), [pictures[k] for k in best]


def _listen(footage: Path, tell: Progress) -> Posteriorgram | None:
    if not media.probe(footage).has_audio:
        return None
    with media.VideoReader(footage) as reader:
        blocks = media.read_audio(footage, start_s=reader.start_s)
    return speech.extract_ppg(blocks, speech.load_acoustic_model(assets.find("acoustic")), where=footage.name)


def describe(
    track: FaceTrack, model: FaceModel, rasteriser: MeshRasteriser, *, portrait: bool, box: Box | None, n_train: int
) -> Subject:
    """The person: neutral meshes, box, pose statistics, vertices that tell shapes."""
    jaw = np.zeros((1, track.expression.shape[1]), np.float32)
    jaw[0, 0] = JAW_SD * model.sd[0]
    opened = [model.decode(track.identity, sign * jaw)[0] for sign in (1, -1)]
    open_jaw = min(opened, key=lambda mesh: mesh[152, 1])  # the sign of S0 is arbitrary; the chin is lower
    if box is None:
        box = _portrait_box(track) if portrait else _face_box(track, model, open_jaw)
    sets = rasteriser.topology.sets
    # cheeks, jaw and forehead in every fourth vertex: they fold the skin (.1 dB)
    mouth = model.w_mouth[:N_SURFACE] > 0.3
    lower = np.concatenate([sets["lips_outer"], sets["lips_inner"], np.flatnonzero(mouth)[::4]])
    names = (
        "image_left_eye",
        "image_right_eye",
        "image_left_iris",
        "image_right_iris",
        "image_left_brow",
        "image_right_brow",
    )
    upper = np.concatenate([*(sets[n] for n in names), np.flatnonzero(~mouth)[::4]])
    numbers = pose_numbers(track.rotation[:n_train], track.scale[:n_train], track.translation[:n_train])
    statistics = PoseStatistics(numbers.mean(0), numbers.std(0) + 1e-4)
    mean = numbers.mean(0, keepdims=True)
    place = np.concatenate([mean[:, 4:6], np.zeros((1, 1), np.float32)], 1)
    reference = box.points(model.place(track.identity[None], mean[:, :3], np.exp(mean[:, 3]), place))[0, :N_SURFACE, :2]
    return Subject(box, track.identity, open_jaw, statistics, reference, lower.astype(np.int64), upper.astype(np.int64))


def _portrait_box(track: FaceTrack) -> Box:
    """The largest square of the frame, with the head in its middle as far as it fits."""
    side = min(track.height, track.width)
    centre = float(np.median(track.translation[:, 0]))
    left = min(max(centre - side / 2, 0), track.width - side)
    return Box(round(left), 0 if track.height == side else round((track.height - side) / 4), side, SIZE)


def _face_box(track: FaceTrack, model: FaceModel, open_jaw: Array) -> Box:
    """A square around the hull of all poses."""
    meshes = np.stack([track.identity, open_jaw])
    corners = []
    for mesh in meshes:
        placed = model.place(np.repeat(mesh[None], track.n_frames, 0), track.rotation, track.scale, track.translation)
        corners += [placed[..., :2].reshape(-1, 2).min(0), placed[..., :2].reshape(-1, 2).max(0)]
    low, high = np.min(corners, 0), np.max(corners, 0)
    side = float(min(BOX_MARGIN * (high - low).max(), min(track.height, track.width)))
    left, top = (low + high) / 2 - side / 2
    left = min(max(left, 0), track.width - side)
    top = min(max(top, 0), track.height - side)
    return Box(round(left), round(top), round(side), SIZE)


def measure(
    track: FaceTrack,
    pictures: list[Image],
    person: Subject,
    *,
    model: FaceModel,
    rasteriser: MeshRasteriser,
    ppg: Posteriorgram | None,
    progress: Progress,
) -> Material:
    """Scenes and box pictures of all frames."""
    n = len(pictures)
    frames = np.stack([crop_to_box(picture, person.box) for picture in pictures])
    runs, vertices = [], []
    for start in range(0, n, RUN):
        part = slice(start, min(start + RUN, n))
        pose = (track.rotation[part], track.scale[part], track.translation[part])
        where = np.arange(part.start, part.stop, dtype=np.float64)
        runs.append(
            scene.build(person, track.expression[part], pose, face=model, rasteriser=rasteriser, positions=where)
        )
        placed = model.place(model.decode(person.identity, track.expression[part]), *pose)
        vertices.append(person.box.points(placed))
        progress("mesh", part.stop, n)
    points = np.concatenate(vertices)
    lips = points[:, rasteriser.lips_outer, :2]
    unknown = np.zeros((n, SPEECH_FRAMES, 40), np.float32)
    return Material(
        frames=frames,
        scene=runs,
        vertices=points,
        speech=unknown if ppg is None else speech_windows(ppg, 0, n),
        lower=np.concatenate([run.lower for run in runs]),
        upper=np.concatenate([run.upper for run in runs]),
        pose=np.concatenate([run.pose for run in runs]),
        plate=PlateInput(
            np.concatenate([r.plate.affine for r in runs]), np.concatenate([r.plate.features for r in runs])
        ),
        mouth=(lips.min(1) + lips.max(1)) / 2,
    )


def _keep(pictures: list[Image]) -> Footage:
    streams = [
        cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].reshape(-1) for picture in pictures
    ]
    offsets = np.cumsum([0] + [len(s) for s in streams]).astype(np.int64)
    height, width = pictures[0].shape[:2]
    return Footage(np.concatenate(streams), offsets, width, height)


def _with_neutral_style(avatar: Avatar, track: FaceTrack, material: Material, n_train: int) -> Avatar:
    """Add the avatar's own style code, if a style model is at hand."""
    from vast_cli import style

    try:
        model = style.load_style_model(assets.find("style"))
    except VastError as error:
        log.warning("no style model, so no style of the avatar's own: %s", error.message)
        return avatar
    fields = ("valid", "score", "segment", "expression", "rotation", "scale", "translation")
    own = dataclasses.replace(track, **{key: getattr(track, key)[:n_train] for key in fields})
    return dataclasses.replace(avatar, neutral=style.encode_style(own, model).vector, neutral_model=model.hash)


# --- training G ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bases:
    """What G sees and what it should make of it, in its region."""

    inputs: NDArray[np.uint8]  # [n, 10, h, w]
    truth: NDArray[np.uint8]  # [n, 3, h, w]
    weight: NDArray[np.uint8]  # [n, h, w], 0..255: where the truth may be asked for (hull over footage, all else)


def paint_bases(
    avatar: Avatar, material: Material, fitted: FittedTexture, *, progress: Progress, portrait: bool
) -> Bases:
    """Base pictures of all frames; each without the help of its own surroundings, as at use."""
    top, bottom, left, right = avatar.region
    inputs, truth, weight = [], [], []
    done, n = 0, len(fitted.lower)  # frames held out are unseen anyway
    lower = np.concatenate([fitted.lower, avatar.texture.lower.mix(material.lower[n:], material.pose[n:])])
    upper = np.concatenate([fitted.upper, avatar.texture.upper.mix(material.upper[n:], material.pose[n:])])
    for run in material.scene:
        part = slice(done, done + len(run))
        background = None if portrait else material.frames[part].astype(np.float32)
        unseen = lower[part], upper[part]
        picture = base.paint(run, avatar.texture, avatar.plate, background=background, mixed=unseen)
        layers = base.network_input(np.clip(picture, 0, 255), run, avatar.region)[0]
        inputs.append((255 * layers).round().to(torch.uint8).numpy())
        truth.append(material.frames[part, top:bottom, left:right].transpose(0, 3, 1, 2))
        hull = run.hull[:, top:bottom, left:right]
        weight.append(np.full(hull.shape, 255, np.uint8) if portrait else np.round(255 * hull).astype(np.uint8))
        done += len(run)
        progress("textured mesh", done, len(material.frames))
    return Bases(np.concatenate(inputs), np.concatenate(truth), np.concatenate(weight))


class Trainer:
    """G, D, their optimisers and the average that ships; saves itself and goes on after `kill -9`."""

    def __init__(self, network: Network, compute: Compute, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = network.to(compute.device).to(memory_format=torch.channels_last).train().requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.judge = Discriminator().to(compute.device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
        self.judge_optimiser = torch.optim.Adam(self.judge.parameters(), lr=2e-4, betas=(0.5, 0.99))
        self.features, self.feature_name = features()
        self.features.to(compute.device)
        self.step = 0
        self.spent = 0.0  # seconds
        self.random = np.random.default_rng(seed)

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "judge": self.judge,
            "optimiser": self.optimiser,
            "judge_optimiser": self.judge_optimiser,
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"average": self.average, "step": self.step, "spent": self.spent}
        with files.atomic_write(path) as part_path:
            torch.save(state, part_path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        self.random = np.random.default_rng(self.step)


def train_network(
    avatar: Avatar,
    material: Material,
    bases: Bases,
    *,
    n_train: int,
    seconds: float,
    compute: Compute,
    work: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train G of `avatar` in place; its weights become the running average.

    Returns:
        Steps, CPU seconds, and mean absolute errors (levels) on the held-out end before and after.
    """
    trainer = Trainer(avatar.network, compute, seed=seed)
    checkpoint = work / "checkpoint.pt"
    work.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_file():
        trainer.load(checkpoint)
        log.warning("going on from step %d of `%s`", trainer.step, checkpoint)
    inputs, truth, weight = (torch.from_numpy(a) for a in (bases.inputs, bases.truth, bases.weight))
    heard = torch.from_numpy(material.speech)
    mouth = material.mouth - np.array([avatar.region[2], avatar.region[0]])
    started, cpu = time.monotonic(), time.process_time()
    saved = trainer.spent
    # 1.9x on a CPU that has the instructions, several times slower on one that has not
    half = compute.device.type == "cuda" or bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    with (work / "log.jsonl").open("a", encoding="utf-8") as journal:
        while trainer.spent < seconds:
            share = trainer.spent / seconds
            _set_rate(trainer.optimiser, share)
            sample = _sample(trainer.random, inputs, truth, weight, heard, mouth, n_train, compute)
            with torch.autocast(compute.device.type, dtype=torch.bfloat16, enabled=half):
                terms = _train_step(trainer, sample, adversarial=share >= ADVERSARIAL_FROM)
            trainer.step += 1
            trainer.spent += time.monotonic() - started
            started = time.monotonic()
            progress("train", round(trainer.spent), round(seconds))
            if trainer.step % 50 == 0:
                journal.write(json.dumps({"step": trainer.step, "spent_s": trainer.spent} | terms) + "\n")
                journal.flush()
            if trainer.spent - saved > SAVE_EVERY_S:
                trainer.save(checkpoint)
                saved = trainer.spent
    trainer.network.load_state_dict(trainer.average)
    trainer.network.eval().requires_grad_(False)
    trainer.save(checkpoint)
    return {
        "steps": trainer.step,
        "cpu_s": round(time.process_time() - cpu),
        "perceptual_features": trainer.feature_name,
        "held_out_frames": len(bases.truth) - n_train,
        "l1_levels": _held_out(avatar, bases, heard, n_train, compute),
    }


def _set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    rate = RATE * min(1.0, (share + 0.005) / 0.02) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
    for group in optimiser.param_groups:
        group["lr"] = rate


@dataclass(frozen=True)
class Sample:
    """Windows of crops."""

    inputs: Tensor  # [b, n, 10, h, w]
    truth: Tensor  # [b, n, 3, h, w]
    weight: Tensor  # [b, n, 1, h, w]
    speech: Tensor  # [b, n, 11, 40]


def _sample(
    random: np.random.Generator,
    inputs: Tensor,
    truth: Tensor,
    weight: Tensor,
    heard: Tensor,
    mouth: Array,
    n_train: int,
    compute: Compute,
) -> Sample:
    height, width = inputs.shape[2:]
    h, w = min(CROP[0], height), min(CROP[1], width)
    picked: list[list[Tensor]] = [[], [], [], []]
    for _ in range(SAMPLES):
        start = int(random.integers(0, max(n_train - WINDOW, 0) + 1))
        window = slice(start, start + WINDOW)
        if random.random() < MOUTH_SHARE:
            centre = mouth[start + WINDOW // 2] + random.uniform(-10, 10, 2)
            x, y = centre - (w / 2, h / 2)
        else:
            x, y = random.uniform(0, width - w), random.uniform(0, height - h)
        x, y = int(np.clip(x, 0, width - w)) // 2 * 2, int(np.clip(y, 0, height - h)) // 2 * 2
        crop = (window, slice(None), slice(y, y + h), slice(x, x + w))
        voice = heard[window] if random.random() >= SPEECH_DROPOUT else torch.zeros_like(heard[window])
        for into, value in zip(picked, (inputs[crop], truth[crop], weight[:, None][crop], voice), strict=True):
            into.append(value)
    stacked = [torch.stack(group).to(compute.device) for group in picked]
    x, y, z = (t.float() / 255 for t in stacked[:3])
    noise = NOISE_SD / 255 * torch.randn(len(x), 1, 3, x.shape[3] // 4, x.shape[4] // 4, device=x.device)
    smooth = nn.functional.interpolate(noise.flatten(0, 1), x.shape[3:], mode="bilinear", align_corners=False)
    x = torch.cat([x[:, :, :3] + smooth[:, None], x[:, :, 3:]], 2)
    return Sample(x, y, z, stacked[3])


def _train_step(trainer: Trainer, sample: Sample, *, adversarial: bool) -> dict[str, float]:
    """One step of G, and of D once it takes part (Eq. 7)."""
    with torch.no_grad():
        _, state = trainer.network(sample.inputs[:, :WARM], sample.speech[:, :WARM])
    residual, _ = trainer.network(sample.inputs[:, WARM:], sample.speech[:, WARM:], state)
    residual = residual.float()
    before = sample.inputs[:, WARM:, :3]
    ours, truth = (before + residual).flatten(0, 1), sample.truth[:, WARM:].flatten(0, 1)
    mesh = sample.inputs[:, WARM:, 3:9].flatten(0, 1)
    allowed = sample.weight[:, WARM:].flatten(0, 1)
    # interior of the mouth and a rim of lips around it count more
    rim = mesh[:, 3:4]
    for _ in range(2):  # 13 pixels wide, in two cheaper steps
        rim = nn.functional.max_pool2d(rim, 7, stride=1, padding=3)
    weight = allowed * (1 + (MOUTH_WEIGHT - 1) * rim)
    weight = nn.functional.pad(weight[..., 4:-4, 4:-4], (4, 4, 4, 4))  # a crop's border lacks its surroundings
    l1 = ((ours - truth).abs() * weight).sum() / (3 * weight.sum() + 1e-6)
    shown = torch.lerp(truth, ours, allowed)
    # one frame of each window: the pretrained network costs as much as G (.40 -> .22 CPU s a step)
    seen = perceptual(trainer.features, shown[:: WINDOW - WARM], truth[:: WINDOW - WARM])
    loss = l1 + PERCEPTUAL_WEIGHT * seen
    terms = {"l1": 255 * l1.item(), "perceptual": seen.item()}
    if adversarial:
        fooled = generator_loss(trainer.judge(mesh, shown))
        loss = loss + ADVERSARIAL_WEIGHT * fooled
        terms["adversarial"] = fooled.item()
    trainer.optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trainer.network.parameters(), 1.0)
    trainer.optimiser.step()
    with torch.no_grad():
        for name, value in trainer.network.state_dict().items():
            trainer.average[name].lerp_(value, 1 - min(EMA, (trainer.step + 1) / (trainer.step + 10)))
    if adversarial:
        told = discriminator_loss(trainer.judge(mesh, truth), trainer.judge(mesh, shown.detach()))
        trainer.judge_optimiser.zero_grad()
        told.backward()
        trainer.judge_optimiser.step()
        terms["judge"] = told.item()
    return terms


@torch.inference_mode()
def _held_out(avatar: Avatar, bases: Bases, heard: Tensor, n_train: int, compute: Compute) -> dict[str, float] | None:
    """Mean absolute error on the held-out end in G's region, without and with G."""
    if n_train >= len(bases.truth):
        return None
    before, after, state = [], [], None
    for start in range(n_train, len(bases.truth), RUN):
        part = slice(start, start + RUN)
        x = torch.from_numpy(bases.inputs[part]).to(compute.device).float() / 255
        y = torch.from_numpy(bases.truth[part]).to(compute.device).float() / 255
        w = torch.from_numpy(bases.weight[part]).to(compute.device).float()[:, None] / 255
        residual, state = avatar.network(x[None], heard[None, part].to(compute.device), state)
        for errors, picture in ((before, x[:, :3]), (after, x[:, :3] + residual[0])):
            errors.append(255 * float(((picture.clamp(0, 1) - y).abs() * w).sum() / (3 * w.sum())))
    return {"textured mesh": round(float(np.mean(before)), 3), "with G": round(float(np.mean(after)), 3)}

"""Frames of an avatar: template, base picture, G, and back into the footage where the bundle has it."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Image
from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.core.memory import is_out_of_memory
from vast_cli.records import Posteriorgram
from vast_cli.renderer import base, scene, template
from vast_cli.renderer.avatar import Avatar
from vast_cli.renderer.geometry import Box
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.scene import Face, Rasteriser, Scene

log = logging.getLogger(__name__)

BATCH = 8  # frames at once
BORDER = 8  # pixels over which G's residual fades at the edge of its region
DETAILS = ("full", "mesh")


class RendererState(NamedTuple):
    """Where G stands between two frames."""

    values: Float32  # [1, c, h / 8, w / 8]; [0] before the first frame and without G
    dtype: str  # that it had in the network


class Renderer:
    """Paints an avatar frame by frame; G's state is carried, so it makes no odds how runs are cut.

    `state` can be kept and given to another renderer of the same avatar, which then goes on with the same bytes. On a
    CPU they do not depend on the number of threads (1 - 8 compared), but on `batch` they do: 4, 2 or 1 frames at once
    instead of 8 move one to three of a million values by one level.

    Args:
        avatar: the bundle.
        face: the face model it was fitted with.
        rasteriser: draws meshes.
        compute: device and precision.
        detail: `full`, or `mesh` for the base picture without G.
        seed: where in the template the video begins.
        batch: frames at once; halved when memory runs out.
    """

    def __init__(
        self,
        avatar: Avatar,
        *,
        face: Face,
        rasteriser: Rasteriser,
        compute: Compute,
        detail: str = "full",
        seed: int = 0,
        batch: int = BATCH,
    ) -> None:
        if detail not in DETAILS:
            raise VastError("vast_option_invalid", f"no detail `{detail}`", hint=f"one of {', '.join(DETAILS)}")
        if batch < 1:
            raise VastError("vast_option_invalid", f"{batch} frames at once", hint="1 or more")
        self._avatar = avatar
        self._face, self._rasteriser = face, rasteriser
        self._compute = compute
        self._full = detail == "full"
        self._seed = seed
        self._batch = batch  # of scenes
        self._at_once = batch  # of what fits into memory
        self._plate = avatar.plate.to(compute.device)
        self._network = avatar.network.to(compute.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._carried: torch.Tensor | None = None
        self._window = _fade(avatar.region)

    @property
    def width(self) -> int:
        """Pixels of the frames."""
        return self._avatar.subject.box.size if self._avatar.footage is None else self._avatar.footage.width

    @property
    def height(self) -> int:
        """Pixels of the frames."""
        return self._avatar.subject.box.size if self._avatar.footage is None else self._avatar.footage.height

    @property
    def state(self) -> RendererState:
        """Where G stands after the frames so far; set it to go on from there.

        Raises:
            VastError: `vast_record_invalid` when set to what is no state of this avatar's G.
        """
        if self._carried is None:
            return RendererState(np.zeros(0, np.float32), "float32")
        return RendererState(self._carried.float().cpu().numpy(), str(self._carried.dtype).removeprefix("torch."))

    @state.setter
    def state(self, value: RendererState) -> None:
        if value.values.size == 0:
            self._carried = None
            return
        top, bottom, left, right = self._avatar.region
        wanted = (1, self._network.config.eighth, (bottom - top) // 8, (right - left) // 8)
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}.get(value.dtype)
        if value.values.shape != wanted or dtype is None:
            raise VastError("vast_record_invalid", f"no state of avatar `{self._avatar.name}`")
        self._carried = torch.from_numpy(value.values).to(self._compute.device, dtype)

    def prepare(self, expression: Float32, start: int) -> Iterator[Scene]:
        """Scenes of the frames start ... of an expression run [n, 233], `batch` at a time; no network is run."""
        avatar = self._avatar
        for first in range(0, len(expression), self._batch):
            part = expression[first : first + self._batch]
            where = template.positions(start + first, len(part), length=avatar.n_template, seed=self._seed)
            if avatar.footage is not None:
                where = np.round(where)  # there are pictures at whole frames only
            pose = (
                template.interpolate(avatar.rotation, where),
                template.interpolate(avatar.scale, where),
                template.interpolate(avatar.translation, where),
            )
            yield scene.build(avatar.subject, part, pose, face=self._face, rasteriser=self._rasteriser, positions=where)

    def render(self, run: Scene, speech: Float32) -> list[Image]:
        """Frames of the next scene.

        Args:
            run: of `prepare`, in order.
            speech: [n, 11, 40], of `speech_windows`.

        Returns:
            n frames, RGB uint8 [height, width, 3].

        Raises:
            VastError: `vast_non_finite` should G fail, `vast_out_of_memory` should not even one frame fit.
        """
        frames: list[Image] = []
        while len(frames) < len(run):
            done = slice(len(frames), len(frames) + self._at_once)
            painted = self._try(_part(run, done), speech[done])
            if painted is None:
                self._take_less(min(self._at_once, len(run) - len(frames)))
            else:
                frames += painted
        return frames

    def _try(self, run: Scene, speech: Float32) -> list[Image] | None:
        """Frames of a scene, or None if memory ran out; G's state is then as it was."""
        try:
            return self._paint(run, speech)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            log.debug("%d frames at once: %s", len(run), error)
        return None  # outside of `except`: what the error held of the failed attempt is free now

    def _take_less(self, failed: int) -> None:
        if self._compute.device.type == "cuda":
            torch.cuda.empty_cache()
        if failed == 1:
            raise VastError("vast_out_of_memory", "not even one frame at once fits into memory")
        if self._at_once == self._batch:
            log.warning("memory ran out with %d frames at once; going on with fewer", failed)
        self._at_once = failed // 2

    def _paint(self, run: Scene, speech: Float32) -> list[Image]:
        footage = None if self._avatar.footage is None else self._footage(run)
        background = None if footage is None else self._to_box(footage)
        picture = base.render_base(run, self._avatar.texture, self._plate, background=background)
        state = self._carried
        if self._full:
            state = self._add_residual(picture, run, speech)
        painted = np.clip(np.round(picture), 0, 255).astype(np.uint8)
        if footage is None:
            frames = list(painted)
        else:
            frames = [
                self._compose(frame, face, hull) for frame, face, hull in zip(footage, painted, run.hull, strict=True)
            ]
        self._carried = state
        return frames

    @torch.inference_mode()
    def _add_residual(self, picture: Float32, run: Scene, speech: Float32) -> torch.Tensor:
        top, bottom, left, right = self._avatar.region
        inputs = base.network_input(picture, run, self._avatar.region).to(self._compute.device)
        heard = torch.from_numpy(speech)[None].to(self._compute.device)
        half = self._compute.dtype != torch.float32
        with torch.autocast(self._compute.device.type, dtype=self._compute.dtype if half else None, enabled=half):
            residual, state = self._network(inputs, heard, self._carried)
        if not bool(torch.isfinite(residual).all()):
            raise VastError("vast_non_finite", "the renderer's network gave values that are not numbers")
        change = 255 * residual[0].float().permute(0, 2, 3, 1).cpu().numpy()
        picture[:, top:bottom, left:right] += self._window * change
        result: torch.Tensor = state
        return result

    # --- footage ----------------------------------------------------------------------------------------------------

    def _footage(self, run: Scene) -> list[Image]:
        footage = self._avatar.footage
        assert footage is not None
        frames = []
        for index in run.positions.astype(np.int64):
            stream = footage.data[footage.offsets[index] : footage.offsets[index + 1]]
            picture = cv2.imdecode(stream, cv2.IMREAD_COLOR)
            if picture is None:
                raise VastError(
                    "vast_record_invalid", f"template frame {index} of avatar `{self._avatar.name}` is damaged"
                )
            frames.append(np.ascontiguousarray(picture[:, :, ::-1], np.uint8))
        return frames

    def _to_box(self, frames: list[Image]) -> Float32:
        boxes = np.stack([crop_to_box(frame, self._avatar.subject.box) for frame in frames])
        return boxes.astype(np.float32)

    def _compose(self, frame: Image, face: Image, hull: Float32) -> Image:
        """Put the box back into the full-resolution frame, inside the hull only."""
        box = self._avatar.subject.box
        left, top, side = round(box.left), round(box.top), round(box.side)
        big = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC if side > box.size else cv2.INTER_AREA)
        alpha = cv2.resize(hull, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
        result: Image = frame.copy()
        rows = slice(max(top, 0), min(top + side, frame.shape[0]))
        columns = slice(max(left, 0), min(left + side, frame.shape[1]))
        inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        under = frame[rows, columns].astype(np.float32)
        result[rows, columns] = np.round(under + alpha[inner] * (big[inner] - under)).astype(np.uint8)
        return result


def _part(run: Scene, which: slice) -> Scene:
    """Some frames of a scene."""
    if which.start == 0 and which.stop >= len(run):
        return run
    mesh, plate = run.mesh, run.plate
    return dataclasses.replace(
        run,
        mesh=type(mesh)(mesh.conditioning[which], mesh.uv[which], mesh.mask[which]),
        lower=run.lower[which],
        upper=run.upper[which],
        pose=run.pose[which],
        plate=type(plate)(*(values[which] for values in (plate.affine, plate.features))),
        hull=run.hull[which],
        positions=run.positions[which],
    )


def crop_to_box(frame: Image, box: Box) -> Image:
    """The renderer box of a footage frame, [size, size, 3]; what lies outside the frame repeats its border."""
    left, top, side = round(box.left), round(box.top), round(box.side)
    height, width = frame.shape[:2]
    pad = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(pad):
        frame = cv2.copyMakeBorder(frame, *pad, cv2.BORDER_REPLICATE).astype(np.uint8)
        left, top = left + pad[2], top + pad[0]
    crop = frame[top : top + side, left : left + side]
    shrink = side > box.size
    resized = cv2.resize(crop, (box.size, box.size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    result: Image = resized.astype(np.uint8)
    return result


def speech_windows(ppg: Posteriorgram, start: int, n: int) -> Float32:
    """PPG around video frames start ... start + n - 1: [n, 11, 40]; beyond the ends the border rows are repeated."""
    centre = timebase.ppg_at(np.arange(start, start + n)) - 1
    index = centre[:, None] + np.arange(SPEECH_FRAMES) - SPEECH_FRAMES // 2
    windows: Float32 = ppg.values[np.clip(index, 0, len(ppg.values) - 1)]
    return windows


def _fade(region: tuple[int, int, int, int]) -> Float32:
    top, bottom, left, right = region
    rows = np.minimum(np.arange(bottom - top) + 0.5, np.arange(bottom - top)[::-1] + 0.5)
    columns = np.minimum(np.arange(right - left) + 0.5, np.arange(right - left)[::-1] + 0.5)
    window = np.minimum(rows[:, None], columns) / BORDER
    fade: Float32 = np.clip(window, 0, 1).astype(np.float32)[..., None]
    return fade

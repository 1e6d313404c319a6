"""Renders frames of an avatar: template pose, base frame, residual of G, and compositing into footage."""

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
from vast_cli.renderer.head_motion import HeadMotion
from vast_cli.renderer.network import SPEECH_FRAMES
from vast_cli.renderer.scene import Face, Rasteriser, Scene

log = logging.getLogger(__name__)

BATCH = 8  # frames rendered at once
BORDER = 8  # pixels over which G's residual fades out at the edge of its region
DETAILS = ("full", "mesh")


class RendererState(NamedTuple):
    """State of G between two frames."""

    values: Float32  # [1, c, h / 8, w / 8]; [0] before the first frame and without G
    dtype: str  # its dtype in the network


class Renderer:
    """Renders an avatar frame by frame and carries the state of G, so the output does not depend on how runs are cut.

    `state` can be stored and set on another renderer of the same avatar, which then continues with the same bytes. On a
    CPU the bytes do not depend on the number of threads (1 - 8 compared), but they depend on `batch`: with 4, 2 or 1
    frames at once instead of 8, one to three of a million values differ by one level.

    Args:
        avatar: the bundle.
        face: the face model that it was fitted with.
        rasteriser: renders mesh images.
        compute: device and precision.
        detail: `full`, or `mesh` for the base frames without G.
        seed: where in the template the video starts.
        batch: frames rendered at once; halved when memory runs out.
        head: turns of the head beside the template's; not for avatars with footage, which has images of those only.
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
        head: HeadMotion | None = None,
    ) -> None:
        if detail not in DETAILS:
            raise VastError("vast_option_invalid", f"no detail `{detail}`", hint=f"one of {', '.join(DETAILS)}")
        if batch < 1:
            raise VastError("vast_option_invalid", f"batch of {batch} frames", hint="1 or more")
        self._avatar = avatar
        self._face, self._rasteriser = face, rasteriser
        self._compute = compute
        self._full = detail == "full"
        self._seed = seed
        self._head = head
        self._batch = batch  # frames of a scene
        self._max_frames = batch  # frames that fit into memory
        self._plate = avatar.plate.to(compute.device)
        self._network = avatar.network.to(compute.device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._state: torch.Tensor | None = None
        self._fade = _fade_window(avatar.region)

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
        """State of G after the last frame; set it to continue from there.

        Raises:
            VastError: `vast_record_invalid` when set to the state of another network.
        """
        if self._state is None:
            return RendererState(np.zeros(0, np.float32), "float32")
        return RendererState(self._state.float().cpu().numpy(), str(self._state.dtype).removeprefix("torch."))

    @state.setter
    def state(self, value: RendererState) -> None:
        if value.values.size == 0:
            self._state = None
            return
        top, bottom, left, right = self._avatar.region
        shape = (1, self._network.config.eighth, (bottom - top) // 8, (right - left) // 8)
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}.get(value.dtype)
        if value.values.shape != shape or dtype is None:
            raise VastError("vast_record_invalid", f"not a state of the network of avatar `{self._avatar.name}`")
        self._state = torch.from_numpy(value.values).to(self._compute.device, dtype)

    def prepare(self, expression: Float32, start: int) -> Iterator[Scene]:
        """Scenes for an expression run [n, 233] from video frame `start` on, `batch` frames each; runs no network."""
        avatar = self._avatar
        for first in range(0, len(expression), self._batch):
            part = expression[first : first + self._batch]
            positions = template.positions(start + first, len(part), length=avatar.n_template, seed=self._seed)
            if avatar.footage is not None:
                positions = np.round(positions)  # footage has images at whole frames only
            pose = (
                template.interpolate(avatar.rotation, positions),
                template.interpolate(avatar.scale, positions),
                template.interpolate(avatar.translation, positions),
            )
            if self._head is not None:
                pose = self._head.turn(pose, start + first, face=self._face)
            yield scene.build(
                avatar.subject, part, pose, face=self._face, rasteriser=self._rasteriser, positions=positions
            )

    def render(self, run: Scene, speech: Float32) -> list[Image]:
        """Render the frames of the next scene.

        Args:
            run: the next scene of `prepare`.
            speech: [n, 11, 40], from `speech_windows`.

        Returns:
            n frames, RGB uint8 [height, width, 3].

        Raises:
            VastError: `vast_non_finite` if G fails, `vast_out_of_memory` if not even one frame fits into memory.
        """
        frames: list[Image] = []
        while len(frames) < len(run):
            part = slice(len(frames), len(frames) + self._max_frames)
            rendered = self._try_render(_select(run, part), speech[part])
            if rendered is None:
                self._reduce_batch(min(self._max_frames, len(run) - len(frames)))
            else:
                frames += rendered
        return frames

    def _try_render(self, run: Scene, speech: Float32) -> list[Image] | None:
        """Frames of a scene; None if memory ran out, which leaves the state of G unchanged."""
        try:
            return self._render(run, speech)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            log.debug("%d frames at once: %s", len(run), error)
        return None  # outside of `except`, where the exception no longer holds memory of the failed attempt

    def _reduce_batch(self, failed: int) -> None:
        if self._compute.device.type == "cuda":
            torch.cuda.empty_cache()
        if failed == 1:
            raise VastError("vast_out_of_memory", "not even a single frame fits into memory")
        if self._max_frames == self._batch:
            log.warning("memory ran out with %d frames at once; continuing with fewer", failed)
        self._max_frames = failed // 2

    def _render(self, run: Scene, speech: Float32) -> list[Image]:
        template_footage = self._avatar.footage
        footage = None if template_footage is None else [template_footage.frame(int(k)) for k in run.positions]
        background = None if footage is None else self._crop(footage)
        boxes = base.render_base(run, self._avatar.texture, self._plate, background=background)
        state = self._state
        if self._full:
            state = self._add_residual(boxes, run, speech)
        rendered = np.clip(np.round(boxes), 0, 255).astype(np.uint8)
        if footage is None:
            frames = list(rendered)
        else:
            frames = [
                self._composite(frame, box, hull) for frame, box, hull in zip(footage, rendered, run.hull, strict=True)
            ]
        self._state = state
        return frames

    @torch.inference_mode()
    def _add_residual(self, boxes: Float32, run: Scene, speech: Float32) -> torch.Tensor:
        """Add the residual of G to base frames in place; gives its next state."""
        top, bottom, left, right = self._avatar.region
        inputs = base.network_input(boxes, run, self._avatar.region).to(self._compute.device)
        windows = torch.from_numpy(speech)[None].to(self._compute.device)
        half = self._compute.dtype != torch.float32
        with torch.autocast(self._compute.device.type, dtype=self._compute.dtype if half else None, enabled=half):
            residual, state = self._network(inputs, windows, self._state)
        if not bool(torch.isfinite(residual).all()):
            raise VastError("vast_non_finite", "the renderer's network returned NaN or infinity")
        change = 255 * residual[0].float().permute(0, 2, 3, 1).cpu().numpy()
        boxes[:, top:bottom, left:right] += self._fade * change
        result: torch.Tensor = state
        return result

    def _crop(self, frames: list[Image]) -> Float32:
        boxes = np.stack([crop_to_box(frame, self._avatar.subject.box) for frame in frames])
        return boxes.astype(np.float32)

    def _composite(self, frame: Image, rendered: Image, hull: Float32) -> Image:
        """Put the rendered box into the full-resolution frame, inside the hull only."""
        box = self._avatar.subject.box
        left, top, side = round(box.left), round(box.top), round(box.side)
        resized = cv2.resize(
            rendered, (side, side), interpolation=cv2.INTER_CUBIC if side > box.size else cv2.INTER_AREA
        )
        alpha = cv2.resize(hull, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
        result: Image = frame.copy()
        rows = slice(max(top, 0), min(top + side, frame.shape[0]))
        columns = slice(max(left, 0), min(left + side, frame.shape[1]))
        inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        footage = frame[rows, columns].astype(np.float32)
        result[rows, columns] = np.round(footage + alpha[inner] * (resized[inner] - footage)).astype(np.uint8)
        return result


def _select(run: Scene, frames: slice) -> Scene:
    """A part of the frames of a scene."""
    if frames.start == 0 and frames.stop >= len(run):
        return run
    mesh, plate = run.mesh, run.plate
    return dataclasses.replace(
        run,
        mesh=type(mesh)(mesh.conditioning[frames], mesh.uv[frames], mesh.mask[frames]),
        lower=run.lower[frames],
        upper=run.upper[frames],
        pose=run.pose[frames],
        plate=type(plate)(*(values[frames] for values in (plate.affine, plate.features))),
        hull=run.hull[frames],
        positions=run.positions[frames],
    )


def crop_to_box(frame: Image, box: Box) -> Image:
    """The renderer box of a footage frame, [size, size, 3]; outside the frame its border is repeated."""
    left, top, side = round(box.left), round(box.top), round(box.side)
    height, width = frame.shape[:2]
    pad = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(pad):
        frame = cv2.copyMakeBorder(frame, *pad, cv2.BORDER_REPLICATE).astype(np.uint8)
        left, top = left + pad[2], top + pad[0]
    crop = frame[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > box.size else cv2.INTER_CUBIC
    resized = cv2.resize(crop, (box.size, box.size), interpolation=interpolation)
    result: Image = resized.astype(np.uint8)
    return result


def speech_windows(ppg: Posteriorgram, start: int, n: int) -> Float32:
    """PPG around video frames start ... start + n - 1: [n, 11, 40]; beyond the ends the first and last are repeated."""
    centre = timebase.ppg_at(np.arange(start, start + n)) - 1
    index = centre[:, None] + np.arange(SPEECH_FRAMES) - SPEECH_FRAMES // 2
    windows: Float32 = ppg.values[np.clip(index, 0, len(ppg.values) - 1)]
    return windows


def _fade_window(region: tuple[int, int, int, int]) -> Float32:
    top, bottom, left, right = region
    rows = np.minimum(np.arange(bottom - top) + 0.5, np.arange(bottom - top)[::-1] + 0.5)
    columns = np.minimum(np.arange(right - left) + 0.5, np.arange(right - left)[::-1] + 0.5)
    window = np.minimum(rows[:, None], columns) / BORDER
    fade: Float32 = np.clip(window, 0, 1).astype(np.float32)[..., None]
    return fade

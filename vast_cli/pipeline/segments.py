"""Finished segments of a long video, kept until they are joined, so that a killed render continues where it was.

A segment is three files: the encoded frames, the renderer's state after the last of them, and a note with the hashes
of both. The note is written last; without it, or if a hash does not match, the segment counts as missing.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vast_cli import __version__, media, records
from vast_cli.core import devices, files, locks, timebase
from vast_cli.core.devices import Compute
from vast_cli.core.errors import VastError
from vast_cli.expression.predict import HOP
from vast_cli.renderer import RendererState

log = logging.getLogger(__name__)

FORMAT, VERSION = "vast.segment", 1
RUN = HOP  # frames that the prediction yields at once: cuts lie between two runs
LOCK = "lock"
KEY_DIGITS = 16


def cut(n_frames: int, seconds: float) -> list[range]:
    """Frames of each segment: whole runs of the prediction, at least one, as close as possible to `seconds`."""
    length = RUN * max(1, round(timebase.to_frames(seconds) / RUN))
    return [range(start, min(start + length, n_frames)) for start in range(0, n_frames, length)]


class SegmentStore:
    """The finished segments of one render.

    Args:
        folder: where they lie; this process alone writes there.
        key: of the render.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key

    def video(self, index: int) -> Path:
        """Path of a segment's frames."""
        return self._folder / f"{index:05d}.mp4"

    def keep(self, index: int, frames: range, state: RendererState) -> None:
        """Record that a segment's video is complete.

        Args:
            index: of the segment.
            frames: of the video.
            state: of the renderer after the last frame.

        Raises:
            VastError: `vast_disk_full`, `vast_write_failed`, ...
        """
        path = self._state_path(index)
        records.save_tensors(
            path, {"values": state.values}, kind=FORMAT, version=VERSION, header={"dtype": state.dtype}
        )
        note = self._contents(frames) | {"video": files.sha256(self.video(index)), "state": files.sha256(path)}
        with files.atomic_write(self._note(index)) as part:
            part.write_text(json.dumps(note, sort_keys=True) + "\n", encoding="utf-8")

    def has(self, index: int, frames: range) -> bool:
        """Whether a segment is complete, byte for byte, and belongs to this render."""
        try:
            note = json.loads(self._note(index).read_text(encoding="utf-8"))
            wanted = self._contents(frames)
            wanted |= {"video": files.sha256(self.video(index)), "state": files.sha256(self._state_path(index))}
        except (OSError, ValueError) as error:
            log.debug("segment %d has to be rendered: %s", index, error)
            return False
        return bool(note == wanted)

    def state(self, index: int) -> RendererState:
        """The renderer's state after a segment that `has` found.

        Raises:
            VastError: `vast_record_invalid`, `vast_input_missing`: it changed since.
        """
        tensors, header = records.load_tensors(self._state_path(index), kind=FORMAT, version=VERSION)
        return RendererState(tensors["values"], str(header["dtype"]))

    def clear(self) -> None:
        """Remove all segments, once the video is complete."""
        for path in self._folder.iterdir():
            if path.name != LOCK:
                with suppress(OSError):
                    path.unlink()

    def _state_path(self, index: int) -> Path:
        return self._folder / f"{index:05d}.safetensors"

    def _note(self, index: int) -> Path:
        return self._folder / f"{index:05d}.json"

    def _contents(self, frames: range) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": VERSION,
            "key": self._key,
            "start": frames.start,
            "stop": frames.stop,
        }


def machine(compute: Compute) -> dict[str, Any]:
    """What rounding, and so the bytes, depend on beside inputs and options: part of a render's key."""
    encoder = Path(media.find_ffmpeg())
    status = encoder.stat()
    device = torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else "cpu"
    return {
        "program": __version__,
        "device": device,
        "dtype": str(compute.dtype),
        "threads": compute.threads,  # with four and more the prediction was seen to differ in its last bits
        "cpu": hashlib.sha256(" ".join(sorted(devices.cpu_flags())).encode()).hexdigest(),
        "libraries": [torch.__version__, np.__version__, cv2.__version__],
        "encoder": [str(encoder), status.st_size, status.st_mtime_ns],
    }


@contextmanager
def open_store(parts: Path | None, key: Mapping[str, Any]) -> Iterator[SegmentStore]:
    """The segments of a render, in a folder of their own inside `parts`.

    Without `parts`, if it cannot be written to, or if another process works on the same render, they lie in a temporary
    folder and are lost at the end: processes do not wait for each other.

    Args:
        parts: folder for segments that survive this process.
        key: everything that the bytes of the segments depend on.
    """
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    with ExitStack() as stack:
        folder = None if parts is None else parts.absolute() / name[:KEY_DIGITS]
        if folder is not None:
            stack.callback(_remove_if_empty, folder)
            try:
                stack.enter_context(locks.hold(folder / LOCK, record_owner=False, keep_file=False))
            except VastError as error:
                log.info("segments are not stored: %s", error.message)
                folder = None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"vast-{files.run_tag}-")))
        _sweep(folder)
        yield SegmentStore(folder, name)


def _sweep(folder: Path) -> None:
    """Remove what a killed process was writing; we hold its lock, so it is gone."""
    for path in folder.glob(".*.part.*"):
        with suppress(OSError):
            path.unlink()


def _remove_if_empty(folder: Path) -> None:
    for place in (folder, folder.parent):
        with suppress(OSError):  # something is left in it
            place.rmdir()


def sweep_old(parts: Path, *, older_than_s: float, now_s: float) -> None:
    """Remove segments of renders that were never continued.

    Args:
        parts: as for `open_store`.
        older_than_s: since their last change.
        now_s: time of day, seconds since 1970.
    """
    with suppress(OSError):
        for folder in list(parts.iterdir()):
            newest = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
            if now_s - newest > older_than_s:
                with suppress(VastError), locks.hold(folder / LOCK, record_owner=False, keep_file=False):
                    shutil.rmtree(folder, ignore_errors=True)
                _remove_if_empty(folder)

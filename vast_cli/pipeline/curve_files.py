"""Files of curves: the CSV of Live Link Face, JSON and NumPy archives, written in runs of frames.

The CSV is that of Epic's app for iPhones, which importers for Unreal, Blender and Maya read: 61 values a row,
blendshapes, then rotations of head and eyes in radians; the timecode counts 60 frames a second whatever the rate, as
the app does and importers expect.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from vast_cli import __version__
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.core.formats import MotionFormat, check_rate, motion_format
from vast_cli.face.blendshapes import NAMES, ROTATIONS, eye_rotations
from vast_cli.pipeline.curves import Curves

FORMAT, FORMAT_VERSION = "vast.curves", 1
TIMECODE_RATE = 60  # frames per second of the timecode of Live Link Face
COLUMNS = [f"{name[0].upper()}{name[1:]}" for name in (*NAMES, *ROTATIONS)]


def save(curves: Curves, path: Path, *, fps: float, format: MotionFormat | None, overwrite: bool) -> None:
    """Write curves at a rate, atomically.

    Raises:
        VastError: `vast_option_invalid` for a rate or suffix that does not fit, and as `files.atomic_write`.
    """
    writer = WRITERS.get(motion_format(path, format))
    if writer is None:
        raise VastError("vast_option_invalid", f"`{path}`: curves are no motion", hint="use .csv, .json or .npz")
    check_rate(fps)
    with files.atomic_write(path, overwrite=overwrite) as part:
        writer(curves, part, fps)


def describe(curves: Curves, fps: float) -> dict[str, Any]:
    """What JSON and NumPy files say of themselves (schema: `vast schema curves`, without the curves)."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "producer": f"vast {__version__}",
        "synthetic": True,
        "fps": fps,
        "n_frames": curves.n_frames(fps),
        "duration_s": timebase.audio_seconds(curves.n_samples),
        "limited_share": curves.limited_share,
        **curves.origin,
    }


# --- csv ------------------------------------------------------------------------------------------------------------


def _write_csv(curves: Curves, part: Path, fps: float) -> None:
    with part.open("w", encoding="ascii", newline="") as file:
        file.write(",".join(["Timecode", "BlendShapeCount", *COLUMNS]) + "\n")
        frame = 0
        for weights in curves.sample(fps):
            for row in _numbers(np.concatenate([weights, eye_rotations(weights)], 1)):
                file.write(f"{timecode(frame / fps)},{len(COLUMNS)},{row}\n")
                frame += 1


def timecode(seconds: float) -> str:
    """Hours, minutes, seconds and frames of 1/60 s, to a thousandth: `00:00:01:07.200`."""
    thousandths = round(seconds * TIMECODE_RATE * 1000)
    whole, frame = divmod(thousandths, TIMECODE_RATE * 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frame / 1000:06.3f}"


def _numbers(rows: Float32) -> Iterator[str]:
    """Rows as text with six decimals, without negative zeros."""
    template = ",".join(["%.6f"] * rows.shape[1])
    for row in (rows.round(6) + np.float32(0)).tolist():
        yield template % tuple(row)


# --- json -----------------------------------------------------------------------------------------------------------


def _write_json(curves: Curves, part: Path, fps: float) -> None:
    tables = {"frames": curves.sample(fps), "rotations": map(eye_rotations, curves.sample(fps))}
    head = describe(curves, fps) | {"names": NAMES, "rotation_names": ROTATIONS}
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}"))
        for name, runs in tables.items():
            file.write(f',\n  "{name}": [')
            _write_rows(file, runs)
            file.write("\n  ]")
        file.write("\n}\n")


def _write_rows(file: IO[str], runs: Iterable[Float32]) -> None:
    separator = ""
    for run in runs:
        for row in _numbers(run):
            file.write(f"{separator}\n    [{row}]")
            separator = ","


# --- npz ------------------------------------------------------------------------------------------------------------


def _write_npz(curves: Curves, part: Path, fps: float) -> None:
    total = curves.n_frames(fps)
    with zipfile.ZipFile(part, "w") as archive:
        _write_runs(archive, "weights", (total, len(NAMES)), curves.sample(fps))
        _write_runs(archive, "rotations", (total, len(ROTATIONS)), map(eye_rotations, curves.sample(fps)))
        _write_array(archive, "times_s", np.arange(total) / fps)
        _write_array(archive, "fps", np.float64(fps))
        _write_array(archive, "names", np.array(NAMES))
        _write_array(archive, "rotation_names", np.array(ROTATIONS))
        _write_array(archive, "about", np.array(json.dumps(describe(curves, fps), ensure_ascii=False)))


def _write_array(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    with _member(archive, name) as member:
        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _write_runs(archive: zipfile.ZipFile, name: str, shape: tuple[int, int], runs: Iterable[Float32]) -> None:
    """A float32 array that is never whole in memory."""
    with _member(archive, name) as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for run in runs:
            member.write(run.astype("<f4").tobytes())


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A new array of the archive; its date is fixed, so equal curves are equal bytes."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)


WRITERS: dict[MotionFormat, Callable[[Curves, Path, float], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "npz": _write_npz,
}

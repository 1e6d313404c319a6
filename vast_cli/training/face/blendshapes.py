"""Make the shipped blendshapes from shapes of ICT-FaceKit on the mesh of the tracker.

python -m vast_cli.training.face.blendshapes ../shared/data/face/blendshapes_ict.npz weights/blendshapes.safetensors
"""

import sys
from pathlib import Path

import numpy as np

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError
from vast_cli.face.blendshapes import FORMAT, FULL_PITCH, FULL_YAW, N_BLENDSHAPES, NAMES, SIDES, VERSION

WHOLE = ("browInnerUp", "cheekPuff")  # split in ICT-FaceKit, whole in ARKit
EYE_RADIUS = 1.05  # iris to centre of the eye: 10 mm where the iris, 5.85 mm in people, has .615 in the mean face
IRIS_VERTICES = {"Left": slice(473, 478), "Right": slice(468, 473)}
# eyeLook shape of the left eye -> axis and signed angle by which the iris turns; In and Out are mirrored on the right
LOOKS = {"In": (0, -FULL_YAW), "Out": (0, FULL_YAW), "Up": (1, FULL_PITCH), "Down": (1, -FULL_PITCH)}


def apple_name(name: str) -> str:
    """ARKit's name of a shape of ICT-FaceKit: `mouthSmile_L` -> `mouthSmileLeft`, `cheekPuff_L` -> `cheekPuff`."""
    base, _, side = name.partition("_")
    return base if not side or base in WHOLE else base + {"L": "Left", "R": "Right"}[side]


def map_shapes(names: list[str], deltas: Float32) -> Float32:
    """Shapes in the order of ARKit's names, halves added up, irises turned.

    Args:
        names: of ICT-FaceKit.
        deltas: [53, 468, 3], offsets of the mesh's surface in canonical units.

    Returns:
        [52, 478, 3]; zero for `tongueOut`.

    Raises:
        VastError: `vast_record_invalid` if a shape is missing or unknown.
    """
    offsets = np.zeros((N_BLENDSHAPES, records.N_VERTICES, 3), np.float32)
    for name, delta in zip(names, deltas, strict=True):
        if apple_name(name) not in NAMES:
            raise VastError("vast_record_invalid", f"`{name}` is no shape of ICT-FaceKit that ARKit has")
        offsets[NAMES.index(apple_name(name)), : delta.shape[0]] += delta
    for side in SIDES:
        for way, (axis, angle) in LOOKS.items():
            mirrored = -1 if side == "Right" and axis == 0 else 1
            shape = offsets[NAMES.index(f"eyeLook{way}{side}")]
            shape[IRIS_VERTICES[side], axis] = mirrored * EYE_RADIUS * np.sin(angle)
    missing = [name for name, shape in zip(NAMES, offsets, strict=True) if name != "tongueOut" and not shape.any()]
    if missing:
        raise VastError("vast_record_invalid", f"no shape for {', '.join(missing)}")
    return offsets


def make_blendshapes(source: Path, output: Path) -> None:
    """Read the shapes `source` and write the asset `output`, half precision as the source has.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`.
    """
    files.check_input(source)
    try:
        with np.load(source, allow_pickle=False) as arrays:
            names, deltas = [str(name) for name in arrays["names"]], arrays["delta"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise VastError("vast_record_invalid", f"`{source}` holds no blendshapes: {error}") from error
    offsets = map_shapes(names, deltas).astype(np.float16)
    records.save_tensors(output, {"offsets": offsets}, kind=FORMAT, version=VERSION, header={"names": list(NAMES)})


if __name__ == "__main__":
    make_blendshapes(Path(sys.argv[1]), Path(sys.argv[2]))

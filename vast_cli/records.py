"""The records that stages exchange, and the safetensors files of records, weights and avatars.

A file holds tensors and a JSON header: format, format version, version of the producer, and for records the hash of the
model that made them. Records are checked for names, shapes, dtypes, finiteness, version and model hash. Reading these
files unpickles nothing. Pickled files, which are third-party weights in `evaluate.external` and in the perceptual loss
of the training, are read by `torch.load(weights_only=True)` only, which admits tensors and plain values.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vast_cli import __version__
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32
from vast_cli.core.errors import VastError

N_VERTICES = 478  # MediaPipe face mesh with irises
N_EXPRESSION = 233  # paper 3: X in R^{N x 233}
N_STRONG = 85  # speech-strongly-related components, the first ones (paper 3.3)
N_WEAK = N_EXPRESSION - N_STRONG  # speech-weakly-related components
N_PHONES = 40

# how to make a file of an earlier version again
MADE_AGAIN = {"vast.style": "encode the prompt again: `vast encode-style`"}

Dims = tuple[int | str, ...]  # a string is a free length; equal strings mean equal lengths


@dataclass(frozen=True)
class Record:
    """Base of all records: checks arrays on construction, writes files."""

    FORMAT: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    SHAPES: ClassVar[dict[str, Dims]] = {}
    DTYPES: ClassVar[dict[str, str]] = {}  # float32 if absent

    def __post_init__(self) -> None:
        lengths: dict[str, int] = {}
        for name, dims in self.SHAPES.items():
            value = getattr(self, name)
            dtype = self.DTYPES.get(name, "float32")
            if not isinstance(value, np.ndarray) or value.dtype != dtype:
                raise VastError("vast_record_invalid", f"{self.FORMAT}: `{name}` must be an array of {dtype}")
            expected = tuple(
                lengths.setdefault(d, n) if isinstance(d, str) else d for d, n in zip(dims, value.shape, strict=False)
            )
            if value.shape != expected or value.ndim != len(dims):
                raise VastError(
                    "vast_record_invalid",
                    f"{self.FORMAT}: `{name}` has shape {list(value.shape)}, expected {list(dims)}",
                )
            if dtype == "float32" and not np.isfinite(value).all():
                raise VastError("vast_record_invalid", f"{self.FORMAT}: `{name}` contains values that are not finite")

    def save(self, path: Path, *, overwrite: bool = True) -> None:
        """Write the record to `path` atomically."""
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in self.SHAPES}
        header = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.SHAPES}
        save_tensors(path, tensors, kind=self.FORMAT, version=self.VERSION, header=header, overwrite=overwrite)


R = TypeVar("R", bound=Record)


def save_tensors(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    *,
    kind: str,
    version: int,
    header: Mapping[str, Any],
    overwrite: bool = True,
) -> None:
    """Write tensors and a JSON header as safetensors, atomically; for records, weights and avatars."""
    metadata = {
        "format": kind,
        "format_version": str(version),
        "producer": f"vast {__version__}",
        "header": json.dumps(header, sort_keys=True),
    }
    content = _sorted_header(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata))
    with files.atomic_write(path, overwrite=overwrite) as part:
        part.write_bytes(content)


def _sorted_header(content: bytes) -> bytes:
    """The safetensors file with sorted metadata: the library's order varies between runs."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # tensors must start at a multiple of 8
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + length :]


def load_tensors(path: Path, *, kind: str, version: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the tensors and the header of a file of `save_tensors`.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`, `vast_record_version`.
    """
    files.check_input(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                actual = metadata.get("format", "a file of another program")
                raise VastError("vast_record_invalid", f"`{path}` is not a {kind} file but {actual}")
            actual_version = metadata.get("format_version")
            if actual_version != str(version):
                raise VastError(
                    "vast_record_version",
                    f"`{path}` is a {kind} file of version {actual_version}, not {version}",
                    hint=MADE_AGAIN.get(kind),
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads(metadata["header"])
    except (SafetensorError, json.JSONDecodeError, KeyError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is not a valid {kind} file: {error}") from error
    except OSError as error:
        raise VastError("vast_input_unreadable", f"`{path}` cannot be read: {error}") from error


def load(kind: type[R], path: Path, *, model_hash: str | None = None) -> R:
    """Read a record.

    Args:
        kind: the record's class.
        path: its file.
        model_hash: hash of the model in use; records of other models are refused.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`, `vast_record_version`, `vast_model_mismatch`.
    """
    tensors, header = load_tensors(path, kind=kind.FORMAT, version=kind.VERSION)
    try:
        record = kind(**{name: tensors[name] for name in kind.SHAPES}, **header)
    except (KeyError, TypeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is not a valid {kind.FORMAT} file: {error}") from error
    except VastError as error:
        raise VastError(error.code, error.message, where=str(path)) from error
    if model_hash is not None and getattr(record, "model_hash", model_hash) != model_hash:
        raise VastError(
            "vast_model_mismatch",
            f"`{path}` was made with another model",
            hint="create it again with this version of vast",
        )
    return record


@dataclass(frozen=True)
class FaceTrack(Record):
    """Face parameters of a video at 25 fps: the output of Phi (paper 3).

    The mesh in frame t, in pixels (x right, y down), is `scale[t] * R(rotation[t]) (identity + expression[t] B)` with y
    and z negated, plus `translation[t]` (weak perspective, see `face.model`). Frames without a face have `valid` False
    and the values of the nearest valid frame.
    """

    FORMAT: ClassVar[str] = "vast.track"
    SHAPES: ClassVar[dict[str, Dims]] = {
        "valid": ("n",),
        "score": ("n",),
        "segment": ("n",),
        "expression": ("n", N_EXPRESSION),
        "rotation": ("n", 3),
        "scale": ("n",),
        "translation": ("n", 3),
        "identity": (N_VERTICES, 3),
    }
    DTYPES: ClassVar[dict[str, str]] = {"valid": "bool", "segment": "int16"}

    valid: NDArray[np.bool_]  # [n], a face was detected reliably
    score: Float32  # [n], 0..1, confidence
    segment: NDArray[np.int16]  # [n], number of cuts before the frame; -1 without a face
    expression: Float32  # [n, 233], canonical units, not normalised
    rotation: Float32  # [n, 3], rotation vector, canonical axes (x right, y up, z to the camera)
    scale: Float32  # [n], pixels per canonical unit
    translation: Float32  # [n, 3], pixels (x right, y down, z)
    identity: Float32  # [478, 3], neutral mesh of the person, canonical units
    height: int  # pixels of the upright frame
    width: int
    source: str  # name of the video, without its folder
    model_hash: str
    report: dict[str, Any] = field(default_factory=dict)  # counts of lost, bridged and doubtful frames, and of faces

    @property
    def n_frames(self) -> int:
        """Video frames at 25 fps."""
        return len(self.valid)

    def at_frames(self, frames: slice | NDArray[np.int64]) -> "FaceTrack":
        """The track of some of its frames."""
        names = [name for name, dims in self.SHAPES.items() if dims[0] == "n"]
        return replace(self, **{name: getattr(self, name)[frames] for name in names})


@dataclass(frozen=True)
class Posteriorgram(Record):
    """Phonetic posteriorgram A (paper 3): speaker and language independent speech content."""

    FORMAT: ClassVar[str] = "vast.ppg"
    SHAPES: ClassVar[dict[str, Dims]] = {"values": ("t", N_PHONES)}

    values: Float32  # [T, 40] at 50 Hz, rows sum to 1
    n_samples: int  # of 16 kHz audio
    model_hash: str

    @property
    def n_frames(self) -> int:
        """Number of video frames that the audio fills."""
        return timebase.video_frames(self.n_samples)

    def at_video(self, start: int = 0, stop: int | None = None) -> Float32:
        """Values at video frames `start .. stop - 1`: [stop - start, 40]."""
        stop = self.n_frames if stop is None else stop
        return timebase.interpolate_ppg(self.values, stop - start, start=start)


@dataclass(frozen=True)
class Style(Record):
    """Speaking style of a prompt: s = (z, q), the latent z of the paper (3.1, 3.2) and moments q of the motion.

    z is the mean of the Gaussian q(z0 | X, A) after the flow; q are levels and spreads of groups of components.
    """

    FORMAT: ClassVar[str] = "vast.style"
    VERSION: ClassVar[int] = 2  # 1 had no moments
    SHAPES: ClassVar[dict[str, Dims]] = {
        "mean": ("z",), "log_std": ("z",), "flow_seed": ("z",), "moments": ("m",), "moments_std": ("m",),
        "vector": ("s",), "head": (2, 3),
    }  # fmt: skip

    mean: Float32  # [d_z], mu of z0
    log_std: Float32  # [d_z], ln sigma of z0
    flow_seed: Float32  # [d_z], first Householder vector, from E^p's last hidden layer
    moments: Float32  # [m], q: the style's part of the moments, in sd between clips
    moments_std: Float32  # [m], how sure they are: the shorter the prompt, the larger
    vector: Float32  # [d_z + m], s = (z^(K), q)
    head: Float32  # [2, 3], of pitch, yaw and roll: sd about the mean in degrees, and seconds in which they change
    source: str
    n_frames: int  # frames of the prompt used
    speech_known: bool  # False: the prompt had no audio, its speech was masked
    model_hash: str


@dataclass(frozen=True)
class Motion(Record):
    """Predicted expressions at 25 fps (paper 3.3), for any renderer of the same face model."""

    FORMAT: ClassVar[str] = "vast.motion"
    SHAPES: ClassVar[dict[str, Dims]] = {"expression": ("n", N_EXPRESSION)}

    expression: Float32  # [N, 233]
    n_samples: int  # of the audio it was predicted for
    avatar: str
    limited_share: float  # share of frames that the limiter changed
    face_model_hash: str
    model_hash: str


@dataclass(frozen=True)
class MeshImages:
    """Mesh images M of a run of frames (paper 3.4), from `face.mesh` to `renderer`; never stored."""

    conditioning: NDArray[np.uint8]  # [N, H, W, 6]: NCC colour (3), mouth interior, eye opening, iris
    uv: Float32  # [N, H, W, 2], texture coordinates in [0, 1] of the surface at each pixel; 0 outside
    mask: NDArray[np.uint8]  # [N, H, W], 255 where the mesh covers the pixel

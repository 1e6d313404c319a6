"""Files of network weights: safetensors whose header holds the network's configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.errors import VastError

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """Content of a weights file."""

    tensors: Mapping[str, NDArray[Any]]
    header: Mapping[str, Any]
    sha256: str

    def network_state(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Tensors of the network whose names start with `prefix`, without it; half precision becomes float32."""
        return {
            name.removeprefix(prefix): value.astype(np.float32) if value.dtype == np.float16 else value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class WeightsFormat:
    """Format of the weights of one kind of network.

    Args:
        kind: name of the format in the file.
        version: version of the format in the file.
        noun: what the file holds, for messages.
        max_bytes: larger files are refused before they are read; None sets no limit.
    """

    kind: str
    version: int
    noun: str
    max_bytes: int | None = None

    def save(self, path: Path, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
        """Write weights atomically."""
        records.save_tensors(path, tensors, kind=self.kind, version=self.version, header=header)

    def load(self, path: Path, build: Callable[[Weights], T]) -> T:
        """Read weights and build the network from them.

        Args:
            path: the file.
            build: makes the network; a missing entry or a wrong shape that it meets makes the file invalid.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_version`; `vast_record_invalid` if
                the file is too large, damaged, of another kind, or holds weights that are not finite.
        """
        if self.max_bytes is not None and path.is_file() and path.stat().st_size > self.max_bytes:
            raise VastError("vast_record_invalid", f"`{path}` is too large for {self.noun} weights")
        tensors, header = records.load_tensors(path, kind=self.kind, version=self.version)
        try:
            network = build(Weights(tensors, header, files.sha256(path)))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise VastError("vast_record_invalid", f"`{path}` holds no valid {self.noun}: {error}") from error
        if not all(np.isfinite(value).all() for value in tensors.values()):
            raise VastError("vast_record_invalid", f"`{path}` holds weights that are not finite")
        return network


# E^p, E^v and the decoder D are in one file because they are trained together (paper Eq. 2)
STYLE_MODEL = WeightsFormat("vast.style_model", 2, "style model")
# prefixes of tensor names
STYLE_ENCODER, STYLE_ENHANCER, MOMENTS, DECODER = "style.encoder.", "style.enhancer.", "style.moments.", "expression."

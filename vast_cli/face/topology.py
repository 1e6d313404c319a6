"""Triangles, texture coordinates and named vertex sets of the 478-point mesh."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vast_cli.core.arrays import Float32, Int64
from vast_cli.core.errors import VastError
from vast_cli.store import assets


@dataclass(frozen=True)
class Topology:
    """What is the same for all persons and frames. 'image_left' is the left half of the image."""

    canonical: Float32  # [468, 3], canonical face (without irises), canonical axes
    uv: Float32  # [468, 2] in [0, 1], u to the right, v down
    triangles: Int64  # [898, 3], mouth and eyes are covered, the oval is the only border
    mirror: Int64  # [478], the vertex on the other half
    sets: dict[str, Int64]  # lips_outer, lips_inner, image_left_eye, ... (index_sets.json), rings in order

    @classmethod
    def load(cls, topology: Path | None = None, index_sets: Path | None = None) -> "Topology":
        """Read the two files that ship with vast, or others.

        Raises:
            VastError: `vast_asset_missing`, `vast_asset_corrupt`.
        """
        topology = assets.find("topology") if topology is None else topology
        index_sets = assets.find("index_sets") if index_sets is None else index_sets
        try:
            with np.load(topology, allow_pickle=False) as arrays:
                canonical = arrays["canonical"].astype(np.float32)
                # stored with v down already: forehead 0.11, chin 0.95
                uv = arrays["uv"].astype(np.float32)
                triangles = arrays["triangles"].astype(np.int64)
                mirror = arrays["mirror"].astype(np.int64)
            named = json.loads(index_sets.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise VastError("vast_asset_missing", f"`{error.filename}` is missing") from error
        except (OSError, ValueError, KeyError) as error:
            raise VastError("vast_asset_corrupt", f"`{topology}` or `{index_sets}` is damaged: {error}") from error
        sets = {
            name: np.array(v, np.int64) for name, v in named.items() if isinstance(v, list) and isinstance(v[0], int)
        }
        return cls(canonical, uv, triangles, mirror, sets)

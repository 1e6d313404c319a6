"""LagSync's embeddings of the mouths in a stream of frames."""

import numpy as np
from numpy.typing import NDArray

from vast_cli import sync
from vast_cli.core.arrays import Image

CHUNK = 100  # frames whose mouths are embedded at once


class MouthEmbedder:
    """Crops the mouth of each frame and embeds windows of 5 frames.

    Args:
        network: LagSync, or None.
        backwards: embed the windows backwards in time too, for a control.
    """

    def __init__(self, network: sync.LagSync | None, *, backwards: bool = True) -> None:
        self._network = network
        self._backwards = backwards
        self._crops: list[Image] = []
        self._has_face: list[bool] = []
        self._embeddings: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def step(self, frame: Image, mesh: NDArray[np.float32] | None) -> None:
        """Add the next frame, with the mesh of its face."""
        self._has_face.append(mesh is not None)
        if self._network is None:
            return
        blank = np.zeros((96, 96), np.uint8)
        self._crops.append(blank if mesh is None else sync.mouth_crop(frame, mesh))
        if len(self._crops) == CHUNK:
            self._embed(keep=4)

    def _embed(self, *, keep: int) -> None:
        if self._network is None or len(self._crops) < 5:
            return
        crops = np.stack(self._crops)
        forwards = self._network.embed_mouth(crops)
        backwards = forwards[:0]
        if self._backwards:
            backwards = self._network.embed_mouth(np.ascontiguousarray(crops[::-1]))[::-1]
        self._embeddings.append((forwards, backwards))
        self._crops = self._crops[len(self._crops) - keep :]

    def finish(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Embeddings [n - 4, d], those backwards in time, and which windows show a face in every frame [n - 4]."""
        if len(self._crops) > 4:
            self._embed(keep=0)
        has_face = np.array(self._has_face, bool)
        n = max(0, len(has_face) - 4)
        valid = np.all([has_face[i : i + n] for i in range(5)], axis=0) if n else np.zeros(0, bool)
        if not self._embeddings:
            return np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32), valid
        forwards, backwards = (np.concatenate(parts) for parts in zip(*self._embeddings, strict=True))
        return forwards, backwards, valid

"""LagSync: the shipped network that tells how well a mouth fits a sound, and at which lag."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vast_cli.core.arrays import Float32, Image
from vast_cli.core.errors import VastError
from vast_cli.core.files import sha256
from vast_cli.records import load_tensors, save_tensors
from vast_cli.store import assets
from vast_cli.sync import audio
from vast_cli.sync.network import FRAMES, LagSyncConfig, LagSyncNet

FORMAT = "vast.lagsync"
VERSION = 1
MAX_BYTES = 64 << 20  # ours has less than 3 MB
BATCH = 256  # pictures or windows at once


class LagSync:
    """Embeddings of mouths and sounds.

    Attributes:
        name: `lagsync@` and the first eight digits of the weights' SHA-256; part of every figure made with it.
    """

    def __init__(self, network: LagSyncNet, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.name = name

    def embed_mouth(self, crops: Image) -> Float32:
        """Where each run of five mouths lies.

        Args:
            crops: [N, 96, 96], from `mouth_crop`, consecutive frames at 25 a second.

        Returns:
            [N - 4, d], unit vectors; window i covers frames i .. i + 4. Pieces that overlap by four frames give the
            windows of the whole.
        """
        if crops.ndim != 3 or crops.shape[1:] != (96, 96) or crops.dtype != np.uint8:
            raise ValueError(f"mouths are uint8 [N, 96, 96], not {crops.dtype} {list(crops.shape)}")
        if len(crops) < FRAMES:
            return np.zeros((0, self.network.config.dims), np.float32)
        with torch.inference_mode():
            parts = [self._pictures(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
            result: Float32 = self.network.mouth.embed(torch.cat(parts)[None])[0].numpy()
        return result

    def _pictures(self, crops: Image) -> torch.Tensor:
        told: torch.Tensor = self.network.mouth.picture(torch.from_numpy(crops.astype(np.float32)))
        return told

    def embed_sound(self, samples: Float32, n_frames: int) -> Float32:
        """Where the sound of each run of five frames lies.

        Args:
            samples: [n] at 16 kHz, mono; sample 0 is the instant of video frame 0.
            n_frames: video frames; sound that is missing at the end counts as silence.

        Returns:
            [n_frames - 4, d], unit vectors.
        """
        if samples.ndim != 1 or n_frames < 0:
            raise ValueError(f"a sound is [n] at 16 kHz, not {list(samples.shape)}, and lasts 0 frames or more")
        n = n_frames * audio.A_FRAME
        features = audio.normalise(audio.log_mel(np.asarray(samples, np.float32), n))
        if n_frames < FRAMES:
            return np.zeros((0, self.network.config.dims), np.float32)
        pieces = audio.windows(features, n_frames)
        with torch.inference_mode():
            parts = [
                self.network.sound(torch.from_numpy(np.ascontiguousarray(pieces[k : k + BATCH]))).numpy()
                for k in range(0, len(pieces), BATCH)
            ]
        return np.concatenate(parts)


def load_lagsync(path: Path | None = None) -> LagSync:
    """Read the weights that ship, or others.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`; for a given path `vast_input_missing`,
            `vast_record_version`, `vast_record_invalid`.
    """
    path = assets.find("lagsync") if path is None else path
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is too large for a LagSync network")
    tensors, header = load_tensors(path, kind=FORMAT, version=VERSION)
    try:
        network = LagSyncNet(LagSyncConfig.from_header(header["config"]))
        weights = {name: torch.from_numpy(value) for name, value in tensors.items()}
        weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is no LagSync network: {error}") from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise VastError("vast_record_invalid", f"`{path}` holds weights that are not finite")
    return LagSync(network, f"lagsync@{sha256(path)[:8]}")


def save_lagsync(network: LagSyncNet, path: Path, *, notes: Mapping[str, Any] | None = None) -> None:
    """Write the weights in half precision with configuration and `notes` in the header, atomically."""
    tensors = {}
    for name, value in network.state_dict().items():
        array = value.detach().cpu().contiguous().numpy()
        tensors[name] = array.astype(np.float16) if array.dtype == np.float32 else array
    header = {**(notes or {}), "config": network.config.to_header()}
    save_tensors(path, tensors, kind=FORMAT, version=VERSION, header=header)

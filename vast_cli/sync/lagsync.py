"""LagSync: the shipped network that measures how well a mouth fits audio, and at which lag."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vast_cli.core.arrays import Float32, Image
from vast_cli.store import assets
from vast_cli.store.weights import Weights, WeightsFormat
from vast_cli.sync import audio
from vast_cli.sync.network import FRAMES, LagSyncConfig, LagSyncNet

FORMAT = WeightsFormat("vast.lagsync", 1, "LagSync network", max_bytes=64 << 20)  # the shipped file has under 3 MB
BATCH = 256  # mouth images or windows at once


class LagSync:
    """Embeds mouths and audio.

    Attributes:
        name: `lagsync@` and the first eight digits of the weights' SHA-256; part of every figure made with it.
    """

    def __init__(self, network: LagSyncNet, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.name = name

    def embed_mouth(self, crops: Image) -> Float32:
        """Embed each run of five mouths.

        Args:
            crops: [N, 96, 96], from `mouth_crop`, consecutive frames at 25 fps.

        Returns:
            [N - 4, d], unit vectors; window i covers frames i .. i + 4. Pieces that overlap by four frames give the
            windows of the whole.
        """
        if crops.ndim != 3 or crops.shape[1:] != (96, 96) or crops.dtype != np.uint8:
            raise ValueError(f"mouths are uint8 [N, 96, 96], not {crops.dtype} {list(crops.shape)}")
        if len(crops) < FRAMES:
            return np.zeros((0, self.network.config.dims), np.float32)
        with torch.inference_mode():
            parts = [self._mouth_features(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)]
            result: Float32 = self.network.mouth.embed(torch.cat(parts)[None])[0].numpy()
        return result

    def _mouth_features(self, crops: Image) -> torch.Tensor:
        features: torch.Tensor = self.network.mouth.picture(torch.from_numpy(crops.astype(np.float32)))
        return features

    def embed_audio(self, samples: Float32, n_frames: int) -> Float32:
        """Embed the audio of each run of five frames.

        Args:
            samples: [n] at 16 kHz, mono; sample 0 is the instant of video frame 0.
            n_frames: video frames; audio that is missing at the end counts as silence.

        Returns:
            [n_frames - 4, d], unit vectors.
        """
        if samples.ndim != 1 or n_frames < 0:
            raise ValueError(f"audio is [n] at 16 kHz, not {list(samples.shape)}, and lasts 0 frames or more")
        n = n_frames * audio.MELS_PER_FRAME
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
    """Read the shipped weights, or others.

    Raises:
        VastError: `vast_asset_missing`, `vast_asset_corrupt`; for a given path `vast_input_missing`,
            `vast_record_version`, `vast_record_invalid`.
    """
    return FORMAT.load(assets.find("lagsync") if path is None else path, _build)


def _build(weights: Weights) -> LagSync:
    network = LagSyncNet(LagSyncConfig.from_header(weights.header["config"]))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.network_state().items()})
    return LagSync(network, f"lagsync@{weights.sha256[:8]}")


def save_lagsync(network: LagSyncNet, path: Path, *, notes: Mapping[str, Any] | None = None) -> None:
    """Write the weights in half precision with configuration and `notes` in the header, atomically."""
    tensors = {}
    for name, value in network.state_dict().items():
        array = value.detach().cpu().contiguous().numpy()
        tensors[name] = array.astype(np.float16) if array.dtype == np.float32 else array
    header = {**(notes or {}), "config": network.config.to_header()}
    FORMAT.save(path, tensors, header)

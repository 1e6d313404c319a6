"""SyncNet (Chung and Zisserman 2016): do lips and sound belong together, and how many frames apart? LSE-D and LSE-C.

Needs the published weights `syncnet_v2.model`; names are theirs. Every convention of the authors' scripts is part of
the number: BGR 0-255 without a mean taken off, windows of 5 frames against 20 cepstra, features that are not
normalised, sound padded with zero vectors at both ends, the median of 31 lags. The one departure: 50 frames are enough,
not 100 (GRID's clips have 75). Face boxes are the caller's: the authors' S3FD detector is not part of this.

Both scores take the best lag, so a video 5 frames late scores as well as one in step: read `offset` and `dist_lag0`
too. Zero padding gives short clips a confidence of their own: .25 at 70 windows, .08 at 245, for features that know
nothing.

The weights are not at hand here. Checked instead against syncnet-python 0.2.3 (the authors' code as a package), both
with the same random weights, on clips of 75 and 120 frames: lip features differ by 1e-6 of their size, sound features
not at all, distance and confidence by 1e-7, offsets are equal; cepstra are python_speech_features' bit for bit; 59 of
60 JPEGs are the ffmpeg program's bit for bit (its rate control, of another version, chose another quantiser once).
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vast_cli.core import files
from vast_cli.core.arrays import Float32, Image
from vast_cli.evaluate.external.mfcc import mfcc
from vast_cli.evaluate.external.syncnet_crops import SIDE, crop_faces, through_files
from vast_cli.evaluate.external.weights import load_published

WHAT = "`syncnet_v2.model`"
MIN_FRAMES = 50
WINDOW = 5  # frames
CEPSTRA = 20  # of the sound beside a window
PER_FRAME = 4  # cepstra
SAMPLES = 640  # a frame, at 16 kHz
MAX_LAG = 15  # frames
BATCH = 16  # windows at once


@dataclass(frozen=True)
class SyncScore:
    """How well sound and lips of one clip fit."""

    dist: float  # LSE-D: mean distance at the best lag
    conf: float  # LSE-C: median over lags minus that
    offset: int  # frames; +1: the video is one frame late
    dist_lag0: float  # mean distance as the clip is
    windows: int


class SyncNet:
    """Lips and sound as vectors of 1,024 numbers, close where they belong together.

    Attributes:
        sha256: of the weights' file: part of the result's name.
    """

    def __init__(self, network: "SyncNetwork", sha256: str) -> None:
        self.network = network
        self.sha256 = sha256

    def judge(
        self, frames: Iterable[Image], boxes: NDArray[np.float64], samples: NDArray[np.int16]
    ) -> SyncScore | None:
        """Score a clip from whole frames, as the authors' pipeline does.

        Args:
            frames: RGB uint8 [H, W, 3] at 25 fps.
            boxes: [N, 4], x0, y0, x1, y1 of the face in each frame.
            samples: int16 [n], 16 kHz, starts with the first frame.

        Returns:
            None below 50 frames (`too_short`).

        Raises:
            ValueError: boxes that fit no face.
            VastError: `vast_encode_failed`.
        """
        if min(len(boxes), len(samples) // SAMPLES) < MIN_FRAMES:
            return None
        return self.score(through_files(crop_faces(frames, boxes)), samples)

    def score(self, crops: Iterable[Image], samples: NDArray[np.int16]) -> SyncScore | None:
        """Score a clip from crops as `syncnet_crops` makes them; None below 50 frames (`too_short`)."""
        n_heard = len(samples) // SAMPLES
        if n_heard < MIN_FRAMES:
            return None
        lips = self.lips(itertools.islice(crops, n_heard))
        windows = min(len(lips) + WINDOW - 1, n_heard) - WINDOW  # the authors leave out the last one
        if windows + WINDOW < MIN_FRAMES:
            return None
        return score_features(lips[:windows], self.sounds(samples, windows))

    def lips(self, frames: Iterable[Image]) -> Float32:
        """Features of every window of 5 frames.

        Args:
            frames: N crops, BGR uint8 [224, 224, 3] at 25 fps; only some are in memory at a time.

        Returns:
            [N - 4, 1024].

        Raises:
            ValueError: crops of another size.
        """
        found = [np.zeros((0, self.network.n_features), np.float32)]
        with torch.inference_mode():
            for stretch in _stretches(frames):
                pictures = torch.from_numpy(stretch).to(self._device).permute(3, 0, 1, 2)[None].float()
                found.append(self.network.lip_features(pictures).cpu().numpy())
        return np.concatenate(found)

    def sounds(self, samples: NDArray[np.int16], windows: int) -> Float32:
        """Features of the sound beside the first `windows` windows: [windows, 1024]."""
        cepstra = mfcc(samples[: (windows + WINDOW + 1) * SAMPLES]).T.astype(np.float32)
        beside = np.lib.stride_tricks.sliding_window_view(cepstra, CEPSTRA, axis=1)[:, ::PER_FRAME].swapaxes(0, 1)
        found = np.empty((windows, self.network.n_features), np.float32)
        with torch.inference_mode():
            for start in range(0, windows, BATCH):
                batch = np.ascontiguousarray(beside[start : min(start + BATCH, windows)])
                heard = torch.from_numpy(batch).to(self._device)[:, None]
                found[start : start + BATCH] = self.network.sound_features(heard).cpu().numpy()
        return found

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_syncnet(path: Path) -> SyncNet:
    """Read the published weights, as PyTorch file or as safetensors.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    network = SyncNetwork()
    load_published(network, path, what=WHAT)
    return SyncNet(network, files.sha256(path))


def score_features(lips: Float32, sounds: Float32) -> SyncScore:
    """Distances of lips [n, 1024] to sounds [n, 1024] at lags of -15..15 frames, padded with zero vectors."""
    seen = torch.from_numpy(lips)
    heard = F.pad(torch.from_numpy(sounds), (0, 0, MAX_LAG, MAX_LAG))
    lags = range(2 * MAX_LAG + 1)
    distance = torch.stack([F.pairwise_distance(seen, heard[lag : lag + len(seen)]).mean() for lag in lags])
    best = int(distance.argmin())
    return SyncScore(
        dist=float(distance[best]),
        conf=float(distance.median() - distance[best]),
        offset=MAX_LAG - best,
        dist_lag0=float(distance[MAX_LAG]),
        windows=len(lips),
    )


def _stretches(frames: Iterable[Image]) -> Iterator[Image]:
    """Runs of frames [5..BATCH + 4, 224, 224, 3], each beginning with the last four of the one before."""
    held: list[Image] = []
    for frame in frames:
        if frame.shape != (SIDE, SIDE, 3) or frame.dtype != np.uint8:
            raise ValueError(f"crop of {frame.dtype} {frame.shape}, not uint8 [{SIDE}, {SIDE}, 3]")
        held.append(frame)
        if len(held) == BATCH + WINDOW - 1:
            yield np.stack(held)
            held = held[-(WINDOW - 1) :]
    if len(held) >= WINDOW:
        yield np.stack(held)


class SyncNetwork(nn.Module):
    """The two towers, with the names of the published file."""

    n_features = 1024

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_flat(64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3, padding=1),
            *_flat(384, 256, 3, padding=1),
            *_flat(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4)),
        )
        self.netfcaud = _head(self.n_features)
        self.netfclip = _head(self.n_features)
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3), padding=1),
            *_deep(256, 256, (1, 3, 3), padding=1),
            *_deep(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(256, 512, (1, 6, 6)),
        )

    def lip_features(self, pictures: Tensor) -> Tensor:
        """[1, 3, N, 224, 224] to [N - 4, 1024]: only the first layer looks along time, so windows share the pass."""
        seen: Tensor = self.netfclip(self.netcnnlip(pictures)[0, :, :, 0, 0].T)
        return seen

    def sound_features(self, cepstra: Tensor) -> Tensor:
        """[B, 1, 13, 20] to [B, 1024]."""
        heard: Tensor = self.netfcaud(self.netcnnaud(cepstra).flatten(1))
        return heard


def _flat(n_in: int, n_out: int, size: int | tuple[int, int], *, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, size, padding=padding), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


def _deep(n_in: int, n_out: int, size: tuple[int, int, int], *, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    convolution = nn.Conv3d(n_in, n_out, size, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(n_out), nn.ReLU(inplace=True)]


def _head(n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, n_out))

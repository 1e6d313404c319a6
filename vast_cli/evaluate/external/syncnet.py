"""SyncNet (Chung and Zisserman 2016): how well lips and audio fit, and at which lag: LSE-D and LSE-C.

Needs the published weights `syncnet_v2.model`; names are theirs. Every convention of the authors' scripts is part of
the number: BGR 0-255 without a mean taken off, windows of 5 frames against 20 cepstra, features that are not
normalised, audio padded with zero vectors at both ends, the median of 31 lags. The one departure: 50 frames are enough,
not 100 (GRID's clips have 75). Face boxes are the caller's: the authors' S3FD detector is not part of this.

Both scores take the best lag, so a video 5 frames late scores as well as one in step: read `offset` and `dist_lag0`
too. Zero padding gives short clips a confidence of their own: .25 at 70 windows, .08 at 245, for features that know
nothing.

The weights do not ship. Checked against syncnet-python 0.2.3 (the authors' code as a package), both
with the same random weights, on clips of 75 and 120 frames: lip features differ by 1e-6 of their size, audio features
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

from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32, Image
from vast_cli.evaluate.external.mfcc import mfcc
from vast_cli.evaluate.external.syncnet_crops import SIDE, crop_faces, through_files
from vast_cli.evaluate.external.weights import load_published

PUBLISHED = "`syncnet_v2.model`"
MIN_FRAMES = 50
WINDOW = 5  # frames
CEPSTRA = 20  # of the audio beside a window
PER_FRAME = 4  # cepstra
MAX_LAG = 15  # frames
BATCH = 16  # windows at once


@dataclass(frozen=True)
class SyncScore:
    """How well audio and lips of one clip fit."""

    dist: float  # LSE-D: mean distance at the best lag
    conf: float  # LSE-C: median over lags minus that
    offset: int  # frames; +1: the video is one frame late
    dist_lag0: float  # mean distance as the clip is
    windows: int


class SyncNet:
    """Embeds lips and audio as vectors of 1,024 numbers, close where they fit.

    Attributes:
        sha256: of the weights' file: part of the result's name.
    """

    def __init__(self, network: "SyncNetwork", sha256: str) -> None:
        self.network = network
        self.sha256 = sha256

    def score_video(
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
        if min(len(boxes), timebase.full_video_frames(len(samples))) < MIN_FRAMES:
            return None
        return self.score(through_files(crop_faces(frames, boxes)), samples)

    def score(self, crops: Iterable[Image], samples: NDArray[np.int16]) -> SyncScore | None:
        """Score a clip from crops as `syncnet_crops` makes them; None below 50 frames (`too_short`)."""
        n_audio = timebase.full_video_frames(len(samples))
        if n_audio < MIN_FRAMES:
            return None
        lips = self.embed_lips(itertools.islice(crops, n_audio))
        windows = min(len(lips) + WINDOW - 1, n_audio) - WINDOW  # the authors leave out the last one
        if windows + WINDOW < MIN_FRAMES:
            return None
        return score_features(lips[:windows], self.embed_audio(samples, windows))

    def embed_lips(self, frames: Iterable[Image]) -> Float32:
        """Features of every window of 5 frames.

        Args:
            frames: N crops, BGR uint8 [224, 224, 3] at 25 fps; only some are in memory at a time.

        Returns:
            [N - 4, 1024].

        Raises:
            ValueError: crops of another size.
        """
        features = [np.zeros((0, self.network.n_features), np.float32)]
        with torch.inference_mode():
            for stretch in _stretches(frames):
                images = torch.from_numpy(stretch).to(self._device).permute(3, 0, 1, 2)[None].float()
                features.append(self.network.lip_features(images).cpu().numpy())
        return np.concatenate(features)

    def embed_audio(self, samples: NDArray[np.int16], windows: int) -> Float32:
        """Features of the audio beside the first `windows` windows: [windows, 1024]."""
        cepstra = mfcc(samples[: timebase.sample_at(windows + WINDOW + 1)]).T.astype(np.float32)
        beside = np.lib.stride_tricks.sliding_window_view(cepstra, CEPSTRA, axis=1)[:, ::PER_FRAME].swapaxes(0, 1)
        features = np.empty((windows, self.network.n_features), np.float32)
        with torch.inference_mode():
            for start in range(0, windows, BATCH):
                batch = np.ascontiguousarray(beside[start : min(start + BATCH, windows)])
                windows_of_cepstra = torch.from_numpy(batch).to(self._device)[:, None]
                features[start : start + BATCH] = self.network.audio_features(windows_of_cepstra).cpu().numpy()
        return features

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def load_syncnet(path: Path) -> SyncNet:
    """Read the published weights, as PyTorch file or as safetensors.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_record_invalid`.
    """
    network = SyncNetwork()
    load_published(network, path, name=PUBLISHED)
    return SyncNet(network, files.sha256(path))


def score_features(lips: Float32, audio: Float32) -> SyncScore:
    """Distances of lips [n, 1024] to audio [n, 1024] at lags of -15..15 frames, padded with zero vectors."""
    lip_features = torch.from_numpy(lips)
    padded = F.pad(torch.from_numpy(audio), (0, 0, MAX_LAG, MAX_LAG))
    lags = range(2 * MAX_LAG + 1)
    distance = torch.stack([F.pairwise_distance(lip_features, padded[lag : lag + len(lips)]).mean() for lag in lags])
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
    buffer: list[Image] = []
    for frame in frames:
        if frame.shape != (SIDE, SIDE, 3) or frame.dtype != np.uint8:
            raise ValueError(f"crop of {frame.dtype} {frame.shape}, not uint8 [{SIDE}, {SIDE}, 3]")
        buffer.append(frame)
        if len(buffer) == BATCH + WINDOW - 1:
            yield np.stack(buffer)
            buffer = buffer[-(WINDOW - 1) :]
    if len(buffer) >= WINDOW:
        yield np.stack(buffer)


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

    def lip_features(self, images: Tensor) -> Tensor:
        """[1, 3, N, 224, 224] to [N - 4, 1024]: only the first layer convolves over time, so windows share the pass."""
        features: Tensor = self.netfclip(self.netcnnlip(images)[0, :, :, 0, 0].T)
        return features

    def audio_features(self, cepstra: Tensor) -> Tensor:
        """[B, 1, 13, 20] to [B, 1024]."""
        features: Tensor = self.netfcaud(self.netcnnaud(cepstra).flatten(1))
        return features


def _flat(n_in: int, n_out: int, size: int | tuple[int, int], *, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, size, padding=padding), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]


def _deep(n_in: int, n_out: int, size: tuple[int, int, int], *, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    convolution = nn.Conv3d(n_in, n_out, size, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(n_out), nn.ReLU(inplace=True)]


def _head(n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, n_out))

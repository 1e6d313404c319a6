"""Our CPBD against the published port on frames of real clips, and on what blur, noise and enlargement make of them.

    python benchmarks/sharpness.py --corpus ../shared/data/video [--clips 10] [--frames 1]

The port is the package `cpbd-py312` (extra `dev`). Frames are resized to 256x256. Prints, for each kind of image, the
means of both, the largest difference, milliseconds of processor time an image (least of three runs) and their ratio.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cpbd as port
import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Image
from vast_cli.evaluate.measures.cpbd import cpbd
from vast_cli.media import VideoReader
from vast_cli.training.corpora import read_index

SIDE = 256
STEP = 25  # frames
RUNS = 3


def noisy(grey: Image, sd: float) -> Image:
    """With white noise, the same for every image."""
    return np.clip(grey + np.random.default_rng(0).normal(0, sd, grey.shape), 0, 255).astype(np.uint8)


def blurred(grey: Image, sigma: float) -> Image:
    """With Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.uint8)


KINDS: dict[str, Callable[[Image], Image]] = {
    "frame": lambda x: x,
    "blur 1": lambda x: blurred(x, 1),
    "blur 2": lambda x: blurred(x, 2),
    "noise 2": lambda x: noisy(x, 2),
    "noise 5": lambda x: noisy(x, 5),
    "blur 2, noise 5": lambda x: noisy(blurred(x, 2), 5),
    "128 -> 256 nearest": lambda x: np.asarray(cv2.resize(x[::2, ::2], x.shape, interpolation=0), np.uint8),
}


def frames(corpus: Path, *, clips: int, per_clip: int) -> Iterator[Image]:
    """Grey frames of clips spread over the corpus."""
    paths = [clip.path for clip in read_index(corpus)]
    for path in paths[:: max(len(paths) // clips, 1)][:clips]:
        for frame in itertools.islice(VideoReader(path), 0, per_clip * STEP, STEP):
            interpolation = cv2.INTER_AREA if frame.shape[0] > SIDE else cv2.INTER_CUBIC
            resized = cv2.resize(frame, (SIDE, SIDE), interpolation=interpolation)
            yield np.asarray(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY), np.uint8)


def timed(measure: Callable[[Image], float | None], image: Image) -> tuple[float, float]:
    """Value (0 for none, as in the port) and least processor time in ms."""
    least = np.inf
    for _ in range(RUNS):
        start = time.process_time()
        value = measure(image)
        least = min(least, time.process_time() - start)
    return value or 0.0, 1000 * least


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--frames", type=int, default=1, help="of each clip")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    images = list(frames(options.corpus, clips=options.clips, per_clip=options.frames))
    print(f"{len(images)} frames of {options.clips} clips")
    print(f"{'':20}{'ours':>8}{'port':>8}{'largest diff':>14}{'ours ms':>9}{'port ms':>9}{'ratio':>7}")
    tables = []
    for name, change in KINDS.items():
        rows = np.array([[*timed(cpbd, image), *timed(port.compute, image)] for image in map(change, images)])
        tables.append(rows)
        print(_line(name, rows))
    print(_line("all", np.concatenate(tables)))


def _line(name: str, rows: NDArray[np.float64]) -> str:
    ours, ours_ms, theirs, theirs_ms = rows.mean(0)
    worst = np.abs(rows[:, 0] - rows[:, 2]).max()
    return f"{name:20}{ours:8.3f}{theirs:8.3f}{worst:14.1e}{ours_ms:9.1f}{theirs_ms:9.1f}{theirs_ms / ours_ms:7.1f}"


if __name__ == "__main__":
    main()

"""Time and memory of `vast evaluate` for 10 s of 512 px video with its truth; whole process, imports included.

    python benchmarks/evaluate.py [--video ../shared/data/video/avatar/german_anchor.mp4] [--runs 5]

The truth is the first 10 s of the video, the output the same at crf 30.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vast_cli.media.ffmpeg import find_ffmpeg, run


def main() -> None:
    """Cut, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=Path("../shared/data/video/avatar/german_anchor.mp4"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        truth, output = Path(folder) / "truth.mp4", Path(folder) / "output.mp4"
        cut(options.video, truth, options.seconds, crf=16)
        cut(truth, output, options.seconds, crf=30)
        seconds = []
        for _ in range(options.runs):
            started = time.monotonic()
            arguments = ["evaluate", str(output), "--reference", str(truth), "--json", "-q"]
            subprocess.run([sys.executable, "-m", "vast_cli", *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.monotonic() - started)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"wall {min(seconds):.1f} / {statistics.median(seconds):.1f} / {max(seconds):.1f} s (least, median, most)")
    print(f"CPU {usage.ru_utime / options.runs:.1f} s a run, cutting included; peak {usage.ru_maxrss / 1000:.0f} MB")


def cut(source: Path, target: Path, seconds: float, *, crf: int) -> None:
    """The first seconds of a video, encoded again."""
    encoder = ["-t", str(seconds), "-c:v", "libx264", "-crf", str(crf), "-c:a", "aac"]
    run([find_ffmpeg(), "-y", "-i", str(source), *encoder, str(target)], target=target, timeout_s=300)


if __name__ == "__main__":
    main()

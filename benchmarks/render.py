"""Speed and memory of `vast render` as users see them: whole processes, model loading included.

    python benchmarks/render.py            # 10 s of audio, cold, three times; then 1 and 10 minutes for memory
    python benchmarks/render.py --quick    # 10 s only

Figures are printed as JSON with the machine they were taken on.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vast_cli.core import devices
from vast_cli.media.ffmpeg import find_ffmpeg, run

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "examples" / "speech.flac"
PROMPT = ROOT / "examples" / "prompt.mp4"


def audio_of(seconds: float, folder: Path) -> Path:
    """The example speech, repeated to a length."""
    target = folder / f"{seconds:.0f}s.wav"
    arguments = [find_ffmpeg(), "-y", "-stream_loop", "-1", "-i", str(SPEECH), "-t", str(seconds), str(target)]
    run(arguments, target=target, timeout_s=60)
    return target


def render(audio: Path, folder: Path, *options: str) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one `vast render` process (its ffmpeg apart)."""
    output = folder / "out.mp4"
    inputs = ["--audio", audio, "--prompt", PROMPT, "-o", output]
    arguments = ["render", *inputs, "--overwrite", "--progress", "none", *options]
    # the child reports its own peak: RUSAGE_CHILDREN here would keep the largest of all runs
    script = (
        "import atexit, resource, sys\n"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
        "from vast_cli.cli.app import main\nmain()"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], check=True, capture_output=True, text=True, env=os.environ
    )
    return time.monotonic() - started, int(done.stderr.split()[-1]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, object] = {
        "machine": platform.machine(),
        "cores": devices.cores(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [render(audio_of(10, folder), folder) for _ in range(3)]
        figures["10 s: wall seconds"] = [round(wall, 1) for wall, _ in runs]
        figures["10 s: real-time factor"] = round(statistics.median(wall for wall, _ in runs) / 10, 2)
        if not arguments.quick:
            peaks = {}
            for minutes in (1, 10):
                wall, peaks[minutes] = render(audio_of(60 * minutes, folder), folder)
                figures[f"{minutes} min: wall seconds"] = round(wall, 1)
                figures[f"{minutes} min: peak MB"] = round(peaks[minutes])
            figures["peak of 10 min / 1 min"] = round(peaks[10] / peaks[1], 3)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""The overhead of a job on a warm worker of each executor: `python benchmarks/executors.py [JOBS]`.

One worker, one thread, jobs of one second whose prompt and audio are cached; the first job, which loads the models and
fills the cache, is left out. The time of the video is from the first expression to the whole file, with the start and
the end of the encoder. All else is overhead: cache lookups, checks, hashes, renames, the journal, messages.
"""

import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from vast_cli.batch.options import BatchOptions
from vast_cli.batch.run import run_batch
from vast_cli.batch.state.folder import open_batch
from vast_cli.media.ffmpeg import find_ffmpeg, run

ROOT = Path(__file__).resolve().parents[1]


def measure(executor: str, n: int, folder: Path) -> list[float]:
    """Overhead of each job except the first, in seconds."""
    audio = folder / "a.wav"
    speech = str(ROOT / "examples" / "speech.flac")
    cut = [find_ffmpeg(), "-loglevel", "error", "-y", "-i", speech, "-t", "1", str(audio)]
    run(cut, target=audio, timeout_s=60)
    rows = "".join(
        f"j{k:03d},a.wav,{ROOT / 'examples' / 'prompt.mp4'},mesh,ultrafast,out/j{k:03d}.mp4\n" for k in range(n)
    )
    manifest = folder / "jobs.csv"
    manifest.write_text("id,audio,prompt,detail,encoder_preset,output\n" + rows)
    ends: list[float] = []

    def record_end(event: str, _fields: object) -> None:
        if event == "job_done":
            ends.append(time.monotonic())

    options = BatchOptions(executor=executor, workers=1, threads=1, device="cpu", cache=folder / "cache", report=False)
    run_batch(open_batch(manifest), options, make_listeners=lambda _: [record_end])
    lines = [json.loads(line) for line in (folder / "jobs.vast" / "journal.jsonl").read_text().splitlines()]
    done = [line for line in lines if line["event"] == "job_done"]
    video_s = [line["stages"]["render"] - line["stages"]["style"] for line in done]
    return [after - before - video for before, after, video in zip(ends, ends[1:], video_s[1:], strict=False)]


def main() -> None:
    """Print a line for each executor."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(f"{platform.node()}, {platform.machine()}, {n} jobs")
    for executor in ("local", "ray"):
        folder = Path(tempfile.mkdtemp())
        try:
            costs = sorted(measure(executor, n, folder))
            print(
                f"{executor}: {statistics.median(costs):.3f} s overhead of a job "
                f"(quartiles: {costs[len(costs) // 4]:.3f} - {costs[3 * len(costs) // 4]:.3f} s)"
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

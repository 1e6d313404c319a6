"""What a job costs beside its video, on a warm worker of each executor: `python benchmarks/executors.py [JOBS]`.

One worker, one thread, jobs of one second whose prompt and sound are cached; the first job, which loads the models and
fills the cache, is left out. The video takes from the first expression to a whole file, with the encoder's start and
end; all else is overhead: looking up the cache, checking, hashing, naming, the journal, the way to the worker.
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
    """Seconds beside its video of each job but the first."""
    sound = folder / "a.wav"
    cut = [
        find_ffmpeg(),
        "-loglevel",
        "error",
        "-y",
        "-i",
        str(ROOT / "examples" / "speech.flac"),
        "-t",
        "1",
        str(sound),
    ]
    run(cut, target=sound, timeout_s=60)
    rows = "".join(
        f"j{k:03d},a.wav,{ROOT / 'examples' / 'prompt.mp4'},mesh,ultrafast,out/j{k:03d}.mp4\n" for k in range(n)
    )
    manifest = folder / "jobs.csv"
    manifest.write_text("id,audio,prompt,detail,encoder_preset,output\n" + rows)
    ends: list[float] = []

    def listen(event: str, _fields: object) -> None:
        if event == "job_done":
            ends.append(time.monotonic())

    options = BatchOptions(executor=executor, workers=1, threads=1, device="cpu", cache=folder / "cache", report=False)
    run_batch(open_batch(manifest), options, make_listeners=lambda _: [listen])
    lines = [json.loads(line) for line in (folder / "jobs.vast" / "journal.jsonl").read_text().splitlines()]
    done = [line for line in lines if line["event"] == "job_done"]
    painting = [line["stages"]["render"] - line["stages"]["style"] for line in done]
    return [after - before - paint for before, after, paint in zip(ends, ends[1:], painting[1:], strict=False)]


def main() -> None:
    """Print a line for each executor."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(f"{platform.node()}, {platform.machine()}, {n} jobs")
    for executor in ("local", "ray"):
        folder = Path(tempfile.mkdtemp())
        try:
            costs = sorted(measure(executor, n, folder))
            print(
                f"{executor}: {statistics.median(costs):.3f} s a job beside its video "
                f"(quarter to three quarters: {costs[len(costs) // 4]:.3f} - {costs[3 * len(costs) // 4]:.3f} s)"
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

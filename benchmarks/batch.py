"""Throughput of a batch with one and two workers, and the time that a job takes besides its frames.

    python benchmarks/batch.py [--jobs 8] [--rounds 3]

Real batches of `vast batch` on audio cut from the example, one prompt, full detail. Rounds alternate the settings, so
that changes in the load of the machine affect all of them. Throughput is frames over the time from the start of the
first job to the end of the last; loading libraries is not in it. The overhead of a job is the intercept of its seconds
over its frames, with tracks, styles and posteriorgrams in the cache and the worker warm.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from vast_cli.media.ffmpeg import find_ffmpeg

ROOT = Path(__file__).resolve().parents[1]
RATE = 16_000


def cut_audio(folder: Path, lengths: list[float]) -> list[Path]:
    """Audio clips of the given lengths in seconds, from different places of the example."""
    whole = folder / "speech.wav"
    source = ROOT / "examples" / "speech.flac"
    command = [find_ffmpeg(), "-y", "-loglevel", "error", "-i", str(source), "-ar", str(RATE), "-ac", "1", str(whole)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with wave.open(str(whole)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    paths = []
    for k, length in enumerate(lengths):
        part = np.roll(samples, -997 * k)
        part = np.tile(part, int(np.ceil(length * RATE / len(part))))[: round(length * RATE)]
        paths.append(folder / f"s{k:02d}.wav")
        with wave.open(str(paths[-1]), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(part.tobytes())
    return paths


def run_batch(folder: Path, *, workers: int, pinned: bool) -> dict[str, object]:
    """Run one batch with everything but the cache made again; returns its times and `job_done` events."""
    command = [sys.executable, "-m", "vast_cli", "batch", "jobs.jsonl", "-o", "out/{id}.mp4", "--force", "--no-report"]
    command += ["--workers", str(workers), "--threads", "1", "--events", "events.jsonl", "-q"]
    if pinned:
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VAST_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    (folder / "events.jsonl").unlink(missing_ok=True)
    started = time.monotonic()
    subprocess.run(
        command, cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    wall_s = time.monotonic() - started
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    starts = [np.datetime64(e["t"].rstrip("Z")) for e in lines if e["event"] == "job_started"]
    done = [e for e in lines if e["event"] == "job_done"]
    ends = [np.datetime64(e["t"].rstrip("Z")) for e in done]
    busy_s = float((max(ends) - min(starts)) / np.timedelta64(1, "s"))
    frames = sum(e["frames"] for e in done)
    return {"fps": frames / busy_s, "wall_s": wall_s, "busy_s": busy_s, "done": done}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = cut_audio(folder, [(1.0, 2.0, 4.0, 6.0)[k % 4] for k in range(arguments.jobs)])
        prompt = str(ROOT / "examples" / "prompt.mp4")
        rows = [json.dumps({"id": p.stem, "audio": p.name, "prompt": prompt, "allow_silence": True}) for p in clips]
        (folder / "jobs.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        run_batch(folder, workers=2, pinned=False)  # fills the cache
        settings = {
            "one worker, one core": {"workers": 1, "pinned": True},
            "one worker": {"workers": 1, "pinned": False},
            "two workers": {"workers": 2, "pinned": False},
        }
        runs: dict[str, list[dict[str, object]]] = {name: [] for name in settings}
        for _ in range(arguments.rounds):
            for name, setting in settings.items():
                runs[name].append(run_batch(folder, **setting))
        machine = f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
        print(f"{machine}; {arguments.jobs} jobs, {arguments.rounds} rounds")
        print("| setting | frames/s, best and all rounds | against one worker on one core | whole command, s |")
        print("| --- | --- | --- | --- |")
        base = max(float(one["fps"]) for one in runs["one worker, one core"])  # type: ignore[arg-type]
        for name, rounds in runs.items():
            fps = [float(one["fps"]) for one in rounds]  # type: ignore[arg-type]
            walls = ", ".join(f"{one['wall_s']:.1f}" for one in rounds)
            print(
                f"| {name} | {max(fps):.1f} ({', '.join(f'{x:.1f}' for x in fps)}) | {max(fps) / base:.2f} | {walls} |"
            )
        jobs = [job for one in runs["one worker"] for job in one["done"]]  # type: ignore[attr-defined]
        first = {id(one["done"][0]) for one in runs["one worker"]}  # type: ignore[index]
        warm = [job for job in jobs if id(job) not in first]
        slope, intercept = np.polyfit([job["frames"] for job in warm], [job["seconds"] for job in warm], 1)
        print(
            f"a job besides its frames, warm worker, cached stages: {intercept:.2f} s; a frame: {1000 * slope:.1f} ms"
        )


if __name__ == "__main__":
    main()

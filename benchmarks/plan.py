"""Time of `vast plan` for 10,000 jobs with an audio file each, in whole processes on one core.

    python benchmarks/plan.py
    python benchmarks/plan.py --jobs 500

`cold` hashes every audio file and reads its length. `warm` remembers them by size and time. `done` has a journal that
says that every job is finished. Figures are printed as JSON with the machine; `parts` are the CPU seconds of the steps
of one warm plan inside this process.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vast_cli.batch.planning import decisions
from vast_cli.batch.planning.estimate import estimate
from vast_cli.batch.planning.fingerprint import Fingerprinter
from vast_cli.batch.state import journal_lines
from vast_cli.batch.state.folder import open_batch
from vast_cli.batch.state.journal_replay import find_journals, replay_journals
from vast_cli.store.hashes import FileHashes

ROOT = Path(__file__).resolve().parents[1]
OLD_NS = 10_000_000_000  # hashes of files that changed within the last seconds are not remembered


def make(folder: Path, n: int) -> Path:
    """A manifest of `n` jobs, each with an audio file of its own and one prompt for all."""
    (folder / "voices").mkdir(parents=True)
    prompt = folder / "prompt.mp4"
    prompt.write_bytes((ROOT / "examples" / "prompt.mp4").read_bytes())
    rows = ["id,audio,prompt,avatar"]
    for k in range(n):
        path = folder / "voices" / f"{k}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(k.to_bytes(4, "little") * 8_000)
        rows.append(f"job-{k:05d},voices/{k}.wav,prompt.mp4,obama")
    old = time.time_ns() - OLD_NS
    for path in (prompt, *(folder / "voices").iterdir()):
        os.utime(path, ns=(old, old))
    manifest = folder / "jobs.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def template(manifest: Path) -> str:
    """The template of the output names."""
    return f"{manifest.parent / 'out'}/{{id}}.mp4"


def finish(manifest: Path, cache: Path) -> None:
    """Write all outputs and the journal of a run that finished them."""
    batch = open_batch(manifest, output=template(manifest))
    fingerprinter = Fingerprinter(FileHashes(cache))
    (manifest.parent / "out").mkdir()
    lines, seq = [], 0
    for job in batch.jobs:
        fingerprint = fingerprinter.fingerprint(job)
        job.output.write_bytes(job.id.encode())
        status = job.output.stat()
        done = {
            "fp": fingerprint.digest, "origin": fingerprint.as_dict(), "action": "run", "output": str(job.output),
            "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": "0" * 64, "seconds": 40.0,
            "frames": 100, "duration_s": 4.0, "gates": {"sync": 0.9}, "stages": {"listen": 0.1, "render": 39.0},
        }  # fmt: skip
        for event, fields in (("job_started", {"worker": 0}), ("job_done", done)):
            seq += 1
            head = {"v": 1, "seq": seq, "t": "2026-03-04T05:06:07.123Z", "run": "r8f3c2aa", "event": event}
            lines.append(journal_lines.encode_line(head | {"id": job.id, "attempt": 1, **fields}))
    batch.folder.mkdir()
    (batch.folder / "journal.jsonl").write_bytes(b"".join(lines))


def process(manifest: Path, cache: Path) -> dict[str, Any]:
    """Wall and CPU seconds of one `vast plan` process (they differ on a busy machine), and its summary line."""
    arguments = ["plan", manifest, "-o", template(manifest), "--cache", cache]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "vast_cli", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = [line for line in done.stdout.splitlines() if " jobs: " in line]
    return {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "says": summary[0]}


def parts(manifest: Path, cache: Path) -> dict[str, float]:
    """CPU seconds of each step of one warm plan inside this process."""
    figures: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        figures[name] = round(time.process_time() - started, 3)
        return result

    batch = timed("manifest", lambda: open_batch(manifest, output=template(manifest)))
    state = timed("journal", lambda: replay_journals(find_journals(batch.folder)))
    planned = timed("plan", lambda: decisions.plan_jobs(batch.jobs, state, FileHashes(cache)))
    timed("estimate", lambda: estimate(planned, state, workers=2, cache=cache))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # children inherit it
    figures: dict[str, object] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jobs": arguments.jobs,
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, cache = make(folder / "batch", arguments.jobs), folder / "cache"
        figures["cold"] = process(manifest, cache)
        figures["warm"] = process(manifest, cache)
        figures["warm, parts"] = parts(manifest, cache)
        finish(manifest, cache)
        figures["done"] = process(manifest, cache)
        figures["done, parts"] = parts(manifest, cache)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""Small real batches for tests: audio clips cut from the example, in a folder whose name breaks shells."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "a b/日本 é'$(x);"
RATE = 16_000
QUICK = {"detail": "mesh", "encoder_preset": "ultrafast", "allow_silence": "yes"}


class Workspace:
    """A folder with audio clips, manifests and outputs, in which the command `vast` runs.

    Args:
        folder: made if need be.
        speech: 16 kHz mono WAV that clips are cut from.
        cache: shared by the tests of a session, so that a prompt is tracked once.
    """

    def __init__(self, folder: Path, speech: Path, cache: Path) -> None:
        self.folder, self.speech, self.cache = folder, speech, cache
        folder.mkdir(parents=True, exist_ok=True)

    def copy_to(self, folder: Path) -> "Workspace":
        """Copy everything in it, times included, into another folder."""
        shutil.copytree(self.folder, folder)
        return Workspace(folder, self.speech, self.cache)

    def audio_clips(self, n: int, *, seconds: float = 1.0) -> list[Path]:
        """Write n different stretches of the example to `audio/s000.wav` and so on."""
        with wave.open(str(self.speech)) as source:
            samples = source.readframes(source.getnframes())
        length = round(seconds * RATE)
        last = len(samples) // 2 - length
        paths = []
        for k in range(n):
            start = last * k // max(n - 1, 1)
            path = self.folder / "audio" / f"s{k:03d}.wav"
            path.parent.mkdir(exist_ok=True)
            with wave.open(str(path), "wb") as target:
                target.setparams((1, 2, RATE, 0, "NONE", ""))
                target.writeframes(samples[2 * start : 2 * (start + length)])
            os.utime(path, (1_700_000_000 + k,) * 2)  # old enough for its hash to be remembered
            paths.append(path)
        return paths

    def repeat(self, path: Path, times: int) -> None:
        """Make an audio clip longer by repeating it."""
        with wave.open(str(path)) as source:
            parameters, samples = source.getparams(), source.readframes(source.getnframes())
        with wave.open(str(path), "wb") as target:
            target.setparams(parameters)
            target.writeframes(samples * times)
        os.utime(path, (1_700_000_000,) * 2)

    def write_manifest(self, rows: list[dict[str, Any]], name: str = "jobs.csv") -> Path:
        """Write a table of jobs."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        return path

    def write_quick_jobs(self, n: int, *, seconds: float = 1.0, **cells: Any) -> Path:
        """Write a table of n jobs that take a moment each."""
        clips = self.audio_clips(n, seconds=seconds)
        return self.write_manifest([{"id": p.stem, "audio": f"audio/{p.name}"} | QUICK | cells for p in clips])

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "vast_cli", *map(str, arguments)]

    def environment(self, **more: str) -> dict[str, str]:
        variables = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "VAST_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"}
        return os.environ | variables | more

    def vast(self, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment(**environment), capture_output=True,
            text=True, stdin=subprocess.DEVNULL, timeout=280,
        )  # fmt: skip

    def start(self, *arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.environment(**environment), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finished(self, folder: str = "out") -> dict[str, tuple[str, int]]:
        """Name -> hash and time of every finished video."""
        return {
            str(path.relative_to(self.folder / folder)): (sha256(path), path.stat().st_mtime_ns)
            for path in sorted((self.folder / folder).rglob("*.mp4"))
            if not path.name.startswith(".")
        }

    def hashes(self, folder: str = "out") -> dict[str, str]:
        """Name -> hash of every finished video."""
        return {name: sha for name, (sha, _) in self.finished(folder).items()}

    def temporary_files(self) -> list[Path]:
        """Temporary files that are left behind."""
        return [path for path in self.folder.rglob("*") if ".part" in path.name and path.is_file()]

    def journal(self, name: str = "jobs.vast/journal.jsonl") -> list[dict[str, Any]]:
        """Lines of a journal, without a torn one at its end."""
        text = (self.folder / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def journal_ids(self, event: str, name: str = "jobs.vast/journal.jsonl") -> list[str]:
        """Ids of the jobs in the journal lines of an event."""
        return [line["id"] for line in self.journal(name) if line["event"] == event]


def sha256(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def descendants_of(pid: int) -> list[int]:
    """Processes that a process started, directly or not (Linux)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    descendants, generation = [], [pid]
    while generation:
        generation = [child for child, parent in parents.items() if parent in generation]
        descendants += generation
    return descendants

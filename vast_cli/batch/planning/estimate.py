"""Estimates when a batch ends and how much disk it takes, from its finished jobs or else from this machine's speeds."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from vast_cli.batch.planning import speeds
from vast_cli.batch.planning.decisions import PlannedJob
from vast_cli.batch.planning.speeds import RenderSpeed, SpeedKey
from vast_cli.batch.state.journal_replay import BatchState
from vast_cli.core import devices
from vast_cli.core.text import human_size

NO_SPEED_HINT = "`vast bench` measures this machine; a running batch measures itself"
CRF_OCTAVE = 6.0  # steps of crf that halve an H.264 file
DISK_MARGIN = 1.1  # required disk over the size of the videos: staged files, segments


@dataclass(frozen=True)
class Estimate:
    """The expected time and disk of a plan.

    Attributes:
        seconds: wall time; None if the speed of the machine is unknown.
        bytes: of all videos to come; None likewise.
        finish: local time at which a run that starts now would end.
        audio_s: seconds of audio to render, where unknown lengths count as the mean of the others.
        source: where the speeds come from: `this batch`, `this machine`, `this machine, another avatar`.
        hint: what to do if there is no estimate.
        warnings: disks that are too small.
        jobs: expected seconds of each job that runs, by id, in a worker that is warm; empty if unknown.
    """

    seconds: float | None = None
    bytes: int | None = None
    finish: datetime | None = None
    audio_s: float | None = None
    source: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    jobs: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For JSON; without the single jobs."""
        return {
            "seconds": self.seconds,
            "bytes": self.bytes,
            "finish": None if self.finish is None else self.finish.isoformat(timespec="seconds"),
            "sound_s": self.audio_s,
            "source": self.source,
            "hint": self.hint,
            "warnings": list(self.warnings),
        }


def estimate(
    planned: Sequence[PlannedJob],
    state: BatchState,
    *,
    workers: int,
    cache: Path | None,
    device: str = "auto",
    cores: int | None = None,
    now: datetime | None = None,
) -> Estimate:
    """Time and disk of the jobs that are planned to run.

    Workers beyond the cores slow each other down in proportion; the longest job is a lower bound; new prompts are
    counted once each.

    Args:
        planned: of `plan_jobs`.
        state: replay of the journals; its finished jobs are the best measurement.
        workers: jobs at once.
        cache: folder with the machine's speeds.
        device: the option `--device`.
        cores: of this machine.
        now: when the run starts.
    """
    now = now or datetime.now(timezone.utc).astimezone()
    todo = [one for one in planned if one.action == "run" and one.fingerprint is not None]
    if not todo:
        return Estimate(0.0, 0, now, 0.0, "nothing to do")
    known = [one.audio_s for one in todo if one.audio_s is not None]
    if not known:
        return Estimate(hint="the lengths of the audio files are unknown")
    mean = sum(known) / len(known)
    lengths = [mean if one.audio_s is None else one.audio_s for one in todo]
    table_and_source = _speeds_of(todo, state, [] if cache is None else speeds.load_speeds(cache, device=device))
    if table_and_source is None:
        return Estimate(audio_s=sum(lengths), hint=NO_SPEED_HINT)
    table, source = table_and_source
    sizes = [_video_bytes(one, length, table) for one, length in zip(todo, lengths, strict=True)]
    workers = max(1, min(workers, len(todo)))
    job_seconds = [
        _job_seconds(table[_speed_key(one)], length, workers, cores or devices.cores())
        for one, length in zip(todo, lengths, strict=True)
    ]
    seconds = _wall_seconds(todo, job_seconds, table, workers)
    return Estimate(
        seconds=seconds,
        bytes=round(sum(sizes)),
        finish=now + timedelta(seconds=seconds),
        audio_s=sum(lengths),
        source=source,
        warnings=tuple(_disk_warnings(todo, sizes)),
        jobs={one.job.id: job_s for one, job_s in zip(todo, job_seconds, strict=True)},
    )


def _speed_key(one: PlannedJob) -> SpeedKey:
    assert one.fingerprint is not None
    return speeds.speed_key(one.fingerprint.avatar, one.fingerprint.options)


def _speeds_of(
    todo: Sequence[PlannedJob], state: BatchState, machine: Sequence[RenderSpeed]
) -> tuple[Mapping[SpeedKey, RenderSpeed], str] | None:
    """A speed for every avatar and detail of the jobs, and the weakest source used; None if one is unknown."""
    own = speeds.speeds_of_batch(state)
    table: dict[SpeedKey, RenderSpeed] = {}
    weakest = 0
    for key in {_speed_key(one) for one in todo}:
        exact = next((speed for speed in machine if speed.key == key), None)
        similar = next((speed for speed in machine if speed.detail == key[1]), None)
        for rank, speed in enumerate((own.get(key), exact, similar)):
            if speed is not None:
                table[key] = _with_start(speed, exact or similar) if rank == 0 else speed
                weakest = max(weakest, rank)
                break
        else:
            return None
    return table, ("this batch", "this machine", "this machine, another avatar")[weakest]


def _with_start(speed: RenderSpeed, machine: RenderSpeed | None) -> RenderSpeed:
    """The speed of a batch with the machine's start time, which no job measures; prompts are in the jobs' times."""
    return speed if machine is None else replace(speed, start_s=machine.start_s)


def _job_seconds(speed: RenderSpeed, audio_s: float, workers: int, cores: int) -> float:
    slowdown = max(1.0, workers / cores) / max(1.0, speed.workers / cores)
    return slowdown * (speed.job_s + speed.seconds_per_s * audio_s)


def _wall_seconds(
    todo: Sequence[PlannedJob], job_seconds: Sequence[float], table: Mapping[SpeedKey, RenderSpeed], workers: int
) -> float:
    prompts = {
        one.fingerprint.inputs["prompt"]: _speed_key(one)
        for one in todo
        if one.fingerprint and "prompt" in one.fingerprint.inputs
    }
    total = sum(job_seconds) + sum(table[key].prompt_s for key in prompts.values())
    return max(speed.start_s for speed in table.values()) + max(total / workers, max(job_seconds))


def _video_bytes(one: PlannedJob, audio_s: float, table: Mapping[SpeedKey, RenderSpeed]) -> float:
    assert one.fingerprint is not None
    speed = table[_speed_key(one)]
    crf = float(one.fingerprint.options.get("crf", speed.crf))
    return float(audio_s * speed.bytes_per_s * 2 ** ((speed.crf - crf) / CRF_OCTAVE))


def _disk_warnings(todo: Sequence[PlannedJob], sizes: Sequence[float]) -> list[str]:
    """Warnings for file systems that cannot hold the videos."""
    required: dict[int, float] = {}
    folders: dict[Path, tuple[int, Path]] = {}
    examples: dict[int, Path] = {}  # a folder of each device
    for one, size in zip(todo, sizes, strict=True):
        folder = one.job.output.parent
        if folder not in folders:
            existing = next((path for path in (folder, *folder.parents) if path.is_dir()), Path(folder.anchor))
            folders[folder] = existing.stat().st_dev, existing
        device, existing = folders[folder]
        required[device] = required.get(device, 0.0) + size
        examples.setdefault(device, existing)
    warnings = []
    for device, size in required.items():
        free = shutil.disk_usage(examples[device]).free
        if DISK_MARGIN * size > free:
            warnings.append(
                f"the videos take about {human_size(size)}, `{examples[device]}` has {human_size(free)} left"
            )
    return warnings

"""When a batch will be done and how much disk it takes: from its own finished jobs, else from this machine's memory."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from vast_cli.batch.planning import speeds
from vast_cli.batch.planning.decisions import Planned
from vast_cli.batch.planning.speeds import Key, Speed
from vast_cli.batch.state.replay import State
from vast_cli.core import devices
from vast_cli.core.text import human_size

HINT = "`vast bench` measures this machine; a batch under way knows by itself"
CRF_OCTAVE = 6.0  # steps of crf that halve an H.264 file
SPARE = 1.1  # disk wanted over what the videos take: staged files, segments


@dataclass(frozen=True)
class Estimate:
    """What is expected of a plan.

    Attributes:
        seconds: wall time; None if the machine is unknown.
        bytes: of all videos to come; None likewise.
        finish: local time at which it would end if it began now.
        sound_s: seconds of sound to render, those of unknown length taken as the mean of the others.
        source: where it comes from: `this batch`, `this machine`, `this machine, another avatar`.
        hint: what to do if there is no estimate.
        warnings: disks that are too small.
        jobs: expected seconds of each job that runs, by id, in a worker that is warm; empty if they cannot be told.
    """

    seconds: float | None = None
    bytes: int | None = None
    finish: datetime | None = None
    sound_s: float | None = None
    source: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    jobs: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For JSON; without the single jobs."""
        row = {name: value for name, value in asdict(self).items() if name != "jobs"}
        row |= {"finish": None if self.finish is None else self.finish.isoformat(timespec="seconds")}
        return row | {"warnings": list(self.warnings)}


def estimate(
    planned: Sequence[Planned],
    state: State,
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
        planned: of `make_plan`.
        state: replay of the journals, whose finished jobs are the best teachers.
        workers: jobs at once.
        cache: folder with the machine's speeds.
        device: the option `--device`.
        cores: of this machine.
        now: when it begins.
    """
    now = now or datetime.now(timezone.utc).astimezone()
    todo = [one for one in planned if one.action == "run" and one.origin is not None]
    if not todo:
        return Estimate(0.0, 0, now, 0.0, "nothing to do")
    known = [one.sound_s for one in todo if one.sound_s is not None]
    if not known:
        return Estimate(hint="no sound says how long it is")
    mean = sum(known) / len(known)
    lengths = [mean if one.sound_s is None else one.sound_s for one in todo]
    found = _find(todo, state, [] if cache is None else speeds.load(cache, device=device))
    if found is None:
        return Estimate(sound_s=sum(lengths), hint=HINT)
    table, source = found
    sizes = [_bytes(one, length, table) for one, length in zip(todo, lengths, strict=True)]
    workers = max(1, min(workers, len(todo)))
    each = [
        _job_seconds(table[_key(one)], s, workers, cores or devices.cores())
        for one, s in zip(todo, lengths, strict=True)
    ]
    seconds = _wall_seconds(todo, each, table, workers)
    return Estimate(
        seconds=seconds,
        bytes=round(sum(sizes)),
        finish=now + timedelta(seconds=seconds),
        sound_s=sum(lengths),
        source=source,
        warnings=tuple(_disks(todo, sizes)),
        jobs={one.job.id: wall for one, wall in zip(todo, each, strict=True)},
    )


def _key(one: Planned) -> Key:
    assert one.origin is not None
    return speeds.key_of(one.origin.avatar, one.origin.options)


def _find(todo: Sequence[Planned], state: State, machine: Sequence[Speed]) -> tuple[Mapping[Key, Speed], str] | None:
    """A speed for every avatar and detail of the jobs, and the weakest source that was needed."""
    own = speeds.learn(state)
    table: dict[Key, Speed] = {}
    weakest = 0
    for key in {_key(one) for one in todo}:
        exact = next((speed for speed in machine if speed.key == key), None)
        alike = next((speed for speed in machine if speed.detail == key[1]), None)
        for rank, speed in enumerate((own.get(key), exact, alike)):
            if speed is not None:
                table[key] = _with_start(speed, exact or alike) if rank == 0 else speed
                weakest = max(weakest, rank)
                break
        else:
            return None
    return table, ("this batch", "this machine", "this machine, another avatar")[weakest]


def _with_start(speed: Speed, machine: Speed | None) -> Speed:
    """A batch does not know what the start of a worker takes; what prompts took is in its jobs' times."""
    if machine is None:
        return speed
    return Speed(**{**asdict(speed), "start_s": machine.start_s})


def _job_seconds(speed: Speed, sound_s: float, workers: int, cores: int) -> float:
    crowd = max(1.0, workers / cores) / max(1.0, speed.workers / cores)
    return crowd * (speed.job_s + speed.seconds_per_s * sound_s)


def _wall_seconds(todo: Sequence[Planned], each: Sequence[float], table: Mapping[Key, Speed], workers: int) -> float:
    prompts = {one.origin.inputs["prompt"]: _key(one) for one in todo if one.origin and "prompt" in one.origin.inputs}
    total = sum(each) + sum(table[key].prompt_s for key in prompts.values())
    return max(speed.start_s for speed in table.values()) + max(total / workers, max(each))


def _bytes(one: Planned, length: float, table: Mapping[Key, Speed]) -> float:
    assert one.origin is not None
    speed = table[_key(one)]
    crf = float(one.origin.options.get("crf", speed.crf))
    return float(length * speed.bytes_per_s * 2 ** ((speed.crf - crf) / CRF_OCTAVE))


def _disks(todo: Sequence[Planned], sizes: Sequence[float]) -> list[str]:
    """Warnings for file systems that cannot hold what comes."""
    wanted: dict[int, float] = {}
    folders: dict[Path, tuple[int, Path]] = {}
    places: dict[int, Path] = {}
    for one, size in zip(todo, sizes, strict=True):
        folder = one.job.output.parent
        if folder not in folders:
            there = next((path for path in (folder, *folder.parents) if path.is_dir()), Path(folder.anchor))
            folders[folder] = there.stat().st_dev, there
        device, there = folders[folder]
        wanted[device] = wanted.get(device, 0.0) + size
        places.setdefault(device, there)
    warnings = []
    for device, size in wanted.items():
        free = shutil.disk_usage(places[device]).free
        if SPARE * size > free:
            warnings.append(f"the videos take about {human_size(size)}, `{places[device]}` has {human_size(free)} left")
    return warnings

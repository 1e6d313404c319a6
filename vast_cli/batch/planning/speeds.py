"""How fast this machine makes videos: kept in the cache folder by `vast bench` and by every batch that ends."""

import json
import logging
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vast_cli import __version__
from vast_cli.batch.state.replay import DoneRecord, State
from vast_cli.core import devices, files
from vast_cli.core.errors import VastError

NAME = "speed.json"
FORMAT, VERSION = "vast.speed", 1
MAX_ENTRIES = 200
MIN_JOBS = 3  # a batch teaches from so many on
SPREAD = 1.5  # longest sound over shortest, from which on the fixed cost of a job can be told from its rate
START_S = 6.0  # of a worker, where nothing was measured: libraries and networks on a common disk
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")
DEFAULT_CRF, DEFAULT_DETAIL = 18, "full"

Key = tuple[str, str]  # avatar, detail
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What speed depends on, as far as can be known without loading anything."""

    cpu: str
    cores: int
    vast: str = __version__


@dataclass(frozen=True)
class Speed:
    """How fast one worker makes videos with an avatar.

    Attributes:
        avatar: first 16 digits of its hash.
        detail: of the picture, `full` or `mesh`.
        seconds_per_s: wall seconds a second of sound.
        job_s: wall seconds a job takes besides.
        bytes_per_s: of the video, a second of sound, at `crf`.
        crf: of the encoder.
        workers: that ran side by side when it was measured.
        jobs: it was measured on.
        start_s: wall seconds of a worker's start.
        prompt_s: wall seconds for a prompt that is not in the cache.
        device: where the networks ran, see `device_name`.
        source: `batch` or `bench`.
        measured: when, UTC.
        stages: frames a second of each stage alone, if measured.
    """

    avatar: str
    detail: str
    seconds_per_s: float
    job_s: float
    bytes_per_s: float
    crf: int = DEFAULT_CRF
    workers: int = 1
    jobs: int = 1
    start_s: float = START_S
    prompt_s: float = 0.0
    device: str = "cpu"
    source: str = "bench"
    measured: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.seconds_per_s, self.job_s, self.bytes_per_s, self.start_s, self.prompt_s)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("a speed that is none")

    @property
    def key(self) -> Key:
        """What it is the speed of."""
        return self.avatar, self.detail


def this_machine() -> Machine:
    """The machine this runs on."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return Machine(cpu, devices.cores())


def device_name(option: str) -> str:
    """The kind of device that the option `--device` means, told without loading torch: `cpu`, `cuda`."""
    if option == "auto":
        return "cuda" if any(Path(name).exists() for name in DRIVERS) else "cpu"
    return option.split(":")[0]


# --- the machine's file ---------------------------------------------------------------------------------------------


def load(cache: Path, *, device: str = "auto", machine: Machine | None = None) -> list[Speed]:
    """Speeds of this machine and device with this version, the newest first; none if the file is lacking or damaged."""
    name, kind = asdict(machine or this_machine()), device_name(device)
    return [speed for found, speed in _read(cache) if found == name and speed.device == kind]


def save(cache: Path, speeds: Iterable[Speed], *, machine: Machine | None = None) -> None:
    """Remember speeds of this machine. A cache that cannot be written costs the estimate, nothing else.

    What a batch cannot tell (start, prompts, stages) is kept from an earlier `vast bench`.
    """
    name = asdict(machine or this_machine())
    rows = _read(cache)
    for speed in speeds:
        old = next((row for row in rows if row[0] == name and _same(row[1], speed)), None)
        if old is not None:
            rows.remove(old)
            if speed.source == "batch":
                known = old[1]
                speed = replace(speed, start_s=known.start_s, prompt_s=known.prompt_s, stages=known.stages)
        rows.insert(0, (name, replace(speed, measured=speed.measured or _today())))
    document = {
        "format": FORMAT,
        "format_version": VERSION,
        "entries": [{"machine": machine_, **asdict(speed)} for machine_, speed in rows[:MAX_ENTRIES]],
    }
    try:
        with files.atomic_write(cache / NAME) as part:
            part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except VastError as error:
        log.info("the machine's speed is not remembered: %s", error.message)


def _same(one: Speed, other: Speed) -> bool:
    return (one.key, one.device) == (other.key, other.device)


def _read(cache: Path) -> list[tuple[dict[str, Any], Speed]]:
    names = {entry.name for entry in fields(Speed)}
    try:
        document = json.loads((cache / NAME).read_bytes())
        if (document["format"], document["format_version"]) != (FORMAT, VERSION):
            return []
        return [
            (row["machine"], Speed(**{name: value for name, value in row.items() if name in names}))
            for row in document["entries"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("`%s` is not used: %s", cache / NAME, error)
        return []


def _today() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# --- what finished jobs teach ---------------------------------------------------------------------------------------


def key_of(avatar: str, options: Mapping[str, Any]) -> Key:
    """The key of a job's speed: hash of its avatar, and how much of the picture is drawn."""
    return avatar[:16], str(options.get("detail", DEFAULT_DETAIL))


def learn(state: State, *, run: str | None = None, device: str = "auto") -> dict[Key, Speed]:
    """Speeds from the finished jobs of a batch.

    Args:
        state: replay of its journals.
        run: only jobs of this run.
        device: they were made on.
    """
    groups: dict[Key, list[DoneRecord]] = {}
    for record in state.results():
        timed = record.action == "run" and record.seconds and record.duration_s
        if timed and (run is None or record.run == run):
            groups.setdefault(key_of(record.origin.avatar, record.origin.options), []).append(record)
    slots = {one.id: one.started.get("slots") for one in state.runs}
    return {key: _speed(key, records, slots, device) for key, records in groups.items()}


def _speed(key: Key, records: Sequence[DoneRecord], slots: Mapping[str, Any], device: str) -> Speed:
    lengths = [float(record.duration_s or 0) for record in records]
    seconds = [float(record.seconds or 0) for record in records]
    job_s, rate = fit(lengths, seconds)
    crfs = sorted(int(record.origin.options.get("crf", DEFAULT_CRF)) for record in records)
    counts = sorted(n for record in records if isinstance(n := slots.get(record.run), int) and n > 0)
    return Speed(
        avatar=key[0],
        detail=key[1],
        seconds_per_s=rate,
        job_s=job_s,
        bytes_per_s=sum(record.size for record in records) / sum(lengths),
        crf=crfs[len(crfs) // 2],
        workers=counts[len(counts) // 2] if counts else 1,
        jobs=len(records),
        device=device_name(device),
        source="batch",
    )


def fit(lengths: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Fixed seconds a job and seconds a second of sound, neither below 0: least squares where lengths differ enough."""
    n = len(lengths)
    ratio = sum(seconds) / sum(lengths)
    if max(lengths) < SPREAD * min(lengths):
        return 0.0, ratio
    mean_l, mean_s = sum(lengths) / n, sum(seconds) / n
    spread = sum((length - mean_l) ** 2 for length in lengths)
    rate = sum((length - mean_l) * (wall - mean_s) for length, wall in zip(lengths, seconds, strict=True)) / spread
    fixed = mean_s - rate * mean_l
    if rate <= 0:
        return mean_s, 0.0
    return (fixed, rate) if fixed >= 0 else (0.0, ratio)


def remember(cache: Path, state: State, *, run: str, device: str = "auto") -> None:
    """Keep what a run taught about this machine; call it when a batch has ended.

    Args:
        cache: folder of the cache.
        state: replay of the journals, this run in it.
        run: its id.
        device: the option `--device`.
    """
    learnt = [speed for speed in learn(state, run=run, device=device).values() if speed.jobs >= MIN_JOBS]
    if learnt:
        save(cache, learnt)

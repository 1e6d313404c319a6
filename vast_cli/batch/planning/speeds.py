"""How fast this machine renders: measured by `vast bench` and by every finished batch, and kept in the cache folder."""

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
from vast_cli.batch.planning.capacity import has_nvidia_driver
from vast_cli.batch.state.journal_replay import BatchState, DoneRecord
from vast_cli.core import devices, files
from vast_cli.core.errors import VastError

FILE_NAME = "speed.json"
FORMAT, VERSION = "vast.speed", 1
MAX_ENTRIES = 200
MIN_JOBS = 3  # that a batch must have finished before its speed is kept
MIN_SPREAD = 1.5  # longest over shortest audio from which a job's fixed cost can be separated from its rate
DEFAULT_START_S = 6.0  # of a worker, where nothing was measured: libraries and networks on a common disk
DEFAULT_CRF, DEFAULT_DETAIL = 18, "full"

SpeedKey = tuple[str, str]  # avatar, detail
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What speed depends on, as far as it can be known without loading anything."""

    cpu: str
    cores: int
    vast: str = __version__


@dataclass(frozen=True)
class RenderSpeed:
    """How fast one worker renders videos of an avatar.

    Attributes:
        avatar: first 16 digits of its hash.
        detail: of the frames, `full` or `mesh`.
        seconds_per_s: wall seconds per second of audio.
        job_s: further wall seconds per job.
        bytes_per_s: of the video, per second of audio, at `crf`.
        crf: of the encoder.
        workers: that ran side by side when it was measured.
        jobs: number of jobs it was measured on.
        start_s: wall seconds of a worker's start.
        prompt_s: wall seconds for a prompt that is not in the cache.
        device: where the networks ran, see `device_name`.
        source: `batch` or `bench`.
        measured: when, UTC.
        stages: frames per second of each stage alone, if measured.
    """

    avatar: str
    detail: str
    seconds_per_s: float
    job_s: float
    bytes_per_s: float
    crf: int = DEFAULT_CRF
    workers: int = 1
    jobs: int = 1
    start_s: float = DEFAULT_START_S
    prompt_s: float = 0.0
    device: str = "cpu"
    source: str = "bench"
    measured: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.seconds_per_s, self.job_s, self.bytes_per_s, self.start_s, self.prompt_s)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("a speed must be finite and not negative")

    @property
    def key(self) -> SpeedKey:
        """Avatar and detail it is the speed of."""
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
    """The kind of device that the option `--device` means, without loading torch: `cpu`, `cuda`."""
    if option == "auto":
        return "cuda" if has_nvidia_driver() else "cpu"
    return option.split(":")[0]


# --- the machine's file ---------------------------------------------------------------------------------------------


def load_speeds(cache: Path, *, device: str = "auto", machine: Machine | None = None) -> list[RenderSpeed]:
    """Speeds of this machine and device with this version, newest first; none if the file is missing or damaged."""
    own, kind = asdict(machine or this_machine()), device_name(device)
    return [speed for entry, speed in _read(cache) if entry == own and speed.device == kind]


def save_speeds(cache: Path, speeds: Iterable[RenderSpeed], *, machine: Machine | None = None) -> None:
    """Keep speeds of this machine. If the cache cannot be written, later plans lack an estimate, nothing else.

    What a batch cannot measure (start, prompts, stages) is kept from an earlier `vast bench`.
    """
    own = asdict(machine or this_machine())
    rows = _read(cache)
    for speed in speeds:
        old = next((row for row in rows if row[0] == own and _same_kind(row[1], speed)), None)
        if old is not None:
            rows.remove(old)
            if speed.source == "batch":
                earlier = old[1]
                speed = replace(speed, start_s=earlier.start_s, prompt_s=earlier.prompt_s, stages=earlier.stages)
        rows.insert(0, (own, replace(speed, measured=speed.measured or _now())))
    document = {
        "format": FORMAT,
        "format_version": VERSION,
        "entries": [{"machine": entry, **asdict(speed)} for entry, speed in rows[:MAX_ENTRIES]],
    }
    try:
        with files.atomic_write(cache / FILE_NAME) as part:
            part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except VastError as error:
        log.info("the machine's speed is not kept: %s", error.message)


def _same_kind(first: RenderSpeed, second: RenderSpeed) -> bool:
    return (first.key, first.device) == (second.key, second.device)


def _read(cache: Path) -> list[tuple[dict[str, Any], RenderSpeed]]:
    """Machines and speeds in the cache's file."""
    names = {entry.name for entry in fields(RenderSpeed)}
    try:
        document = json.loads((cache / FILE_NAME).read_bytes())
        if (document["format"], document["format_version"]) != (FORMAT, VERSION):
            return []
        return [
            (row["machine"], RenderSpeed(**{name: value for name, value in row.items() if name in names}))
            for row in document["entries"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("`%s` is not used: %s", cache / FILE_NAME, error)
        return []


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# --- speeds of finished jobs ----------------------------------------------------------------------------------------


def speed_key(avatar: str, options: Mapping[str, Any]) -> SpeedKey:
    """What a job's speed depends on: the hash of its avatar, and the detail of its frames."""
    return avatar[:16], str(options.get("detail", DEFAULT_DETAIL))


def speeds_of_batch(state: BatchState, *, run: str | None = None, device: str = "auto") -> dict[SpeedKey, RenderSpeed]:
    """Speeds measured on the finished jobs of a batch.

    Args:
        state: replay of its journals.
        run: only jobs of this run.
        device: they were rendered on.
    """
    groups: dict[SpeedKey, list[DoneRecord]] = {}
    for record in state.results():
        timed = record.action == "run" and record.seconds and record.duration_s
        if timed and (run is None or record.run == run):
            key = speed_key(record.fingerprint.avatar, record.fingerprint.options)
            groups.setdefault(key, []).append(record)
    workers = {one.id: one.started.get("slots") for one in state.runs}  # the journal's key for their number
    return {key: _measure(key, records, workers, device) for key, records in groups.items()}


def _measure(key: SpeedKey, records: Sequence[DoneRecord], workers: Mapping[str, Any], device: str) -> RenderSpeed:
    """The speed of some results. `workers`: number of workers of each run."""
    lengths = [float(record.duration_s or 0) for record in records]
    seconds = [float(record.seconds or 0) for record in records]
    job_s, rate = fit_job_time(lengths, seconds)
    crfs = sorted(int(record.fingerprint.options.get("crf", DEFAULT_CRF)) for record in records)
    counts = sorted(n for record in records if isinstance(n := workers.get(record.run), int) and n > 0)
    return RenderSpeed(
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


def fit_job_time(lengths: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Fixed seconds per job and seconds per second of audio, neither below 0.

    Least squares where the lengths differ enough; otherwise all time is in the rate.
    """
    n = len(lengths)
    ratio = sum(seconds) / sum(lengths)
    if max(lengths) < MIN_SPREAD * min(lengths):
        return 0.0, ratio
    mean_length, mean_seconds = sum(lengths) / n, sum(seconds) / n
    variance = sum((length - mean_length) ** 2 for length in lengths)
    covariance = sum(
        (length - mean_length) * (wall - mean_seconds) for length, wall in zip(lengths, seconds, strict=True)
    )
    rate = covariance / variance
    fixed = mean_seconds - rate * mean_length
    if rate <= 0:
        return mean_seconds, 0.0
    return (fixed, rate) if fixed >= 0 else (0.0, ratio)


def save_run_speeds(cache: Path, state: BatchState, *, run: str, device: str = "auto") -> None:
    """Keep the speeds that a finished run measured on this machine.

    Args:
        cache: folder of the cache.
        state: replay of the journals, including this run.
        run: its id.
        device: the option `--device`.
    """
    speeds = speeds_of_batch(state, run=run, device=device).values()
    reliable = [speed for speed in speeds if speed.jobs >= MIN_JOBS]
    if reliable:
        save_speeds(cache, reliable)

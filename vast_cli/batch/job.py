"""Jobs of a manifest, tasks for workers, and the messages that workers send back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from vast_cli.core.errors import VastError
from vast_cli.store.hashes import FileState


@dataclass(frozen=True)
class Job:
    """One render of a batch, with every default filled in. Paths are absolute.

    Attributes:
        id: unique in the manifest, `[A-Za-z0-9._-]`, at most 128 characters.
        index: 1 for the manifest's first job.
        where: its place in the manifest, for messages: `row 12`, `line 3`, `jobs[2]`, `matrix`.
        audio: audio to speak.
        avatar: name of an avatar, or the path of a bundle.
        output: final name of the video.
        prompt: video whose speaking style is imitated.
        style: file of a style instead of a prompt.
        preset: name of the preset its options come from.
        options: every field of `manifest.Options`.
        extra: the manifest's `x_...` cells, for templates, events and reports.
    """

    id: str
    index: int
    where: str
    audio: Path
    avatar: str
    output: Path
    prompt: Path | None = None
    style: Path | None = None
    preset: str = "standard"
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Path]:
        """Input files by role."""
        roles = {"audio": self.audio, "prompt": self.prompt, "style": self.style}
        return {role: path for role, path in roles.items() if path is not None}


@dataclass(frozen=True)
class WorkerSettings:
    """What all jobs of a worker share."""

    cache: Path
    scratch: Path  # TMPDIR of the worker, emptied when the run ends
    logs: Path  # folder of `worker-N.log`, where the output of libraries goes
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1


@dataclass(frozen=True)
class Task:
    """One attempt at a job, as it is sent to a worker."""

    job: Job
    attempt: int  # counts from 1
    seed: int  # the job's, or another one after a missed gate
    fingerprint: str
    staging: Path  # the file that the worker writes; the coordinator renames it
    parts: Path  # folder of finished segments
    tag: str  # part of the name of every temporary file of this attempt; begins with the run's name
    log: Path  # where the job's log is continued
    batch_size: int = 8  # frames through the network at once; halved when memory runs out
    files: Mapping[str, FileState] = field(default_factory=dict)  # path -> state when it was planned

    @property
    def key(self) -> tuple[str, int]:
        """Identifies the attempt in messages: a late message of an attempt that was given up is dropped."""
        return self.job.id, self.attempt


@dataclass(frozen=True)
class Outcome:
    """A finished attempt: the staged file is whole, checked and measured, but not renamed yet."""

    size: int
    sha256: str
    n_frames: int
    duration_s: float
    seconds: float
    limited_share: float
    stages: Mapping[str, float]  # wall seconds until each stage was done
    warnings: tuple[str, ...]
    gates: Mapping[str, float | None]  # measured values
    missed: tuple[str, ...]  # a message for each limit of `--gate` that it misses
    figures: Mapping[str, Any] | None  # the clip's share of the evaluation document
    sidecar: Mapping[str, Any] | None  # document to write beside the video, if requested


# --- messages of a worker to the coordinator -----------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """A worker has started and can take a task."""

    worker: int
    pid: int


@dataclass(frozen=True)
class Alive:
    """Sent every few seconds by a thread of its own; a worker without it is frozen."""

    worker: int


@dataclass(frozen=True)
class Progress:
    """An attempt has done some work."""

    worker: int
    key: tuple[str, int]
    stage: str
    done: int
    total: int | None


@dataclass(frozen=True)
class Done:
    """The attempt succeeded, or missed a gate (`outcome.missed`)."""

    worker: int
    key: tuple[str, int]
    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """The attempt failed."""

    worker: int
    key: tuple[str, int]
    error: VastError


@dataclass(frozen=True)
class Died:
    """The worker is gone; sent by the executor, not by the worker."""

    worker: int
    reason: str


Message: TypeAlias = Ready | Alive | Progress | Done | Failed | Died

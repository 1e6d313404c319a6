"""A render's request and result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vast_cli.pipeline.options import MachineOptions, RenderOptions, parse


@dataclass(frozen=True)
class RenderRequest:
    """One render: its inputs, its output, and how it is made.

    Attributes:
        fingerprint: written into the video, so that a batch recognises its own work.
        options: what shapes the video.
        machine: how it is computed.
        batch_size: frames through the network at once; halved when memory runs out.
    """

    audio: Path
    avatar: str
    output: Path
    prompt: Path | None = None
    style: Path | None = None
    overwrite: bool = False
    fingerprint: str | None = None
    options: RenderOptions = field(default_factory=lambda: RenderOptions())
    machine: MachineOptions = field(default_factory=lambda: MachineOptions())
    batch_size: int = 8

    @classmethod
    def of(cls, audio: Path, avatar: str, output: Path, *, values: Mapping[str, Any], **fields: Any) -> "RenderRequest":
        """A request from the values of options by name.

        Args:
            audio, avatar, output: as the attributes.
            values: of `RenderOptions` and `MachineOptions`; the others have their defaults.
            fields: further attributes.

        Raises:
            VastError: `vast_option_invalid`.
        """
        machine = {name: value for name, value in values.items() if name in MachineOptions.model_fields}
        options = {name: value for name, value in values.items() if name not in machine}
        return cls(
            audio,
            avatar,
            output,
            options=parse(RenderOptions, options),
            machine=parse(MachineOptions, machine),
            **fields,
        )

    @property
    def inputs(self) -> dict[str, Path]:
        """Files that go in, by role."""
        files = {"audio": self.audio, "prompt": self.prompt, "style": self.style}
        return {role: path for role, path in files.items() if path is not None}


@dataclass(frozen=True)
class RenderResult:
    """What a render made."""

    output: Path
    n_frames: int
    duration_s: float
    seconds: float
    limited_share: float
    stages: dict[str, float]  # wall seconds until each stage was done
    warnings: list[str] = field(default_factory=list)
    taken_up: int = 0  # segments that an interrupted render had finished
    sidecar: dict[str, Any] | None = None  # what the video was made from, if requested

    def document(self) -> dict[str, Any]:
        """The result as JSON."""
        rows = {key: value for key, value in asdict(self).items() if key != "sidecar"}
        return rows | {"output": str(self.output), "real_time_factor": self.seconds / self.duration_s}

"""What a job's bytes depend on, and the one number that stands for it: the fingerprint.

Paths, order, output name, device, threads, workers, gates and the program's version are left out: a moved folder, a
sorted manifest or an upgrade that changes no format reruns nothing.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from vast_cli.batch.job import Job
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.store import assets, bundles

FORMAT = 1  # counts up when the same inputs, options and models come to give other bytes
# options that change pixels or sound
OPTIONS = (
    "style_strength", "max_exaggeration", "crf", "encoder_preset", "codec", "detail", "face", "seed", "segment",
)  # fmt: skip
OF_MANNER = ("style_strength",)  # without prompt and style they change nothing
OF_PROMPT = ("face",)
# entries of weights/index.json; lagsync only measures
MODELS = ("acoustic", "face_model", "index_sets", "style", "topology")
TRACKER = ("face_detection_short_range", "face_mesh_backbone", "face_mesh_heads")  # only a prompt is tracked


class Hashes(Protocol):
    """What files hold, remembered by path, size and time (`vast_cli.store.hashes.Hashes`); both raise `VastError`."""

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's bytes, hexadecimal."""
        ...

    def audio_s(self, path: Path, *, measure: Callable[[Path], float | None]) -> float | None:
        """Seconds of audio, as `measure` finds them the first time."""
        ...


@dataclass(frozen=True)
class Origin:
    """All that decides the bytes of a result.

    Attributes:
        inputs: role -> SHA-256 of the file.
        options: name -> value.
        models: name -> first 16 digits of its SHA-256, as records carry it.
        avatar: SHA-256 of the bundle's weights, or of the `.avatar` file.
        format: `FORMAT` of the program that made it.
    """

    inputs: Mapping[str, str]
    options: Mapping[str, Any]
    models: Mapping[str, str]
    avatar: str
    format: int = FORMAT

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, old: "Origin") -> str | None:
        """Why a result of `old` is no longer right, in the words of `vast plan`; None if it is."""
        if self.format != old.format:
            return "format_changed"
        for reason, now, before in (
            ("input_changed", self.inputs, old.inputs),
            ("option_changed", self.options, old.options),
        ):
            if changed := _changed(now, before):
                return f"{reason}:{changed}"
        if self.avatar != old.avatar:
            return "avatar_changed"
        changed = _changed(self.models, old.models)
        return f"model_changed:{changed}" if changed else None

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "inputs": dict(self.inputs), "options": dict(self.options), "models": dict(self.models),
            "avatar": self.avatar, "format": self.format,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Origin":
        """From the journal.

        Raises:
            KeyError: parts are missing.
        """
        return cls(**{name: row[name] for name in ("inputs", "options", "models", "avatar", "format")})


def _changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> str | None:
    """The first name, in order of the alphabet, whose value is another one, new or gone."""
    absent = object()
    return next((n for n in sorted({*now, *before}) if now.get(n, absent) != before.get(n, absent)), None)


class Origins:
    """Origins of many jobs: each avatar and each file is looked up once, however many jobs use it."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._digests: dict[Path, str] = {}
        self._avatars: dict[str, str] = {}

    def of(self, job: Job) -> Origin:
        """What the bytes of `job` depend on.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_avatar_unknown`, `vast_record_invalid`,
                `vast_asset_missing`.
        """
        if job.avatar not in self._avatars:
            self._avatars[job.avatar] = avatar_hash(bundles.find(job.avatar), self._hashes)
        for path in job.inputs.values():
            if path not in self._digests:
                self._digests[path] = self._hashes.digest(path)
        return Origin(
            inputs={role: self._digests[path] for role, path in job.inputs.items()},
            options=_options(job),
            models=_models(job.prompt is not None, assets.data_folder("weights")),
            avatar=self._avatars[job.avatar],
        )


def origin(job: Job, hashes: Hashes) -> Origin:
    """What the bytes of one job depend on; raises as `Origins.of`."""
    return Origins(hashes).of(job)


def _options(job: Job) -> dict[str, Any]:
    idle: set[str] = set()
    if job.prompt is None:
        idle.update(OF_PROMPT)
        if job.style is None:
            idle.update(OF_MANNER)
    chosen = {name: plain(job.options.get(name)) for name in OPTIONS if name not in idle}
    return {name: value for name, value in chosen.items() if value is not None}  # so that an option can be added


def plain(value: Any) -> Any:
    """A value whose JSON does not depend on how it was written: `1.0` in YAML is `1` in CSV."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path) else value


@functools.cache
def _models(tracked: bool, _folder: Path) -> Mapping[str, str]:
    names = (*MODELS, *TRACKER) if tracked else MODELS
    known = assets.index()
    if missing := [name for name in names if name not in known]:
        raise VastError("vast_asset_missing", f"no asset `{missing[0]}` in `weights/index.json`")
    return {name: assets.model_hash(name) for name in names}


def avatar_hash(bundle: Path, hashes: Hashes) -> str:
    """Hash of a bundle: the one its card names, which loading it verifies, or of the `.avatar` file.

    Raises:
        VastError: `vast_record_invalid`, `vast_input_missing`, `vast_input_unreadable`.
    """
    if bundle.is_file():
        return hashes.digest(bundle)
    card = bundle / bundles.CARD
    try:
        status = card.stat()
        return _card_hash(card, status.st_size, status.st_mtime_ns)
    except OSError as error:
        files.check_input(card)
        raise VastError("vast_input_unreadable", f"`{card}` cannot be read: {error.strerror or error}") from error


@functools.cache
def _card_hash(card: Path, _size: int, _mtime_ns: int) -> str:
    try:
        sha256 = json.loads(card.read_bytes())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise VastError("vast_record_invalid", f"`{card}` is no card of an avatar") from error
    if not isinstance(sha256, str):
        raise VastError("vast_record_invalid", f"`{card}` names no SHA-256")
    return sha256

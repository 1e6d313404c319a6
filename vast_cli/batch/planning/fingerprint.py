"""Fingerprints of jobs: one hash of everything that decides the bytes of a result.

Paths, order, output name, device, threads, workers, gates and the program's version are left out: a moved folder, a
sorted manifest or an upgrade that changes no format reruns nothing.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from vast_cli.batch.job import Job
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.pipeline.options import shaping
from vast_cli.store import assets, bundles
from vast_cli.store.hashes import FileHashes

FORMAT = 1  # counts up when the same inputs, options and models give other bytes
# entries of weights/index.json that a video depends on; lagsync only measures
MODELS = ("acoustic", "face_model", "index_sets", "style", "topology")
TRACKING_MODELS = ("face_detection_short_range", "face_mesh_backbone", "face_mesh_heads")  # only prompts are tracked


@dataclass(frozen=True)
class Fingerprint:
    """The parts of a job's fingerprint: everything that decides the bytes of its result.

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
    def digest(self) -> str:
        """The fingerprint itself: SHA-256 of the canonical JSON of its parts."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, old: "Fingerprint") -> str | None:
        """Why a result with the fingerprint `old` is outdated, as a reason of `vast plan`; None if it is not."""
        if self.format != old.format:
            return "format_changed"
        for reason, new_parts, old_parts in (
            ("input_changed", self.inputs, old.inputs),
            ("option_changed", self.options, old.options),
        ):
            if changed := _first_change(new_parts, old_parts):
                return f"{reason}:{changed}"
        if self.avatar != old.avatar:
            return "avatar_changed"
        changed = _first_change(self.models, old.models)
        return f"model_changed:{changed}" if changed else None

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "inputs": dict(self.inputs),
            "options": dict(self.options),
            "models": dict(self.models),
            "avatar": self.avatar,
            "format": self.format,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Fingerprint":
        """From the journal.

        Raises:
            KeyError: parts are missing.
        """
        return cls(**{name: row[name] for name in ("inputs", "options", "models", "avatar", "format")})


def _first_change(new: Mapping[str, Any], old: Mapping[str, Any]) -> str | None:
    """The first name in alphabetical order whose value changed, appeared or disappeared."""
    missing = object()
    return next((name for name in sorted({*new, *old}) if new.get(name, missing) != old.get(name, missing)), None)


class Fingerprinter:
    """Takes fingerprints of many jobs; looks up each avatar and each file once, however many jobs use it."""

    def __init__(self, hashes: FileHashes) -> None:
        self._hashes = hashes
        self._digests: dict[Path, str] = {}
        self._avatars: dict[str, str] = {}

    def fingerprint(self, job: Job) -> Fingerprint:
        """The fingerprint of a job.

        Raises:
            VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_avatar_unknown`, `vast_record_invalid`,
                `vast_asset_missing`.
        """
        if job.avatar not in self._avatars:
            self._avatars[job.avatar] = avatar_hash(bundles.find(job.avatar), self._hashes)
        for path in job.inputs.values():
            if path not in self._digests:
                self._digests[path] = self._hashes.digest(path)
        return Fingerprint(
            inputs={role: self._digests[path] for role, path in job.inputs.items()},
            options=_options(job),
            models=_models(job.prompt is not None, assets.data_folder("weights")),
            avatar=self._avatars[job.avatar],
        )


def _options(job: Job) -> dict[str, Any]:
    names = shaping(prompt=job.prompt is not None, style=job.style is not None)
    values = {name: _canonical(job.options.get(name)) for name in names}
    return {name: value for name, value in values.items() if value is not None}  # so that options can be added


def _canonical(value: Any) -> Any:
    """A value whose JSON does not depend on how it was written: `1.0` in YAML is `1` in CSV."""
    if isinstance(value, Enum):
        return _canonical(value.value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path) else value


@functools.cache
def _models(tracked: bool, _folder: Path) -> Mapping[str, str]:
    names = (*MODELS, *TRACKING_MODELS) if tracked else MODELS
    index = assets.index()
    if missing := [name for name in names if name not in index]:
        raise VastError("vast_asset_missing", f"no asset `{missing[0]}` in `weights/index.json`")
    return {name: assets.model_hash(name) for name in names}


def avatar_hash(bundle: Path, hashes: FileHashes) -> str:
    """Hash of an avatar: the one its card names (loading the bundle verifies it), or that of the `.avatar` file.

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
        raise VastError("vast_record_invalid", f"`{card}` is not the card of an avatar") from error
    if not isinstance(sha256, str):
        raise VastError("vast_record_invalid", f"`{card}` names no SHA-256")
    return sha256

"""Presets: named sets of render options in YAML files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.store import assets, folders


def available() -> dict[str, Path]:
    """Preset files by name; the user's hide shipped ones of the same name."""
    paths: dict[str, Path] = {}
    for folder in (assets.data_folder("presets"), folders.presets_folder()):
        if folder.is_dir():
            paths |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return paths


def load(name: str, allowed: Sequence[str]) -> dict[str, Any]:
    """Options of preset `name`.

    Raises:
        VastError: `vast_preset_unknown` with the closest name, `vast_option_invalid` for keys that are no options.
    """
    presets = available()
    if name not in presets:
        hint = suggest(name, presets)
        raise VastError("vast_preset_unknown", f"no preset `{name}`", hint=hint)
    try:
        values = yaml.safe_load(presets[name].read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise VastError("vast_option_invalid", f"preset `{presets[name]}` cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise VastError("vast_option_invalid", f"preset `{presets[name]}` is not a mapping of options")
    values.pop("description", None)
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    for key in values:
        if key not in allowed:
            hint = suggest(key, allowed)
            raise VastError("vast_option_invalid", f"preset `{name}` has an unknown option `{key}`", hint=hint)
    return values

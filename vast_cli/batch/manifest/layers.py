"""Layers of values: what a manifest says, and which layer wins where several set a value."""

from dataclasses import dataclass
from pathlib import Path

from vast_cli.batch.manifest import output_template
from vast_cli.batch.manifest.cells import Values
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import BUILT_IN, PRESET_OPTIONS, as_text, check_options
from vast_cli.core.errors import ERROR_KINDS, VastError
from vast_cli.pipeline.options import MachineOptions
from vast_cli.store import presets

AVATAR, PRESET = "obama", "standard"  # as `vast render`


@dataclass(frozen=True)
class ManifestEntry:
    """A job as it is written, with its cells parsed into values."""

    where: str
    order: int
    values: Values


@dataclass(frozen=True)
class ManifestSource:
    """What jobs are made from; kept so that they can be made again with changes.

    Attributes:
        entries: of the manifest, in its order.
        layers: place and values, from weak to strong: environment, defaults, command line.
        overrides: `--set`.
        noun: what a key of the manifest is called.
    """

    entries: list[ManifestEntry]
    layers: list[tuple[str, Values]]
    overrides: Values
    noun: str


def merge_layers(*layers: Values) -> Values:
    """Layers merged from weak to strong. A prompt replaces a weaker style, and a style a weaker prompt."""
    merged: Values = {}
    for layer in layers:
        if "prompt" in layer:
            merged.pop("style", None)
        if "style" in layer:
            merged.pop("prompt", None)
        merged.update(layer)
    return merged


class BaseValues:
    """The values of jobs that set nothing themselves, for each preset."""

    def __init__(self, source: ManifestSource, folder: Path, faults: Faults, warnings: list[str]) -> None:
        self._source, self._faults, self._warnings = source, faults, warnings
        default_output = output_template.parse_template(output_template.DEFAULT, folder)
        self._built_in = dict(BUILT_IN) | {"avatar": AVATAR, "output": default_output}
        self._values: dict[str, Values] = {}
        self._errors: dict[str, VastError] = {}
        self.preset, self._where = PRESET, ""
        for where, layer in source.layers:
            if "preset" in layer:
                self.preset, self._where = layer["preset"], where

    def of_preset(self, own: str | None, where: str, order: int) -> Values:
        """Values under the preset `own`, or under that of all jobs.

        Raises:
            VastError: the preset that the command line or the environment names is not usable.
        """
        name = own or self.preset
        if name not in self._values:
            self._load(name)
        error = self._errors.get(name)
        if error is not None:
            place = where if own else self._where
            if not place:
                raise error
            hint = f"; {error.hint}" if error.hint != ERROR_KINDS[error.code].hint else ""
            self._faults.add(place, f"{error.message}{hint}", key="preset", order=order)
        return self._values[name]

    def _load(self, name: str) -> None:
        try:
            self._values[name] = self._merged(name)
        except VastError as error:  # the other values of its jobs are checked all the same
            self._errors[name] = error
            layers = [layer for _, layer in self._source.layers]
            self._values[name] = merge_layers(self._built_in, *layers, {"preset": name})

    def _merged(self, name: str) -> Values:
        values = presets.load(name, PRESET_OPTIONS)
        for key in MachineOptions.model_fields:
            if values.pop(key, None) is not None:
                self._warnings.append(f"preset `{name}`: `{key}` is taken from the command line only")

        def raise_fault(key: str, text: str) -> None:
            raise VastError("vast_option_invalid", f"preset `{name}`, {key}: {text}")

        texts = {key: text for key, value in values.items() if (text := as_text(value)) is not None}
        environment, *others = [layer for _, layer in self._source.layers]
        return merge_layers(self._built_in, environment, check_options(texts, raise_fault), *others) | {"preset": name}

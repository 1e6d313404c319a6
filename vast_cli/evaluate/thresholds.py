"""Limits of `vast evaluate --fail-under`: values that a set must reach."""

from collections.abc import Mapping
from typing import Any

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest
from vast_cli.evaluate.measures import registry

TARGETS = {"nearer_0": 0.0, "nearer_1": 1.0}  # a limit on these is the distance allowed


def check_limits(limits: Mapping[str, float]) -> None:
    """Refuse limits on names that are no measure.

    Raises:
        VastError: `vast_option_invalid`.
    """
    for name in limits:
        if name not in registry.SPECS:
            hint = suggest(name, registry.SPECS)
            raise VastError("vast_option_invalid", f"`{name}` is no measure", hint=hint)


def missed_limits(document: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """A message for each limit that the set does not reach; a measure without a value never passes."""
    missed = []
    for name, limit in limits.items():
        entry = document["measures"][name]
        value, target = entry["value"], TARGETS.get(entry["better"])
        if value is None:
            missed.append(f"{name} is not measured: {entry['reason']}")
        elif entry["better"] == "lower" and value > limit:
            missed.append(f"{name} is {value:.4g}, above {limit:g}")
        elif target is not None and abs(value - target) > limit:
            missed.append(f"{name} is {value:.4g}, more than {limit:g} from {target:g}")
        elif entry["better"] != "lower" and target is None and value < limit:
            missed.append(f"{name} is {value:.4g}, below {limit:g}")
    return missed

"""All measures. A new one is a file in `measures/` and its name here; documents, tables and pages then list it.

A module has `SPECS` and `read(clip)` for measures of clips, `SET_SPECS`, `collect(clip)` and `pool(collected)` for
measures that exist for sets only.
"""

from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

from vast_cli.evaluate.measures import distribution, diversity, external, image, integrity, landmarks, person, sync
from vast_cli.evaluate.measures.spec import Reading, Spec
from vast_cli.evaluate.observation.clip import Observation

MODULES: tuple[ModuleType, ...] = (image, distribution, landmarks, sync, diversity, person, external, integrity)

CLIP_SPECS: dict[str, Spec] = {spec.name: spec for module in MODULES for spec in module.SPECS}
SET_SPECS: dict[str, Spec] = {
    spec.name: spec for module in MODULES if hasattr(module, "SET_SPECS") for spec in module.SET_SPECS
}
SPECS: dict[str, Spec] = {
    spec.name: spec for module in MODULES for spec in (*module.SPECS, *getattr(module, "SET_SPECS", ()))
}


def read(clip: Observation, only: Collection[str] | None = None) -> dict[str, Reading]:
    """All measures of a clip, or those in `only`."""
    modules = [m for m in MODULES if only is None or any(spec.name in only for spec in m.SPECS)]
    readings = {name: reading for module in modules for name, reading in module.read(clip).items()}
    return {name: reading for name, reading in readings.items() if only is None or name in only}


def collect(clip: Observation) -> dict[str, Any]:
    """What measures of sets need of a clip."""
    return {
        key: value for module in MODULES if hasattr(module, "collect") for key, value in module.collect(clip).items()
    }


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """All measures of the set."""
    return {
        name: reading
        for module in MODULES
        if hasattr(module, "pool")
        for name, reading in module.pool(collected).items()
    }


def markdown_page() -> str:
    """All measures as a table: `python -m vast_cli.evaluate.measures.registry > docs/measures.md`."""
    text = "# Measures of `vast evaluate`\n\nWritten by `python -m vast_cli.evaluate.measures.registry`.\n\n"
    text += "| name | what | unit | better | best and worst beside it | must ascend | needs |\n"
    text += "| --- | --- | --- | --- | --- | --- | --- |\n"
    for spec in SPECS.values():
        ends = ", ".join(end for end in (spec.ceiling, spec.floor) if end)
        chains = "; ".join(" < ".join(chain) for chain in spec.order) or ("a plain count" if spec.counts else "")
        cells = (f"`{spec.name}`", spec.about, spec.unit, spec.better.replace("_", " "), ends, chains, spec.needs)
        text += "| " + " | ".join(cells) + " |\n"
    return text


if __name__ == "__main__":
    print(markdown_page(), end="")

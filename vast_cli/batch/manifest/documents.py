"""Reads manifests with structure, YAML or JSON: `version`, `defaults`, `jobs`, and combinations."""

from pathlib import Path

from vast_cli.batch.manifest.combinations import add_combinations, plain_text
from vast_cli.batch.manifest.faults import Faults
from vast_cli.batch.manifest.options import KEYS
from vast_cli.batch.manifest.tables import RawManifest, RawRow, list_tables, read_json, with_known_keys
from vast_cli.batch.manifest.yaml_text import read_yaml
from vast_cli.core.text import suggest

VERSION = 1
SECTIONS = ("version", "defaults", "jobs", "matrix", "zip", "exclude")


def read_document(text: str, folder: Path, faults: Faults, *, is_json: bool) -> RawManifest:
    """A manifest in YAML or JSON. Globs start at `folder`."""
    raw = RawManifest()
    try:
        document = read_json(text) if is_json else read_yaml(text)
    except ValueError as error:
        faults.add("", str(error))
        return raw
    if not isinstance(document, dict):
        faults.add("", "the file must be a table with `jobs`, `matrix` or `zip`")
        return raw
    for name in document.keys() - set(SECTIONS):
        faults.add("", f"is unknown; {suggest(name, SECTIONS)}", key=f"`{name[:60]}`")
    if plain_text(document.get("version", VERSION)) != str(VERSION):
        faults.add("", f"is not {VERSION}, the only version", key="version")
    defaults = document.get("defaults")
    if isinstance(defaults, dict):
        keys = tuple(key for key in KEYS if key != "id")
        raw.defaults = RawRow("defaults", 0, with_known_keys(defaults, "defaults", 0, faults, keys))
    elif defaults is not None:
        faults.add("defaults", "must be a table")
    for table, where, order in list_tables("jobs", document.get("jobs"), faults):
        if not raw.add(RawRow(where, order, with_known_keys(table, where, order, faults)), faults):
            break
    add_combinations(document, folder, raw, faults)
    return raw

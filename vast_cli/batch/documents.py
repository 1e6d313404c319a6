"""Manifests with structure, YAML or JSON: `defaults`, `jobs`, and combinations by `matrix`, `zip` and `exclude`."""

import fnmatch
import glob
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from vast_cli.batch.faults import Faults
from vast_cli.batch.options import FILES, KEYS, as_text
from vast_cli.batch.tables import MAX_JOBS, Row, Sheet, keyed, known_section, read_json

VERSION = 1
SECTIONS = ("version", "defaults", "jobs", "matrix", "zip", "exclude")
MAX_DEPTH = 12
MAX_NODES = 5_000_000
NULLS = ("", "~", "null", "Null", "NULL")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Table(dict[str, Any]):
    """A YAML table that knows its line."""

    line: int = 0


def read_yaml(text: str) -> Any:
    """One YAML document; plain values stay the text they are (`001`, `no`, `1:30`), nothing is constructed.

    Aliases share what they name, so a bomb of them costs nothing.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        return _compose(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"no valid YAML: {error.problem or error.context}{place}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"no valid YAML: {error}") from error


def _compose(events: Iterable[Any]) -> Any:
    """Tables, lists and text from events, without recursion."""
    open_ones: list[tuple[Any, str | None]] = [([], None)]  # containers that are being filled, with their anchors
    keys: list[str | None] = [None]  # the key that waits for its value, one a container
    anchors: dict[str, Any] = {}
    n_documents = 0
    for n_nodes, event in enumerate(events):
        line = event.start_mark.line + 1
        if n_nodes > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.DocumentStartEvent):
            n_documents += 1
            if n_documents > 1:
                raise ValueError(f"a second document begins (line {line})")
            continue
        if isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)):
            continue
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if len(open_ones) > MAX_DEPTH:
                raise ValueError(f"nested too deeply (line {line})")
            container: Any = [] if isinstance(event, yaml.SequenceStartEvent) else Table()
            if isinstance(container, Table):
                container.line = line
            _check_tag(event, line)
            open_ones.append((container, event.anchor))
            keys.append(None)
            continue
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            value, anchor = open_ones.pop()
            keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor = None
            if event.anchor not in anchors:
                raise ValueError(f"`*{event.anchor}` names nothing that came before (line {line})")
            value = anchors[event.anchor]
        else:
            _check_tag(event, line)
            value, anchor = event.value, event.anchor
            if event.implicit[0] and value in NULLS:
                value = None
        if anchor is not None:
            anchors[anchor] = value
        _put(open_ones[-1][0], keys, value, line)
    return next(iter(open_ones[0][0]), None)


def _put(container: Any, keys: list[str | None], value: Any, line: int) -> None:
    if isinstance(container, list):
        container.append(value)
    elif keys[-1] is None:
        if not isinstance(value, str):
            raise ValueError(f"a key is no text (line {line})")
        if value == "<<":
            raise ValueError(f"`<<` is not read; `defaults` hold for all jobs (line {line})")
        if value in container:
            raise ValueError(f"key `{value[:60]}` is given twice (line {line})")
        keys[-1] = value
    else:
        container[keys[-1]] = value
        keys[-1] = None


def _check_tag(event: Any, line: int) -> None:
    if event.tag is not None and event.tag != "!" and not event.tag.startswith("tag:yaml.org,2002:"):
        raise ValueError(f"the tag `{event.tag}` is not read (line {line})")
    if event.tag is not None and event.tag.startswith("tag:yaml.org,2002:python"):
        raise ValueError(f"the tag `{event.tag}` is not read (line {line})")


def read_document(text: str, folder: Path, faults: Faults, *, is_json: bool) -> Sheet:
    """A manifest in YAML or JSON. `folder` is where globs start."""
    sheet = Sheet()
    try:
        document = read_json(text) if is_json else read_yaml(text)
    except ValueError as error:
        faults.add("", str(error))
        return sheet
    if not isinstance(document, dict):
        faults.add("", "the file must be a table with `jobs`, `matrix` or `zip`")
        return sheet
    for name in document:
        wrong = known_section(name, SECTIONS)
        if wrong:
            faults.add("", wrong, key=f"`{name[:60]}`")
    if as_text_or_none(document.get("version", VERSION)) != str(VERSION):
        faults.add("", f"is not {VERSION}, the only one there is", key="version")
    defaults = _tables("defaults", [document.get("defaults")], faults, where=lambda _: "defaults")
    if defaults:
        table, where, order = defaults[0]
        sheet.defaults = Row(where, order, keyed(table, where, order, faults, tuple(k for k in KEYS if k != "id")))
    for table, where, order in _tables("jobs", document.get("jobs"), faults):
        if not sheet.add(Row(where, order, keyed(table, where, order, faults)), faults):
            break
    _combine(document, folder, sheet, faults)
    return sheet


def as_text_or_none(value: Any) -> str | list[str] | None:
    """`as_text`, None for what is none."""
    try:
        return as_text(value)
    except ValueError:
        return None


def _tables(name: str, value: Any, faults: Faults, where: Any = None) -> list[tuple[dict[str, Any], str, int]]:
    """The tables of a list, with where each is and its order."""
    if value is None:
        return []
    if not isinstance(value, list):
        faults.add(name, "must be a list of tables")
        return []
    found = []
    for k, table in enumerate(value):
        label = where(k) if where else f"{name}[{k}]"
        if table is None and where:
            continue
        if not isinstance(table, dict):
            faults.add(label, "must be a table", order=k)
            continue
        line = getattr(table, "line", 0)
        found.append((table, f"{label} (line {line})" if line else label, line or k))
    return found


def _combine(document: dict[str, Any], folder: Path, sheet: Sheet, faults: Faults) -> None:
    """Rows of `matrix` and `zip`, less what `exclude` names."""
    order = 1 << 40  # after all jobs
    rules = [
        (where, keyed(table, where, line, faults))
        for table, where, line in _tables("exclude", document.get("exclude"), faults)
    ]
    used: set[str] = set()
    for name in ("matrix", "zip"):
        if document.get(name) is None:
            continue
        if not isinstance(document[name], dict):
            faults.add(name, "must be a table of lists", order=order)
            continue
        lists = _lists(name, document[name], folder, faults)
        if not lists:
            continue
        lengths = [len(values) for values in lists.values()]
        if name == "zip" and len(set(lengths)) > 1:
            shown = ", ".join(f"{key} {length}" for key, length in zip(lists, lengths, strict=True))
            faults.add(name, f"lists of unequal lengths: {shown}", order=order)
            continue
        if name == "matrix" and math.prod(lengths) > MAX_JOBS:
            faults.add(name, f"{math.prod(lengths):,} combinations; {MAX_JOBS:,} jobs at most", order=order)
            continue
        rows = itertools.product(*lists.values()) if name == "matrix" else zip(*lists.values(), strict=True)
        for k, row in enumerate(rows):
            cells = {key: value for key, value in zip(lists, row, strict=True) if value is not None}
            seen = (sheet.defaults.cells if sheet.defaults else {}) | cells
            hit = next((where for where, rule in rules if rule and _matches(rule, seen)), None)
            if hit is not None:
                used.add(hit)
            elif not sheet.add(Row(f"{name}[{k}]", order + k, cells), faults):
                return
        order += MAX_JOBS
    sheet.warnings += [f"{where} matches no combination" for where, _ in rules if where not in used]


def _lists(name: str, table: dict[str, Any], folder: Path, faults: Faults) -> dict[str, list[Any]]:
    """The lists of a `matrix` or `zip`; globs of files become what they match."""
    keys = tuple(key for key in KEYS if key != "id" or name == "zip")
    found: dict[str, list[Any]] = {}
    for key, values in keyed(table, name, 1 << 40, faults, keys).items():
        values = values if isinstance(values, list) else [values]
        if key in FILES:
            values = list(
                _globbed(values, folder, lambda text, key=key: faults.add(name, text, key=key, order=1 << 40))
            )
        if not values:
            faults.add(name, "an empty list", key=key, order=1 << 40)
        found[key] = values
    return found


def _globbed(values: list[Any], folder: Path, tell: Any) -> Iterator[Any]:
    for value in values:
        if not isinstance(value, str) or not glob.has_magic(value) or (folder / value).exists():
            yield value
            continue
        matches = sorted(glob.glob(value, root_dir=folder, recursive=True))  # noqa: PTH207 - its paths stay as written
        matches = [match for match in matches if not (folder / match).is_dir()]
        if not matches:
            tell(f"`{value}` matches no file")
        yield from matches


def _matches(rule: dict[str, Any], cells: dict[str, Any]) -> bool:
    return all(_fits(as_text_or_none(pattern), as_text_or_none(cells.get(key)), key) for key, pattern in rule.items())


def _fits(pattern: str | list[str] | None, value: str | list[str] | None, key: str) -> bool:
    if not isinstance(pattern, str) or not isinstance(value, str):
        return pattern == value
    if fnmatch.fnmatchcase(value, pattern):
        return True
    if key in FILES:
        return "/" not in pattern and fnmatch.fnmatchcase(os.path.basename(value), pattern)  # noqa: PTH119
    try:
        return float(value) == float(pattern)
    except ValueError:
        return False

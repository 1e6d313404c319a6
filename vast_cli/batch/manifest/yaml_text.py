"""YAML as text: tables, lists and strings, nothing constructed, every table with its line."""

from collections.abc import Iterable
from typing import Any

import yaml

MAX_DEPTH = 12
MAX_NODES = 5_000_000
NULLS = ("", "~", "null", "Null", "NULL")
TAGS = (None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq")))
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
    if event.tag not in TAGS:
        raise ValueError(f"the tag `{event.tag}` is not read (line {line})")

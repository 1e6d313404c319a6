"""Reads YAML as tables, lists and text; constructs no other types, and every table knows its line."""

from collections.abc import Iterable
from typing import Any

import yaml

MAX_DEPTH = 12
MAX_NODES = 5_000_000
NULLS = ("", "~", "null", "Null", "NULL")
TAGS = (None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "map", "seq")))
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlTable(dict[str, Any]):
    """A YAML table that knows its line."""

    line: int = 0


def read_yaml(text: str) -> Any:
    """One YAML document; plain values stay the text they are (`001`, `no`, `1:30`).

    Aliases share the object of their anchor, so a "billion laughs" bomb costs nothing.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        return _Composer().compose(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"invalid YAML: {error.problem or error.context}{place}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"invalid YAML: {error}") from error


class _Composer:
    """Builds tables, lists and text from events, without recursion."""

    def __init__(self) -> None:
        # containers that are being filled, each with its anchor; the first one holds the document
        self._open: list[tuple[Any, str | None]] = [([], None)]
        self._keys: list[str | None] = [None]  # of each container: the key that waits for its value
        self._anchors: dict[str, Any] = {}
        self._n_documents = 0

    def compose(self, events: Iterable[Any]) -> Any:
        for n_nodes, event in enumerate(events):
            if n_nodes > MAX_NODES:
                raise ValueError(f"more than {MAX_NODES:,} values")
            self._handle(event, event.start_mark.line + 1)
        return next(iter(self._open[0][0]), None)

    def _handle(self, event: Any, line: int) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._n_documents += 1
            if self._n_documents > 1:
                raise ValueError(f"a second document begins (line {line})")
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            value, anchor = self._open.pop()
            self._keys.pop()
            self._put(value, anchor, line)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ValueError(f"`*{event.anchor}` is not defined before (line {line})")
            self._put(self._anchors[event.anchor], None, line)
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event, line)
            self._put(None if event.implicit[0] and event.value in NULLS else event.value, event.anchor, line)

    def _begin(self, event: Any, line: int) -> None:
        if len(self._open) > MAX_DEPTH:
            raise ValueError(f"nested too deeply (line {line})")
        container: Any = [] if isinstance(event, yaml.SequenceStartEvent) else YamlTable()
        if isinstance(container, YamlTable):
            container.line = line
        _check_tag(event, line)
        self._open.append((container, event.anchor))
        self._keys.append(None)

    def _put(self, value: Any, anchor: str | None, line: int) -> None:
        """Add a value, or the key of the next one, to the innermost container."""
        if anchor is not None:
            self._anchors[anchor] = value
        container, key = self._open[-1][0], self._keys[-1]
        if isinstance(container, list):
            container.append(value)
        elif key is None:
            if not isinstance(value, str):
                raise ValueError(f"a key is not text (line {line})")
            if value == "<<":
                raise ValueError(f"`<<` is not supported; use `defaults` for all jobs (line {line})")
            if value in container:
                raise ValueError(f"key `{value[:60]}` is given twice (line {line})")
            self._keys[-1] = value
        else:
            container[key] = value
            self._keys[-1] = None


def _check_tag(event: Any, line: int) -> None:
    if event.tag not in TAGS:
        raise ValueError(f"the tag `{event.tag}` is not supported (line {line})")

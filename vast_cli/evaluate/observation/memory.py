"""What was observed of files that many clips share: footage and prompts are looked at once a process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

KEPT = 8  # observations; one of a minute's footage holds 10 MB


class Shelf:
    """A small store of results by key, least recently used ones leave first; may be shared by threads."""

    def __init__(self) -> None:
        self._results: OrderedDict[Hashable, Any] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make` for `key`, made once; what raises is made again when asked for again."""
        with self._turn:  # one at a time: two clips that ask for the same must not both work for it
            if key not in self._results:
                self._results[key] = make()
            self._results.move_to_end(key)
            while len(self._results) > KEPT:
                self._results.popitem(last=False)
            result: T = self._results[key]
            return result

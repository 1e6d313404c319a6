"""Cache of observations that many clips share: each footage and prompt is observed once a process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_ENTRIES = 8  # one of a minute's footage holds 10 MB


class ObservationCache:
    """Results by key, at most `MAX_ENTRIES`; drops the least recently used. Threads may share it."""

    def __init__(self) -> None:
        self._results: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make` for `key`, computed once; an exception is not cached."""
        with self._lock:  # held while computing: two clips must not both compute what they share
            if key not in self._results:
                self._results[key] = make()
            self._results.move_to_end(key)
            while len(self._results) > MAX_ENTRIES:
                self._results.popitem(last=False)
            result: T = self._results[key]
            return result

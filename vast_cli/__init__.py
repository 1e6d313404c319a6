"""Talking avatars in the style of any video prompt: an implementation of VAST, made for batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vast_cli.api import Pipeline
    from vast_cli.core.errors import VastError

__version__ = "0.1.0"
__all__ = ["Pipeline", "VastError", "__version__"]

_LAZY = {"Pipeline": "vast_cli.api", "VastError": "vast_cli.core.errors"}  # `vast --help` must not load them


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")

"""Options of a render that is measured before its video gets its name."""

import functools
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from vast_cli.core.errors import VastError
from vast_cli.gates import limits
from vast_cli.pipeline.options import Effect, RenderOptions

TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _split(value: Any) -> Any:
    """Text or a list of texts as single gates; commas separate them too."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ValueError("is neither text nor a list of texts")
    gates = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    _check(gates)
    return gates


@functools.lru_cache(maxsize=1024)
def _check(gates: tuple[str, ...]) -> None:
    try:
        limits.parse(gates)
    except VastError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


class GatedOptions(RenderOptions):
    """Options of `vast render`."""

    gate: Annotated[tuple[str, ...], BeforeValidator(_split), WithJsonSchema(TEXTS), Effect()] = Field(
        default=(), description="Limits that a result must reach: sync>=0.3,sharpness>=0.55; see docs/gates.md."
    )

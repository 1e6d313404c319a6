"""Real footage of a person in numbers, which ratios divide by where the footage itself is not given."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vast_cli.core.errors import VastError

VERSION = 1
DIGITS = 5


@dataclass(frozen=True)
class WindowSpread:
    """A measure over windows of real footage."""

    n: int  # windows in which it could be measured
    median: float
    low: float  # 1 % quantile
    high: float  # 99 % quantile


@dataclass(frozen=True)
class FootageStatistics:
    """Measurements of real footage of a person; None where it could not be measured.

    Attributes:
        brightness: median luma.
        sharpness: energy of the finest band around the lips, luma squared, in a crop of 256 px.
        flicker: mean second difference in time of the stabilised face, luma.
        lip_acceleration: mean second difference of the lip points over the outer eye distance.
        shut: 10 % quantile of the lip gap over the outer eye distance.
        silence_gaps: lip gaps in silences, ascending: all of them, or their quantiles 0, 1 ... 100 %.
        bilabial_closure: share of P, B, M whose lip gap falls to `shut`.
        blink_rate: a minute.
        lagsync_margin: how far mouth and audio stand out at their best lag.
        descriptor: mean of the face descriptors, or empty.
        identity_dist: mean distance of the descriptors to it.
        face_px: side of the crop box in pixels of the frame: sharpness compares at this scale only.
        seconds: of footage that were measured.
        windows: measure -> its spread over windows of the footage against the whole.
    """

    brightness: float
    sharpness: float | None = None
    flicker: float | None = None
    lip_acceleration: float | None = None
    shut: float | None = None
    silence_gaps: tuple[float, ...] = ()
    bilabial_closure: float | None = None
    blink_rate: float | None = None
    lagsync_margin: float | None = None
    descriptor: tuple[float, ...] = ()
    identity_dist: float | None = None
    face_px: float = 0.0
    seconds: float = 0.0
    windows: Mapping[str, WindowSpread] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON, for the card of an avatar."""
        document: dict[str, Any] = {"version": VERSION} | _rounded(asdict(self))
        return document

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "FootageStatistics":
        """From the card of an avatar.

        Raises:
            VastError: `vast_record_invalid`, `vast_record_version`.
        """
        try:
            if document["version"] != VERSION:
                message = f"footage statistics of version {document['version']}, not {VERSION}"
                raise VastError("vast_record_version", message)
            numbers = {name: value for name, value in document.items() if name not in ("version", "windows")}
            for name in ("silence_gaps", "descriptor"):
                numbers[name] = tuple(float(value) for value in numbers[name])
            if not all(_is_number(value) for value in numbers.values() if not isinstance(value, tuple)):
                raise ValueError("values that are not finite numbers")
            windows = {str(name): WindowSpread(**spread) for name, spread in document["windows"].items()}
            return cls(**numbers, windows=windows)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VastError("vast_record_invalid", f"no valid footage statistics: {error}") from error


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value

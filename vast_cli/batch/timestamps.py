"""Times in journals and events: UTC, ISO 8601 with milliseconds."""

from datetime import datetime, timezone


def utc_timestamp() -> str:
    """The current time."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime | None:
    """The time of a journal line; None if it is no time."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None

"""The report's three files: for programs, for spreadsheets, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_report(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    """Write `report.json`, `report.csv` and `report.html` into `folder`, each whole or not at all.

    Raises:
        VastError: `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    raise NotImplementedError

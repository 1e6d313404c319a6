"""docs/cli.md is generated from the code."""

from pathlib import Path

from vast_cli.cli.app import COMMANDS
from vast_cli.cli.reference import page
from vast_cli.core.errors import ERROR_KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_generated_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m vast_cli.cli.reference > docs/cli.md`"


def test_the_page_has_every_command_and_every_code() -> None:
    text = page()
    assert all(f"## vast {name}" in text for name in COMMANDS)
    assert all(f"`{code}`" in text for code in ERROR_KINDS)
    assert "| `--crf` | `18` | Quality of the encoder, lower is better. 0 to 51. |" in text

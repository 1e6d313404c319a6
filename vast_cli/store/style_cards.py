"""What is known of styles that have a name: their cards, and whether the style model in use can use them.

The cards of a folder's styles are in its `cards.json`. `python -m vast_cli.training.style.named` writes them together
with the shipped styles. A card belongs to the bytes of a style: one that was replaced has none.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vast_cli import records
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.records import Style
from vast_cli.store import assets, styles

CARDS = "cards.json"
PROBLEMS = {
    "vast_record_version": "made by another version of vast: encode it again",
    "vast_model_mismatch": "made with another style model: encode it again",
}


@dataclass(frozen=True)
class StyleCard:
    """What a style is, and what it was made from.

    Attributes:
        description: in a few words.
        sha256: of the style file.
        model_hash: of the style model.
        people: whose mean it is.
        clips: of these people.
        seconds: of these clips.
        sets: set of the corpus -> clips.
        licences: licence as found -> clips.
        recognised: people whose own style is nearest to this one of all, when it is made without them.
        chance: share that would be recognised by chance.
    """

    description: str
    sha256: str
    model_hash: str
    people: int
    clips: int
    seconds: float
    sets: Mapping[str, int]
    licences: Mapping[str, int]
    recognised: int
    chance: float


@dataclass(frozen=True)
class NamedStyle:
    """A style that has a name.

    Attributes:
        name: by which it is found.
        path: of its file.
        shipped: with vast, not the user's own.
        card: if it has one.
        record: what the file holds; None if it cannot be used.
        problem: why it cannot be used.
    """

    name: str
    path: Path
    shipped: bool
    card: StyleCard | None
    record: Style | None
    problem: str | None = None

    @property
    def description(self) -> str:
        """What it is: its card's word, or where the file says it comes from."""
        if self.card is not None:
            return self.card.description
        return "" if self.record is None else self.record.source

    def document(self) -> dict[str, Any]:
        """The style as JSON."""
        card = None if self.card is None else dataclasses.asdict(self.card)
        row = {"name": self.name, "path": str(self.path), "shipped": self.shipped, "description": self.description}
        return row | {"problem": self.problem, "card": card}


def list_named() -> list[NamedStyle]:
    """All styles that have a name, also those that cannot be used, in alphabetical order."""
    return [load_named(path) for _, path in sorted(styles.available().items())]


def load_named(path: Path) -> NamedStyle:
    """A style file with its card, and whether the style model in use can use it.

    Raises:
        VastError: `vast_record_invalid` if the cards of its folder are damaged, `vast_asset_missing`.
    """
    record, problem = None, None
    try:
        record = records.load(Style, path, model_hash=assets.model_hash("style"))
    except VastError as error:
        if error.code.startswith("vast_asset_"):
            raise
        problem = PROBLEMS.get(error.code, "not a style file that can be read")
    shipped = path.absolute().parent == styles.shipped_folder()
    card = None if record is None else read_cards(path.absolute().parent).get(path.stem)
    if card is not None and card.sha256 != files.sha256(path):
        card = None
    return NamedStyle(path.stem, path, shipped, card, record, problem)


def read_cards(folder: Path) -> dict[str, StyleCard]:
    """The cards of a folder's styles by name; {} if it has none.

    Raises:
        VastError: `vast_record_invalid`.
    """
    path = folder / CARDS
    if not path.is_file():
        return {}
    return _parse_cards(path, path.stat().st_mtime_ns)


@functools.cache
def _parse_cards(path: Path, _mtime_ns: int) -> dict[str, StyleCard]:
    try:
        rows = json.loads(path.read_bytes())
        return {name: StyleCard(**row) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` does not hold cards of styles: {error}") from error


def write_cards(folder: Path, cards: Mapping[str, StyleCard]) -> None:
    """Write the cards of a folder's styles, in this order."""
    rows = {name: dataclasses.asdict(card) for name, card in cards.items()}
    with files.atomic_write(folder / CARDS) as part:
        part.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""Avatars are found by name and by path."""

from pathlib import Path

import pytest

from vast_cli.core.errors import VastError
from vast_cli.store import bundles


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with `anna b`, a folder, and `bert`, a file."""
    folder = tmp_path / "mine"
    (folder / "anna b").mkdir(parents=True)
    (folder / "anna b" / "avatar.json").write_text('{"format": "vast.avatar", "sha256": "1"}')
    (folder / "bert.avatar").write_bytes(b"zip")
    monkeypatch.setenv("VAST_AVATARS", str(folder))
    return folder


def test_names_and_paths_lead_to_bundles(mine: Path) -> None:
    assert bundles.find("anna b") == bundles.find(str(mine / "anna b")) == mine / "anna b"
    assert bundles.find("bert") == bundles.find(str(mine / "bert.avatar")) == mine / "bert.avatar"
    assert (bundles.find("obama") / bundles.CARD).is_file()


def test_the_users_avatar_wins_over_the_shipped_one(mine: Path) -> None:
    (mine / "obama.avatar").write_bytes(b"zip")
    assert bundles.find("obama") == mine / "obama.avatar"


@pytest.mark.parametrize("name", ["bart", "mine", ""])
def test_what_is_no_avatar_is_refused(name: str, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    with pytest.raises(VastError) as caught:
        bundles.find(name)
    assert caught.value.code == "vast_avatar_unknown"
    assert "anna b" in caught.value.hint and "obama" in caught.value.hint
    assert ("did you mean `bert`?" in caught.value.hint) is (name == "bart")

"""Avatar bundles are found by name and by path."""

from pathlib import Path

import pytest

from vast_cli.core.errors import VastError
from vast_cli.store import bundles


@pytest.fixture
def user_avatars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with `anna b`, a folder, and `bert`, a file."""
    folder = tmp_path / "mine"
    (folder / "anna b").mkdir(parents=True)
    (folder / "anna b" / "avatar.json").write_text('{"format": "vast.avatar", "sha256": "1"}')
    (folder / "bert.avatar").write_bytes(b"zip")
    monkeypatch.setenv("VAST_AVATARS", str(folder))
    return folder


def test_bundles_are_found_by_name_and_by_path(user_avatars: Path) -> None:
    assert bundles.find("anna b") == bundles.find(str(user_avatars / "anna b")) == user_avatars / "anna b"
    assert bundles.find("bert") == bundles.find(str(user_avatars / "bert.avatar")) == user_avatars / "bert.avatar"
    assert (bundles.find("obama") / bundles.CARD).is_file()


def test_the_users_avatar_hides_the_shipped_one(user_avatars: Path) -> None:
    (user_avatars / "obama.avatar").write_bytes(b"zip")
    assert bundles.find("obama") == user_avatars / "obama.avatar"


@pytest.mark.parametrize("name", ["bart", "mine", ""])
def test_unknown_avatars_are_refused_with_a_suggestion(
    name: str, user_avatars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user_avatars.parent)
    with pytest.raises(VastError) as caught:
        bundles.find(name)
    assert caught.value.code == "vast_avatar_unknown"
    assert "anna b" in caught.value.hint and "obama" in caught.value.hint
    assert ("did you mean `bert`?" in caught.value.hint) is (name == "bart")

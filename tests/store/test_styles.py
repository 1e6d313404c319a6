"""Styles are found by file and by name."""

from pathlib import Path

import pytest

from vast_cli.core.errors import VastError
from vast_cli.store import styles


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped styles with `happy` and `news`; the current folder is empty."""
    folder = tmp_path / "presets" / "styles"
    folder.mkdir(parents=True)
    for name in ("happy", "news"):
        (folder / f"{name}.style").write_bytes(b"shipped")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("VAST_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("VAST_STYLES", str(tmp_path / "mine"))
    return folder


def test_a_name_means_a_shipped_style(shipped: Path) -> None:
    assert styles.find("happy") == shipped / "happy.style"
    assert styles.available() == {"happy": shipped / "happy.style", "news": shipped / "news.style"}


def test_the_users_style_hides_the_shipped_one(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "happy.style").write_bytes(b"mine")
    assert styles.find("happy") == tmp_path / "mine" / "happy.style"
    assert styles.find("news") == shipped / "news.style"


def test_a_file_goes_before_a_name_and_a_folder_does_not(shipped: Path, tmp_path: Path) -> None:
    Path("happy").mkdir()
    assert styles.find("happy") == shipped / "happy.style"
    Path("news").write_bytes(b"a file without suffix")
    assert styles.find("news") == Path("news")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "happy").write_bytes(b"beside a manifest")
    assert styles.find("happy", folder=tmp_path / "jobs") == tmp_path / "jobs" / "happy"


@pytest.mark.parametrize("text", ["happy.style", "./happy", "styles/happy"])
def test_what_looks_like_a_path_is_one(text: str, shipped: Path) -> None:
    assert styles.find(text) == Path(text)


@pytest.mark.parametrize(("text", "suggestion"), [("hapy", True), ("xyz", False), ("", False), ("x" * 10_000, False)])
def test_an_unknown_name_gets_a_suggestion(text: str, suggestion: bool, shipped: Path) -> None:
    with pytest.raises(VastError) as caught:
        styles.find(text)
    assert caught.value.code == "vast_style_unknown" and "`vast styles list`" in caught.value.hint
    assert ("did you mean `happy`?" in caught.value.hint) is suggestion


def test_a_file_has_a_name_where_styles_are_looked_for(shipped: Path, tmp_path: Path) -> None:
    assert styles.name_of(styles.find("news")) == "news"
    assert styles.name_of(tmp_path / "mine" / "calm.style") == "calm"
    assert styles.name_of(tmp_path / "here" / "news.style") is None


def test_the_names_of_presets_are_no_styles() -> None:
    assert not {"standard", "draft", "master"} & set(styles.available())

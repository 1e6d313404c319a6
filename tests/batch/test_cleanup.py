"""Temporary files of one attempt or run are removed, and no others."""

from pathlib import Path

from vast_cli.batch.state import cleanup
from vast_cli.pipeline import publish


def test_only_temporary_files_of_the_attempt_are_removed(tmp_path: Path) -> None:
    tag = "ab12.3.1"
    removed = [publish.staging_path(tmp_path / "x.mp4", tag).name, f".x.{tag}-9f9f9f.part.mp4"]
    kept = [
        publish.staging_path(tmp_path / "x.mp4", "ab12.3.10").name,
        publish.staging_path(tmp_path / "x.mp4", "ab12.13.1").name,
        f".x.{tag}-staged.mp4", f"x.{tag}-staged.part.mp4", "x.mp4", ".x.part.mp4",
    ]  # fmt: skip
    for name in (*removed, *kept):
        (tmp_path / name).touch()
    assert cleanup.remove_temporary_files([tmp_path, tmp_path / "not there"], [tag]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert cleanup.remove_temporary_files([tmp_path], ["ab12"]) == 2  # the whole run


def test_a_folder_is_cleared_except_for_the_names_to_keep(tmp_path: Path) -> None:
    for name in ("a/b/c", "keep/d", "e"):
        path = tmp_path / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    cleanup.clear_folder(tmp_path / "parts", keep=["keep"])
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["keep"]
    cleanup.clear_folder(tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    cleanup.clear_folder(tmp_path / "parts")

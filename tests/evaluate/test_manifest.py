"""Pairs from files, folders and tables."""

from pathlib import Path

import pytest

from vast_cli.core.errors import VastError
from vast_cli.evaluate.manifest import find_pairs


@pytest.fixture
def root_folder(tmp_path: Path) -> Path:
    """Outputs, truths and audio in folders with special characters in their names."""
    root = tmp_path / "a b" / "日本 é'$(x);"
    for name in ("out/1.mp4", "out/2.mp4", "out/notes.txt", "truth/1.mov", "truth/2.mp4", "audio/2.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def inputs(**paths: Path) -> dict[str, Path | None]:
    """Inputs as the options name them."""
    return {"reference": None, "audio": None, "style_reference": None, "footage": None} | paths


def test_folders_are_joined_by_stem(root_folder: Path) -> None:
    pairs = find_pairs(
        root_folder / "out",
        inputs(reference=root_folder / "truth", audio=root_folder / "audio", footage=root_folder / "out/1.mp4"),
    )
    assert [pair.id for pair in pairs] == ["1", "2"]
    assert [pair.reference for pair in pairs] == [root_folder / "truth/1.mov", root_folder / "truth/2.mp4"]
    assert [pair.audio for pair in pairs] == [None, root_folder / "audio/2.wav"]
    assert pairs[1].footage == root_folder / "out/1.mp4"
    assert pairs[0].other_audio == root_folder / "audio/2.wav"
    assert pairs[1].other_audio == root_folder / "truth/1.mov"


def test_a_table_names_everything(root_folder: Path) -> None:
    table = root_folder / "pairs.csv"
    table.write_text("﻿id;output;reference;speaker;style-differs\nfirst;out/1.mp4;truth/1.mov;ann;1\n;out/2.mp4;;bob;\n")
    first, second = find_pairs(table, inputs())
    assert (first.id, first.output, first.speaker, first.style_differs) == (
        "first",
        root_folder / "out/1.mp4",
        "ann",
        True,
    )
    assert (second.id, second.reference, second.style_differs) == ("2", None, False)


def test_all_faults_of_a_table_are_reported_at_once(root_folder: Path) -> None:
    table = root_folder / "pairs.csv"
    table.write_text("output,refrence,style_differs\nout/1.mp4,truth/1.mov,\nout/9.mp4,,maybe\n,,\nout/1.mp4,,\n")
    with pytest.raises(VastError) as caught:
        find_pairs(table, inputs())
    assert caught.value.code == "vast_manifest_invalid"
    for words in (
        "`refrence`: unknown; did you mean `reference`",
        "row 3, column output: no file",
        "row 3, column style_differs",
        "row 4, column output: empty",
        "the id `1`",
    ):
        assert words in caught.value.message, words


@pytest.mark.parametrize("text", ["", "id\na\n", "output\n"])
def test_tables_without_outputs(root_folder: Path, text: str) -> None:
    table = root_folder / "pairs.csv"
    table.write_text(text)
    with pytest.raises(VastError, match=r"column `output`|no row"):
        find_pairs(table, inputs())


def test_missing_files_are_refused(root_folder: Path) -> None:
    for output, more, code in (
        (root_folder / "nothing.mp4", {}, "vast_input_missing"),
        (root_folder / "audio", {}, "vast_input_missing"),
        (root_folder / "out", {"reference": root_folder / "gone"}, "vast_input_missing"),
        (root_folder / "out", {"reference": root_folder / "audio"}, "vast_input_missing"),
    ):
        with pytest.raises(VastError) as caught:
            find_pairs(output, inputs(**more))
        assert caught.value.code == code

"""What is held against what: files, folders, tables."""

from pathlib import Path

import pytest

from vast_cli.core.errors import VastError
from vast_cli.evaluate.manifest import find_pairs


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Outputs, truths and sounds in folders with an unhandy name."""
    root = tmp_path / "a b" / "日本 é'$(x);"
    for name in ("out/1.mp4", "out/2.mp4", "out/notes.txt", "truth/1.mov", "truth/2.mp4", "sound/2.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def given(**paths: Path) -> dict[str, Path | None]:
    """What the options name."""
    return {"reference": None, "audio": None, "style_reference": None, "footage": None} | paths


def test_folders_are_joined_by_stem(house: Path) -> None:
    pairs = find_pairs(
        house / "out", given(reference=house / "truth", audio=house / "sound", footage=house / "out/1.mp4")
    )
    assert [pair.id for pair in pairs] == ["1", "2"]
    assert [pair.reference for pair in pairs] == [house / "truth/1.mov", house / "truth/2.mp4"]
    assert [pair.audio for pair in pairs] == [None, house / "sound/2.wav"]
    assert pairs[1].footage == house / "out/1.mp4"
    assert pairs[0].other_audio == house / "sound/2.wav"
    assert pairs[1].other_audio == house / "truth/1.mov"


def test_a_table_names_everything(house: Path) -> None:
    table = house / "pairs.csv"
    table.write_text("﻿id;output;reference;speaker;style-differs\nfirst;out/1.mp4;truth/1.mov;ann;1\n;out/2.mp4;;bob;\n")
    first, second = find_pairs(table, given())
    assert (first.id, first.output, first.speaker, first.style_differs) == ("first", house / "out/1.mp4", "ann", True)
    assert (second.id, second.reference, second.style_differs) == ("2", None, False)


def test_all_faults_of_a_table_at_once(house: Path) -> None:
    table = house / "pairs.csv"
    table.write_text("output,refrence,style_differs\nout/1.mp4,truth/1.mov,\nout/9.mp4,,maybe\n,,\nout/1.mp4,,\n")
    with pytest.raises(VastError) as caught:
        find_pairs(table, given())
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
def test_tables_without_outputs(house: Path, text: str) -> None:
    table = house / "pairs.csv"
    table.write_text(text)
    with pytest.raises(VastError, match=r"column `output`|no row"):
        find_pairs(table, given())


def test_what_is_not_there(house: Path) -> None:
    for output, more, code in (
        (house / "nothing.mp4", {}, "vast_input_missing"),
        (house / "sound", {}, "vast_input_missing"),
        (house / "out", {"reference": house / "gone"}, "vast_input_missing"),
        (house / "out", {"reference": house / "sound"}, "vast_input_missing"),
    ):
        with pytest.raises(VastError) as caught:
            find_pairs(output, given(**more))
        assert caught.value.code == code

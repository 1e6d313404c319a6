"""`vast styles`: what a producer sees of styles that have a name, and mixtures of them."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, Vast
from vast_cli import records
from vast_cli.core import files
from vast_cli.pipeline.extract import encode_prompt
from vast_cli.pipeline.models import Models
from vast_cli.records import Style
from vast_cli.store import style_cards
from vast_cli.store.style_cards import StyleCard


@pytest.fixture(scope="module")
def lively(prompt: Path) -> Style:
    """The style of the example's prompt."""
    style, _ = encode_prompt(prompt, Models())
    return style


@pytest.fixture
def presets(lively: Style, tmp_path: Path) -> Path:
    """A folder of presets whose styles are `neutral`, with a card, and `lively`, without one."""
    folder = tmp_path / "presets" / "styles"
    folder.mkdir(parents=True)
    neutral = dataclasses.replace(lively, vector=np.zeros_like(lively.vector), source="nobody", n_frames=250)
    neutral.save(folder / "neutral.style")
    lively.save(folder / "lively.style")
    card = StyleCard(
        description="as nobody speaks", sha256=files.sha256(folder / "neutral.style"), model_hash=lively.model_hash,
        people=3, clips=4, seconds=61.5, sets={"talk": 3, "mead": 1}, licences={"CC BY 4.0": 3, "unclear": 1},
        recognised=2, chance=0.1,
    )  # fmt: skip
    style_cards.write_cards(folder, {"neutral": card})
    return folder.parent


@pytest.fixture
def place(presets: Path, tmp_path: Path) -> dict[str, str]:
    """The environment in which these are the shipped styles, and the user has none."""
    return {"VAST_PRESETS": str(presets), "VAST_STYLES": str(tmp_path / "mine")}


# --- list ------------------------------------------------------------------------------------------------------------


def test_list_names_every_style_and_says_what_it_is(call_vast: Vast, place: dict[str, str]) -> None:
    result = call_vast("styles", "list", **place)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert result.returncode == 0 and [row[0] for row in rows[1:]] == ["lively", "neutral"]
    assert "as nobody speaks" in result.stdout and "3 people, 1 min" in result.stdout
    assert "prompt.mp4" in result.stdout  # where a style without a card comes from
    assert place["VAST_STYLES"] in result.stderr


def test_list_in_json(call_vast: Vast, place: dict[str, str], lively: Style, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    lively.save(tmp_path / "mine" / "neutral.style")
    document = json.loads(call_vast("styles", "list", "--json", **place).stdout)
    styles = {style["name"]: style for style in document["styles"]}
    assert document["folder"] == place["VAST_STYLES"]
    assert styles["neutral"]["path"] == str(tmp_path / "mine" / "neutral.style") and not styles["neutral"]["shipped"]
    assert styles["neutral"]["card"] is None  # the shipped style's is not that of the user's
    assert styles["lively"]["shipped"] and styles["lively"]["problem"] is None


def test_list_says_which_styles_cannot_be_used(call_vast: Vast, place: dict[str, str], lively: Style) -> None:
    mine = Path(place["VAST_STYLES"])
    mine.mkdir()
    (mine / "broken.style").write_bytes(b"\0" * 64)
    dataclasses.replace(lively, model_hash="0" * 16).save(mine / "old.style")
    result = call_vast("styles", "list", **place)
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert result.returncode == 0 and len(lines) == 5
    assert "not a style file" in lines["broken"] and "another style model" in lines["old"]
    assert "another style model" not in lines["lively"]


def test_a_card_belongs_to_the_bytes_of_its_style(
    presets: Path, place: dict[str, str], call_vast: Vast, lively: Style
) -> None:
    lively.save(presets / "styles" / "neutral.style")
    assert "as nobody speaks" not in call_vast("styles", "list", **place).stdout


def test_list_without_styles(call_vast: Vast, tmp_path: Path) -> None:
    result = call_vast("styles", "list", VAST_PRESETS=str(tmp_path), VAST_STYLES=str(tmp_path / "mine"))
    assert result.returncode == 0 and "no styles" in result.stderr


def test_damaged_cards_are_named(call_vast: Vast, presets: Path, place: dict[str, str]) -> None:
    (presets / "styles" / "cards.json").write_text('{"neutral": 3}')
    result = call_vast("styles", "list", **place)
    assert result.returncode == 78 and "cards.json" in result.stderr and "vast_record_invalid" in result.stderr


def test_list_does_not_import_torch(place: dict[str, str]) -> None:
    code = (
        "import sys\nfrom vast_cli.cli.app import main\nsys.argv = ['vast', 'styles', 'list']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\nassert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], env=place | {"PYTHONPATH": str(ROOT)}, timeout=60)
    assert result.returncode == 0


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_says_what_a_style_does_beside_neutral(call_vast: Vast, place: dict[str, str], presets: Path) -> None:
    result = call_vast("styles", "show", "lively", **place)
    assert result.returncode == 0, result.stderr
    for word in ("mouth corners", "lip opening", "lids", "over neutral", "blinks a minute", "lively.style"):
        assert word in result.stdout
    document = json.loads(call_vast("styles", "show", presets / "styles" / "lively.style", "--json", **place).stdout)
    assert document["effect"]["levels"].keys() == document["neutral"]["spreads"].keys()
    assert document["effect"]["levels"] != document["neutral"]["levels"] and document["remarks"]
    assert document["effect"]["blinks_per_minute"] >= 0


def test_show_neutral_shows_its_card_and_no_comparison(call_vast: Vast, place: dict[str, str]) -> None:
    result = call_vast("styles", "show", "neutral", **place)
    assert "over neutral" not in result.stdout and "as nobody speaks" in result.stdout
    assert "mean of 3 people, 4 clips (talk 3, mead 1)" in result.stdout and "1 clip: unclear" in result.stdout
    assert "2 of 3 people" in result.stdout


def test_show_without_a_neutral_style(call_vast: Vast, place: dict[str, str], presets: Path) -> None:
    (presets / "styles" / "neutral.style").unlink()
    result = call_vast("styles", "show", "lively", **place)
    assert result.returncode == 0 and "over neutral" not in result.stdout and "mouth corners" in result.stdout


@pytest.mark.parametrize(
    ("style", "status", "code"),
    [
        ("livly", 78, "vast_style_unknown"),
        ("none.style", 66, "vast_input_missing"),
        ("broken.style", 78, "vast_record_invalid"),
        ("old.style", 78, "vast_model_mismatch"),
    ],
)
def test_styles_that_cannot_be_shown(
    style: str, status: int, code: str, call_vast: Vast, place: dict[str, str], lively: Style, work: Path
) -> None:
    (work / "broken.style").write_bytes(b"\0" * 64)
    dataclasses.replace(lively, model_hash="0" * 16).save(work / "old.style")
    result = call_vast("styles", "show", style, **place)
    assert result.returncode == status and code in result.stderr and result.stdout == ""


# --- mix -------------------------------------------------------------------------------------------------------------


def test_a_mix_lies_between_its_styles_and_is_a_style(
    call_vast: Vast, place: dict[str, str], lively: Style, work: Path, speech: Path
) -> None:
    result = call_vast("styles", "mix", "lively", "neutral", "--weights", "3,1", "-o", "warm.style", **place)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "warm.style\n" and "0.75 lively + 0.25 neutral" in result.stderr
    warm = records.load(Style, work / "warm.style", model_hash=lively.model_hash)
    assert np.allclose(warm.vector, 0.75 * lively.vector, atol=1e-6)
    assert warm.source == "0.75 lively + 0.25 neutral"
    predicted = call_vast("predict", "--audio", speech, "--style", "warm.style", "-o", "warm.motion", **place)
    assert predicted.returncode == 0, predicted.stderr


def test_a_mix_is_equal_by_default_and_named_after_its_styles(
    call_vast: Vast, place: dict[str, str], lively: Style, work: Path
) -> None:
    lively.save(work / "mine.style")
    result = call_vast("styles", "mix", "mine.style", "neutral", "--json", **place)
    document = json.loads(result.stdout)
    assert document["style"] == "mine-neutral.style"
    assert [part["weight"] for part in document["parts"]] == [0.5, 0.5]
    assert np.allclose(records.load(Style, work / "mine-neutral.style").vector, 0.5 * lively.vector, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["lively"], 78, "two styles or more"),
        (["lively", "neutral", "--weights", "1"], 78, "2 styles and 1 weights"),
        (["lively", "neutral", "--weights", "1,2,3"], 78, "2 styles and 3 weights"),
        (["lively", "neutral", "--weights", "1;2"], 78, "not understood"),
        (["lively", "neutral", "--weights", "1.5,-.5"], 78, "0 or more"),
        (["lively", "neutral", "--weights", "0,0"], 78, "not all 0"),
        (["lively", "neutral", "--weights", "nan,1"], 78, "0 or more"),
        (["lively", "neutral", "--weights", "1e308,1e308"], 78, "0 or more"),
        (["lively", "nutral"], 78, "did you mean `neutral`?"),
        (["lively", "none.style"], 66, "none.style"),
        (["lively", "old.style"], 78, "another model"),
        (["lively", "neutral", "-o", "warm.mp4"], 78, "NAME.style"),
        (["lively", "neutral", "-o", "there.style"], 73, "--overwrite"),
    ],
)
def test_mixes_that_are_refused(
    arguments: list[str], status: int, text: str, call_vast: Vast, place: dict[str, str], lively: Style, work: Path
) -> None:
    dataclasses.replace(lively, model_hash="0" * 16).save(work / "old.style")
    (work / "there.style").write_text("kept")
    result = call_vast("styles", "mix", *arguments, **place)
    assert result.returncode == status and text in result.stderr and result.stdout == ""
    assert {path.name for path in work.iterdir()} == {"old.style", "there.style"}
    assert (work / "there.style").read_text() == "kept"


# --- the styles that ship --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(style_cards.read_cards(ROOT / "presets" / "styles")))
def test_shipped_styles_fit_the_shipped_model_and_their_cards(name: str) -> None:
    """If this fails after a training: `python -m vast_cli.training.style.named --corpus ../shared/data/video`."""
    style = style_cards.load_named(ROOT / "presets" / "styles" / f"{name}.style")
    assert style.problem is None and style.card is not None and style.record is not None
    assert style.card.model_hash == style.record.model_hash
    assert style.card.people >= 2 and style.card.licences


def test_every_shipped_style_has_a_card() -> None:
    shipped = {path.stem for path in (ROOT / "presets" / "styles").glob("*.style")}
    assert shipped == set(style_cards.read_cards(ROOT / "presets" / "styles"))


@pytest.mark.parametrize("command", ["render", "predict"])
def test_an_unknown_style_gets_a_suggestion(command: str, call_vast: Vast, place: dict[str, str], speech: Path) -> None:
    (Path(place["VAST_PRESETS"]) / "standard.yaml").write_text("crf: 18\n")
    result = call_vast(command, "--audio", speech, "--style", "livly", **place)
    assert result.returncode == 78 and "did you mean `lively`?" in result.stderr and result.stdout == ""
    assert call_vast(command, "--audio", speech, "--style", "livly.style", **place).returncode == 66

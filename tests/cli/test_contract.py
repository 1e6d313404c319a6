"""The contract of the command line: help needs no torch, stdout is for results, failures have a code and a hint."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from typer.main import get_command

from tests.conftest import Vast
from vast_cli import __version__
from vast_cli.cli.app import COMMANDS, build
from vast_cli.cli.schema import ERROR, schemas


def test_help_does_not_import_torch() -> None:
    script = (
        "import sys\n"
        "from vast_cli.cli.app import COMMANDS, main\n"
        "for words in [], *([name] for name in COMMANDS):\n"
        "    sys.argv = ['vast', *words, '--help']\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert end.code in (0, None), words\n"
        "    heavy = {'torch', 'cv2', 'av', 'scipy', 'moviepy'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    for name in COMMANDS:
        assert f"Usage: vast {name} " in result.stdout


def leaf_commands() -> list[str]:
    """Names of all commands, those of groups as `train style`."""
    root = get_command(build())
    names = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {leaf}" for leaf in getattr(command, "commands", ())] or [name]
    return names


@pytest.mark.parametrize("name", leaf_commands())
def test_every_help_shows_an_example(name: str, call_vast: Vast) -> None:
    _, description = call_vast(*name.split(), "--help").stdout.split("\n", 2)[1:]
    assert f"vast {name}" in description


def test_a_misspelt_command_gets_a_suggestion(vast: Vast) -> None:
    result = vast("rendr")
    assert result.returncode == 2
    assert "Did you mean 'render'" in result.stderr and result.stdout == ""


def test_version(vast: Vast) -> None:
    assert vast("--version").stdout == f"vast {__version__}\n"


def test_print_config_shows_the_source_of_each_value(call_vast: Vast, tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "mine.yaml").write_text("description: mine\ncrf: 30\nseed: 5\n")
    result = call_vast(
        "render", "--audio", "a.wav", "--preset", "mine", "--crf", "12", "--print-config",
        VAST_PRESETS=str(folder), VAST_DEVICE="cpu",
    )  # fmt: skip
    config = json.loads(result.stdout)
    assert config["crf"] == {"value": 12, "source": "option"}
    assert config["seed"] == {"value": 5, "source": "preset mine"}
    assert config["device"] == {"value": "cpu", "source": "environment"}
    assert config["threads"] == {"value": 0, "source": "default"}


def test_an_unknown_preset_gets_a_suggestion(call_vast: Vast) -> None:
    result = call_vast("render", "--audio", "a.wav", "--preset", "standart")
    assert result.returncode == 78 and "did you mean `standard`" in result.stderr


def test_an_unknown_key_of_a_preset_gets_a_suggestion(call_vast: Vast, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("crff: 30\n")
    result = call_vast("render", "--audio", "a.wav", "--preset", "bad", VAST_PRESETS=str(tmp_path))
    assert result.returncode == 78 and "did you mean `crf`" in result.stderr


def test_a_missing_file_is_named(call_vast: Vast) -> None:
    result = call_vast("render", "--audio", "nowhere.wav", "--prompt", "nowhere.mp4")
    assert result.returncode == 66
    assert "nowhere.wav" in result.stderr and "vast_input_missing" in result.stderr and result.stdout == ""


def test_a_failure_in_json_fits_its_schema(call_vast: Vast) -> None:
    result = call_vast("extract", "nowhere.mp4", "--json")
    document = json.loads(result.stdout)
    jsonschema.validate(document, ERROR)
    assert document["error"]["exit"] == result.returncode == 66


@pytest.mark.parametrize("name", sorted(schemas()))
def test_schemas_are_valid(name: str, call_vast: Vast) -> None:
    document = json.loads(call_vast("schema", name).stdout)
    jsonschema.Draft202012Validator.check_schema(document)


def test_prompt_and_style_exclude_each_other(call_vast: Vast) -> None:
    result = call_vast("render", "--audio", "a.wav", "--prompt", "p.mp4", "--style", "p.style")
    assert result.returncode == 78 and "exclude" in result.stderr

"""The contract of the command line: help is fast and light, stdout is for results, every failure has code and hint."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from vast_cli.cli.app import COMMANDS
from vast_cli.cli.schema import ERROR, schemas

Vast = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("arguments", [["--help"], *[[name, "--help"] for name in COMMANDS]], ids=lambda a: a[0])
def test_help_starts_without_torch(arguments: list[str]) -> None:
    script = (
        f"import sys; sys.argv = ['vast', *{arguments!r}]\n"
        "from vast_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "heavy = {'torch', 'cv2', 'av', 'scipy', 'moviepy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name: str, vast: Vast) -> None:
    if name in ("train", "avatars", "study", "styles"):  # groups; their commands have the examples
        return
    assert f"vast {name}" in vast(name, "--help").stdout


def test_misspelt_command_gets_a_suggestion(vast: Vast) -> None:
    done = vast("rendr")
    assert done.returncode == 2
    assert "render" in done.stderr and done.stdout == ""


def test_version(vast: Vast) -> None:
    assert vast("--version").stdout.startswith("vast ")


def test_print_config_says_where_values_come_from(vast: Vast, tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "mine.yaml").write_text("description: mine\ncrf: 30\nseed: 5\n")
    done = vast(
        "render", "--audio", "a.wav", "--preset", "mine", "--crf", "12", "--print-config",
        VAST_PRESETS=str(folder), VAST_DEVICE="cpu",
    )  # fmt: skip
    config = json.loads(done.stdout)
    assert config["crf"] == {"value": 12, "source": "option"}
    assert config["seed"] == {"value": 5, "source": "preset mine"}
    assert config["device"] == {"value": "cpu", "source": "environment"}
    assert config["threads"] == {"value": 0, "source": "default"}


def test_unknown_preset_names_the_nearest(vast: Vast) -> None:
    done = vast("render", "--audio", "a.wav", "--preset", "standart")
    assert done.returncode == 78 and "did you mean `standard`" in done.stderr


def test_preset_with_an_unknown_key(vast: Vast, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("crff: 30\n")
    done = vast("render", "--audio", "a.wav", "--preset", "bad", VAST_PRESETS=str(tmp_path))
    assert done.returncode == 78 and "did you mean `crf`" in done.stderr


def test_missing_file(vast: Vast) -> None:
    done = vast("render", "--audio", "nowhere.wav", "--prompt", "nowhere.mp4")
    assert done.returncode == 66
    assert "nowhere.wav" in done.stderr and "vast_input_missing" in done.stderr and done.stdout == ""


def test_failure_in_json(vast: Vast) -> None:
    done = vast("extract", "nowhere.mp4", "--json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, ERROR)
    assert document["error"]["exit"] == done.returncode == 66


@pytest.mark.parametrize("name", sorted(schemas()))
def test_schemas_are_valid(name: str, vast: Vast) -> None:
    document = json.loads(vast("schema", name).stdout)
    jsonschema.Draft202012Validator.check_schema(document)


def test_prompt_and_style_exclude_each_other(vast: Vast) -> None:
    done = vast("render", "--audio", "a.wav", "--prompt", "p.mp4", "--style", "p.style")
    assert done.returncode == 78 and "exclude" in done.stderr

"""Options of commands come from one model, with its ranges, defaults and environment variables."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from vast_cli.batch import manifest
from vast_cli.batch.manifest import OPTIONS, JobOptions
from vast_cli.cli.app import build
from vast_cli.cli.options import JobInputs
from vast_cli.cli.parameters import Given, expand
from vast_cli.gates.options import GatedOptions
from vast_cli.pipeline.options import MachineOptions, MotionOptions, OptionModel, effects


@pytest.fixture
def received() -> dict[str, Any]:
    return {}


@pytest.fixture
def app(received: dict[str, Any]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @expand(given=[JobInputs, JobOptions])
    def plan(
        path: Annotated[Path, typer.Argument(help="The manifest.")],
        given: Given,
        workers: Annotated[int, typer.Option(help="Workers.")] = 2,
    ) -> None:
        """An example: vast plan jobs.csv"""
        received.update(path=path, given=given.explicit, workers=workers)

    return app


def run(app: typer.Typer, *words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "NO_COLOR": "1", **environment})


def test_a_command_gets_the_options_of_its_command_line_only(app: typer.Typer, received: dict[str, Any]) -> None:
    result = run(app, "jobs.csv", "--crf", "20", "--no-sidecar", "--prompt", "a b.mp4", "--workers", "3", VAST_SEED="5")
    assert result.exit_code == 0, result.output
    assert received == {
        "path": Path("jobs.csv"), "workers": 3, "given": {"crf": 20, "sidecar": False, "prompt": Path("a b.mp4")},
    }  # fmt: skip


def test_without_options_a_command_gets_none(app: typer.Typer, received: dict[str, Any]) -> None:
    assert run(app, "jobs.csv").exit_code == 0
    assert received["given"] == {}


def test_a_command_shows_the_options_of_a_manifest_and_no_others(app: typer.Typer) -> None:
    text = run(app, "--help").output
    for name in (*OPTIONS, "prompt", "style", "avatar", "preset"):
        assert f"--{name.replace('_', '-')} " in text, name
    assert "--device" not in text and "--audio" not in text and "vast plan jobs.csv" in text


@pytest.mark.parametrize("words", [["--crf", "52"], ["--redraw", "6"], ["--style-strength", "-1"], ["--seed", "x"]])
def test_values_out_of_range_are_a_usage_error(app: typer.Typer, words: list[str]) -> None:
    assert run(app, "jobs.csv", *words).exit_code == 2


def test_options_of_the_command_line_yield_to_cells_of_the_manifest(
    app: typer.Typer, received: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "jobs.csv").write_text("audio,crf\na.wav,\nb.wav,30\n")
    words = ["--crf", "20", "--segment", "1:30", "--codec", "h265", "--style", "s.style", "--allow-silence"]
    assert run(app, str(tmp_path / "jobs.csv"), *words).exit_code == 0
    jobs = manifest.load_manifest(received["path"], command_line=received["given"]).jobs
    assert [job.options["crf"] for job in jobs] == [20, 30]
    assert {job.options["segment"] for job in jobs} == {90.0}
    assert {job.options["codec"] for job in jobs} == {"h265"}
    assert {job.style for job in jobs} == {Path.cwd() / "s.style"}
    assert all(job.options["allow_silence"] for job in jobs)


def test_a_command_may_have_a_context_and_an_option_of_the_same_name() -> None:
    app, calls = typer.Typer(), []

    @app.command()
    @expand(given=[JobInputs, JobOptions])
    def batch(context: typer.Context, given: Given, crf: int = 1) -> None:
        calls.append((context.info_name, given.explicit, crf))

    assert run(app, "--crf", "9", "--seed", "3").exit_code == 0
    assert calls[0][1:] == ({"seed": 3}, 9)


@pytest.mark.parametrize(
    ("command", "models"),
    [
        ("render", [GatedOptions, MachineOptions]),
        ("predict", [MotionOptions]),
        ("batch", [JobOptions]),
        ("plan", [JobOptions]),
    ],
)
def test_every_command_has_the_options_of_its_model(command: str, models: list[type[OptionModel]]) -> None:
    parameters = typer.main.get_command(build([command])).commands[command].params  # type: ignore[attr-defined]
    options = {option.name: option for option in parameters}
    for model in models:
        for name, field in model.model_fields.items():
            default = options[name].default
            assert default is None or type(field.default)(default) == field.default, name
            assert (options[name].envvar or None) == effects(model)[name].env, name


def test_wrong_values_fail_before_the_inputs_are_read(tmp_path: Path) -> None:
    for words, fault in (
        (["--detail", "best"], "--detail"),
        (["--encoder-preset", "x"], "--encoder-preset"),
        (["--segment", "0.2"], "0.2 is less than 1"),
        (["--segment", "soon"], "`soon` is no time"),
        (["--face", "middle"], "`middle` is none of"),
        (["--device", "tpu"], "`tpu` is none of"),
        (["--gate", "sharpnes>=1"], "sharpness"),
    ):
        result = run(build(["render"]), "render", "--audio", str(tmp_path / "absent.wav"), *words)
        assert result.exit_code in (2, 78) and fault in result.output, (words, result.output)

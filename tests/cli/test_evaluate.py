"""`vast evaluate` as its users call it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vast_cli.cli import app as application

Vast = Callable[..., "subprocess.CompletedProcess[str]"]
Ffmpeg = Callable[..., None]


@pytest.fixture(scope="module")
def clip(prompt: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """Two seconds of the example that this project rendered, in a folder with an unhandy name."""
    folder = tmp_path_factory.mktemp("clips") / "a b" / "日本 é'$(x);"
    folder.mkdir(parents=True)
    ffmpeg("-i", prompt, "-t", "2.2", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / "clip.mp4")
    return folder / "clip.mp4"


def refused(done: "subprocess.CompletedProcess[str]", status: int, code: str) -> None:
    """One message, the right exit status, no traceback, nothing on standard output."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert code in done.stderr and "hint:" in done.stderr and "Traceback" not in done.stderr


def test_one_clip_for_people(vast: Vast, clip: Path) -> None:
    done = vast("evaluate", clip, "--reference", clip)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "ssim_mouth" in done.stderr and "ceiling" in done.stderr
    assert "not measured: " in done.stderr and "no_weights" in done.stderr


def test_one_clip_for_programs(vast: Vast, clip: Path) -> None:
    done = vast("evaluate", clip, "--json", "--no-controls", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["measures"]["ssim_mouth"] | {"controls": {}} == document["measures"]["ssim_mouth"]
    assert document["measures"]["ssim_mouth"]["reason"] == "no_reference"
    assert document["measures"]["cpbd"]["value"] > 0
    assert "NaN" not in done.stdout and "Infinity" not in done.stdout


def test_a_folder_with_a_broken_file_goes_on(vast: Vast, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("1.mp4", "2.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "broken.mp4").write_text("no video")
    done = vast("evaluate", folder, "--reference", folder, "--no-controls", "--json")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["set"]["clips"] == 2 and document["set"]["failed"] == 1
    errors = {one["id"]: one["error"] and one["error"]["code"] for one in document["clips"]}
    assert errors == {"1": None, "2": None, "broken": "vast_bad_media"}
    assert document["measures"]["ssim_mouth"]["value"] == pytest.approx(1)


def test_limits(vast: Vast, clip: Path) -> None:
    passes = vast("evaluate", clip, "--no-controls", "--fail-under", "black_frames=0", "--fail-under", "face_lost=0.1")
    assert passes.returncode == 0, passes.stderr
    fails = vast("evaluate", clip, "--no-controls", "--fail-under", "cpbd=1", "--fail-under", "ssim_mouth=0.5")
    assert fails.returncode == 4
    assert "cpbd is " in fails.stderr and "ssim_mouth is not measured: no_reference" in fails.stderr
    assert "vast_gate_failed" in fails.stderr


def test_a_page(vast: Vast, clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "report" / "index.html"
    done = vast("evaluate", clip, "--reference", clip, "--no-controls", "--report", page.parent)
    assert (done.returncode, done.stdout.strip()) == (0, str(page)), done.stderr
    assert "ssim_mouth" in page.read_text("utf-8")
    refused(vast("evaluate", clip, "--report", page.parent), 73, "vast_output_exists")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["gone.mp4"], 66, "vast_input_missing"),
        (["CLIP", "--reference", "gone.mp4"], 66, "vast_input_missing"),
        (["CLIP", "--fail-under", "ssim"], 78, "vast_option_invalid"),
        (["CLIP", "--fail-under", "sim_mouth=1"], 78, "vast_option_invalid"),
        (["TEXT"], 65, "vast_bad_media"),
        (["CLIP", "--reference", "TEXT"], 65, "vast_bad_media"),
        (["CLIP", "--audio", "TEXT"], 65, "vast_bad_media"),
        (["CLIP", "--inception-weights", "TEXT"], 78, "vast_record_invalid"),
        (["CLIP", "--syncnet-weights", "TEXT"], 78, "vast_record_invalid"),
        (["TABLE"], 78, "vast_manifest_invalid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(clip: Path, tmp_path: Path, arguments: list[str], status: int, code: str) -> None:
    text, table = tmp_path / "text.mp4", tmp_path / "table.csv"
    text.write_text("no video")
    table.write_text("outputs\na.mp4\n")
    files = {"CLIP": str(clip), "TEXT": str(text), "TABLE": str(table)}
    done = CliRunner().invoke(
        application.build(["evaluate"]), ["evaluate", *[files.get(word, word) for word in arguments]]
    )
    refused(subprocess.CompletedProcess([], done.exit_code, done.stdout, done.stderr), status, code)

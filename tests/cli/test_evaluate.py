"""`vast evaluate`: table, JSON, limits, report and bad input."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Ffmpeg, Vast


@pytest.fixture(scope="module")
def clip(prompt: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """2.2 s of the example prompt, in a folder whose name needs quoting."""
    folder = tmp_path_factory.mktemp("clips") / "a b" / "日本 é'$(x);"
    folder.mkdir(parents=True)
    ffmpeg("-i", prompt, "-t", "2.2", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / "clip.mp4")
    return folder / "clip.mp4"


def assert_fails(result: "subprocess.CompletedProcess[str]", status: int, code: str) -> None:
    """The command failed with this status and code, gave a hint, showed no traceback and printed no result."""
    assert (result.returncode, result.stdout) == (status, ""), result.stderr
    assert code in result.stderr and "hint:" in result.stderr and "Traceback" not in result.stderr


def test_the_table_shows_figures_controls_and_what_is_not_measured(call_vast: Vast, clip: Path) -> None:
    result = call_vast("evaluate", clip, "--reference", clip)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "ssim_mouth" in result.stderr and "ceiling" in result.stderr
    assert "not measured: " in result.stderr and "no_weights" in result.stderr


def test_json_has_every_measure_or_the_reason_why_not(call_vast: Vast, clip: Path) -> None:
    result = call_vast("evaluate", clip, "--json", "--no-controls", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["measures"]["ssim_mouth"] | {"controls": {}} == document["measures"]["ssim_mouth"]
    assert document["measures"]["ssim_mouth"]["reason"] == "no_reference"
    assert document["measures"]["cpbd"]["value"] > 0
    assert "NaN" not in result.stdout and "Infinity" not in result.stdout


def test_a_broken_file_does_not_stop_the_others(call_vast: Vast, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("1.mp4", "2.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    (folder / "broken.mp4").write_text("no video")
    result = call_vast("evaluate", folder, "--reference", folder, "--no-controls", "--workers", "1", "--json")
    assert result.returncode == 3, result.stderr
    document = json.loads(result.stdout)
    assert document["set"]["clips"] == 2 and document["set"]["failed"] == 1
    errors = {row["id"]: row["error"] and row["error"]["code"] for row in document["clips"]}
    assert errors == {"1": None, "2": None, "broken": "vast_bad_media"}
    assert document["measures"]["ssim_mouth"]["value"] == pytest.approx(1)


def test_fail_under_names_each_missed_limit(call_vast: Vast, clip: Path) -> None:
    passes = call_vast(
        "evaluate", clip, "--no-controls", "--fail-under", "black_frames=0", "--fail-under", "face_lost=0.1"
    )
    assert passes.returncode == 0, passes.stderr
    fails = call_vast("evaluate", clip, "--no-controls", "--fail-under", "cpbd=1", "--fail-under", "ssim_mouth=0.5")
    assert fails.returncode == 4
    assert "cpbd is " in fails.stderr and "ssim_mouth is not measured: no_reference" in fails.stderr
    assert "vast_gate_failed" in fails.stderr


def test_the_report_is_not_overwritten(call_vast: Vast, clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "report" / "index.html"
    result = call_vast("evaluate", clip, "--reference", clip, "--no-controls", "--report", page.parent)
    assert (result.returncode, result.stdout.strip()) == (0, str(page)), result.stderr
    assert "ssim_mouth" in page.read_text("utf-8")
    assert_fails(call_vast("evaluate", clip, "--report", page.parent), 73, "vast_output_exists")


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
def test_bad_input(call_vast: Vast, clip: Path, tmp_path: Path, arguments: list[str], status: int, code: str) -> None:
    text, table = tmp_path / "text.mp4", tmp_path / "table.csv"
    text.write_text("no video")
    table.write_text("outputs\na.mp4\n")
    files = {"CLIP": str(clip), "TEXT": str(text), "TABLE": str(table)}
    assert_fails(call_vast("evaluate", *[files.get(word, word) for word in arguments]), status, code)

"""`vast predict`: motion or curves by suffix and format, and refusals before any work."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ffmpeg, Vast
from vast_cli import records
from vast_cli.face.blendshapes import NAMES


@pytest.fixture(scope="module")
def second(speech: Path, ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of speech."""
    path = tmp_path_factory.mktemp("audio") / "a b é.wav"
    ffmpeg("-i", speech, "-ss", "0.5", "-t", "1", path)
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="ascii", newline="") as file:
        return list(csv.reader(file))


def test_the_suffix_decides_the_format(second: Path, call_vast: Vast, work: Path) -> None:
    for name in ("a.motion", "a.csv", "a.json", "a.npz"):
        result = call_vast("predict", "--audio", second, "-o", name)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == name
    motion = records.load(records.Motion, work / "a.motion")
    document = json.loads((work / "a.json").read_text("utf-8"))
    with np.load(work / "a.npz") as arrays:
        weights = arrays["weights"]
    assert len(motion.expression) == len(weights) == document["n_frames"] == 25
    assert np.allclose(document["frames"], weights, atol=1e-6)
    assert np.allclose(np.array([row[2:54] for row in rows(work / "a.csv")[1:]], float), weights, atol=1e-6)
    assert document["audio"] == "a b é.wav" and document["avatar"] == "obama" and document["style"] is None
    assert weights[:, NAMES.index("jawOpen")].std() > 0.01  # it speaks
    assert {path.name for path in work.iterdir()} == {"a.motion", "a.csv", "a.json", "a.npz"}


def test_the_format_decides_the_name_and_the_rate_the_rows(second: Path, call_vast: Vast, work: Path) -> None:
    result = call_vast("predict", "--audio", second, "--format", "csv", "--fps", "60", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["curves"] == "a b é.csv" and document["format"] == "csv"
    assert (document["fps"], document["n_frames"]) == (60, 60)
    assert len(rows(work / "a b é.csv")) == 61


def test_curves_are_overwritten_only_if_asked(second: Path, call_vast: Vast, work: Path) -> None:
    (work / "a.csv").write_text("mine", encoding="utf-8")
    result = call_vast("predict", "--audio", second, "-o", "a.csv")
    assert result.returncode == 73 and "vast_output_exists" in result.stderr
    assert (work / "a.csv").read_text("utf-8") == "mine"
    assert call_vast("predict", "--audio", second, "-o", "a.csv", "--overwrite").returncode == 0
    assert len(rows(work / "a.csv")) == 26


@pytest.mark.parametrize(
    ("words", "status", "fault"),
    [
        (["-o", "a.json", "--format", "csv"], 78, "no name of a csv file"),
        (["-o", "a.csv", "--format", "motion"], 78, "no name of a motion file"),
        (["-o", "a.fbx"], 78, "does not end in .motion, .csv, .json, .npz"),
        (["-o", "a", "--format", "npz"], 78, "does not end in"),
        (["--fps", "60"], 78, "motion always has 25 frames a second"),
        (["-o", "a.motion", "--fps", "25"], 78, "motion always has 25 frames a second"),
        (["-o", "a.csv", "--fps", "0"], 2, "--fps"),
        (["-o", "a.csv", "--fps", "500"], 2, "--fps"),
        (["-o", "a.csv", "--fps", "nan"], 2, "--fps"),
        (["-o", "a.csv", "--fps", "fast"], 2, "--fps"),
        (["--format", "fbx"], 2, "--format"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_audio_is_read(
    words: list[str], status: int, fault: str, call_vast: Vast, work: Path
) -> None:
    result = call_vast("predict", "--audio", "absent.wav", *words)
    assert result.returncode == status and fault in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert list(work.iterdir()) == []

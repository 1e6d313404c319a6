"""`vast render --gate`: only a video that passes its gates gets its name."""

import json
from pathlib import Path

import pytest

from tests.conftest import Ffmpeg, Vast

QUICK = ("--detail", "mesh", "--encoder-preset", "ultrafast", "--sidecar")


@pytest.fixture(scope="module")
def audio(speech: Path, ffmpeg: Ffmpeg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 s of the example."""
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    ffmpeg("-i", speech, "-t", "1.6", path)
    return path


def test_a_video_that_fails_a_gate_is_rejected(call_vast: Vast, audio: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    gates = "frames=exact,face_lost<=0.5"
    good = call_vast("render", "--audio", audio, *QUICK, "--gate", gates, "-o", folder / "a.mp4", "--json")
    assert good.returncode == 0, good.stderr
    document = json.loads(good.stdout)
    assert document["output"] == str(folder / "a.mp4") and document["gates"] == {"frames": 0.0, "face_lost": 0.0}
    assert json.loads((folder / "a.mp4.json").read_text())["output"]["file"] == "a.mp4"

    bad = call_vast("render", "--audio", audio, *QUICK, "--gate", "face_lost<=0,sharpness>=9", "-o", folder / "b.mp4")
    assert bad.returncode == 4 and "vast_gate_failed" in bad.stderr and "b.rejected.mp4" in bad.stderr
    assert bad.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.mp4", "a.mp4.json", "b.rejected.mp4", "b.rejected.mp4.json",
    ]  # fmt: skip


def test_an_unknown_gate_fails_before_the_render(call_vast: Vast, audio: Path, tmp_path: Path) -> None:
    result = call_vast("render", "--audio", audio, "--gate", "sharpnes>=0.9", "-o", tmp_path / "out" / "a.mp4")
    assert result.returncode == 78 and "did you mean `sharpness`?" in result.stderr
    assert not (tmp_path / "out").exists()

"""`vast render --gate`: the name is given only to what reaches the limits."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Vast = Callable[..., "subprocess.CompletedProcess[str]"]
QUICK = ("--detail", "mesh", "--encoder-preset", "ultrafast", "--sidecar")


def test_a_result_below_a_limit_is_rejected(vast: Vast, speech: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    good = vast(
        "render", "--audio", speech, *QUICK, "--gate", "frames=exact,face_lost<=0.5", "-o", folder / "a.mp4", "--json"
    )
    assert good.returncode == 0, good.stderr
    told = json.loads(good.stdout)
    assert told["output"] == str(folder / "a.mp4") and told["gates"] == {"frames": 0.0, "face_lost": 0.0}
    assert json.loads((folder / "a.mp4.json").read_text())["output"]["file"] == "a.mp4"

    bad = vast("render", "--audio", speech, *QUICK, "--gate", "face_lost<=0,sharpness>=9", "-o", folder / "b.mp4")
    assert bad.returncode == 4 and "vast_gate_failed" in bad.stderr and "b.rejected.mp4" in bad.stderr
    assert bad.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.mp4", "a.mp4.json", "b.rejected.mp4", "b.rejected.mp4.json",
    ]  # fmt: skip


def test_a_gate_that_is_none_is_told_before_work(vast: Vast, speech: Path, tmp_path: Path) -> None:
    run = vast("render", "--audio", speech, "--gate", "sharpnes>=0.9", "-o", tmp_path / "a.mp4")
    assert run.returncode == 78 and "did you mean `sharpness`?" in run.stderr

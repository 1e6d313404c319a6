"""An interrupted `vast render` keeps its finished segments, and the same command continues from them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Ffmpeg, Vast
from vast_cli import media


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_keeps_segments_and_the_same_command_continues(
    call_vast: Vast, work: Path, speech: Path, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    cache = tmp_path / "cache 日本 é'$(x);"
    ffmpeg("-stream_loop", 2, "-i", speech, "-t", 10, "-ar", "16000", work / "long.wav")
    arguments = [
        "render", "--audio", "long.wav", "-o", "o.mp4", "--detail", "mesh", "--segment", "3.84",
        "--encoder-preset", "ultrafast", "--threads", "1", "--cache", str(cache),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    first = subprocess.Popen(
        [sys.executable, "-m", "vast_cli", *arguments], cwd=work, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(cache.glob("parts/*/00000.json")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    _, message = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "finished segments are kept" in message and "interrupted" in message
    assert [path.name for path in work.iterdir()] == ["long.wav"]

    second = call_vast(*arguments)
    assert second.returncode == 0, second.stderr
    assert re.search(r"continued after [12] finished segments? of an interrupted render", second.stderr)
    assert second.stdout == "o.mp4\n"
    with media.VideoReader(work / "o.mp4") as reader:
        assert sum(1 for _ in reader) == 250
    assert not (cache / "parts").exists()

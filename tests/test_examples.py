"""The commands of `examples/commands.sh` run as written and leave the files that they name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema

from tests.conftest import ROOT, Ffmpeg
from vast_cli import media, records

N_FRAMES = 20  # 0.8 s of the 4 s of speech: four videos are rendered


def count_frames(video: Path) -> int:
    with media.VideoReader(video) as reader:
        return sum(1 for _ in reader)


def test_commands_run_as_written(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    examples, work = tmp_path / "examples", tmp_path / "work"
    examples.mkdir()
    work.mkdir()
    for name in ("commands.sh", "prompt.mp4"):
        shutil.copy(ROOT / "examples" / name, examples)
    ffmpeg("-i", ROOT / "examples" / "speech.flac", "-ss", "0.5", "-t", N_FRAMES / 25, examples / "speech.flac")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(examples / "commands.sh")]
    result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=290)
    assert result.returncode == 0, result.stderr
    for name in ("spoken.mp4", "lively.mp4", "draft.mp4"):
        assert count_frames(work / name) == N_FRAMES, name
    assert count_frames(work / "seen.mp4") == count_frames(examples / "prompt.mp4")
    assert records.load(records.Motion, work / "speech.motion").expression.shape == (N_FRAMES, records.N_EXPRESSION)
    assert records.load(records.Posteriorgram, work / "speech.ppg").values.shape == (2 * N_FRAMES, records.N_PHONES)
    assert records.load(records.Style, work / "lively.style").source == "prompt.mp4"
    sidecar = json.loads((work / "spoken.mp4.json").read_text())
    jsonschema.validate(sidecar, json.loads((work / "sidecar.schema.json").read_text()))
    assert sidecar["inputs"]["prompt"]["name"] == "prompt.mp4"
    assert json.loads((work / "result.json").read_text())["n_frames"] == N_FRAMES
    assert not list(work.glob(".*part*"))

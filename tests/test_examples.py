"""The commands of `examples/commands.sh` run as written, and what they leave is what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema

from tests.conftest import ROOT
from vast_cli import media


def test_commands_run_as_written(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(ROOT / "examples" / "commands.sh")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr
    for name in ("spoken.mp4", "lively.mp4", "draft.mp4", "seen.mp4"):
        with media.VideoReader(tmp_path / name) as reader:
            assert sum(1 for _ in reader) == reader.n_frames > 50
    sidecar = json.loads((tmp_path / "spoken.mp4.json").read_text())
    jsonschema.validate(sidecar, json.loads((tmp_path / "sidecar.schema.json").read_text()))
    assert sidecar["inputs"]["prompt"]["name"] == "prompt.mp4"
    assert json.loads((tmp_path / "result.json").read_text())["n_frames"] > 50
    assert not list(tmp_path.glob(".*part*"))

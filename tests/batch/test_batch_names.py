"""Names that break shells, options and file systems, in inputs, outputs, state and cache; and no shell anywhere."""

import ast
import json
import shutil
from pathlib import Path

from tests.batch.workspace import QUICK, ROOT, Workspace

NAMES = ["-rf $(x) `y`; '日本' \"%s\" #1.wav", "é" * 60 + ".wav", "نص‎ &|<>*?.wav"]
MANIFEST = "-jobs 'a' $(b).csv"
OUTPUTS, STATE, EVENTS, CACHE = "out '%d' $(z)", "state; $(q)", "e $(x).jsonl", "cache $(x) '%d'"


def test_a_batch_with_names_that_break_shells(workspace: Workspace) -> None:
    workspace.cache = workspace.folder / CACHE
    for name, clip in zip(NAMES, workspace.audio_clips(len(NAMES)), strict=True):
        shutil.move(clip, workspace.folder / name)
    workspace.write_manifest([{"audio": name} | QUICK for name in NAMES], MANIFEST)
    where = ("-o", f"{OUTPUTS}/{{audio}}.mp4", "--state", STATE)
    options = ("--workers", "1", "--gate", "face_lost<=0.5", "--events", EVENTS, "--json")
    run = workspace.vast("batch", *where, *options, "--", MANIFEST)
    assert run.returncode == 0, run.stderr
    made = [Path(path) for path in json.loads(run.stdout)["outputs"]]
    assert sorted(path.stem for path in made) == sorted(Path(name).stem for name in NAMES)
    assert all(path.is_file() and path.parent == workspace.folder / OUTPUTS for path in made)

    report = json.loads((workspace.folder / STATE / "report.json").read_text(encoding="utf-8"))
    assert {Path(job["output"]) for job in report["jobs"]} == set(made) and report["counts"]["done"] == len(NAMES)
    assert "<title>Batch -jobs" in (workspace.folder / STATE / "report.html").read_text(encoding="utf-8")
    events = [json.loads(line) for line in (workspace.folder / EVENTS).read_text(encoding="utf-8").splitlines()]
    assert {event["output"] for event in events if event["event"] == "job_done"} == set(map(str, made))

    plan = workspace.vast("plan", *where, "--", MANIFEST)
    assert plan.returncode == 0 and "3 to skip" in plan.stdout + plan.stderr
    folders = {entry.name for entry in workspace.folder.iterdir() if entry.is_dir()}
    assert folders == {"audio", OUTPUTS, STATE, CACHE}


def test_no_shell_anywhere() -> None:
    """Processes are started from lists of words, in no other way."""
    shells = []
    for path in sorted((ROOT / "vast_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                shells.append(f"{path.name}:{node.value.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in ("system", "popen", "getoutput", "getstatusoutput"):
                is_platform = isinstance(node.value, ast.Name) and node.value.id == "platform"
                shells += [] if is_platform else [f"{path.name}:{node.lineno}"]
    assert not shells

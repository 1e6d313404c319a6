"""Names that break shells, options and file systems, in inputs, outputs, state and cache; and no shell anywhere."""

import ast
import json
import shutil
from pathlib import Path

from tests.batch.batches import QUICK, ROOT, World

NAMES = ["-rf $(x) `y`; '日本' \"%s\" #1.wav", "é" * 60 + ".wav", "نص‎ &|<>*?.wav"]


def test_names_that_break_things(world: World) -> None:
    world.cache = world.folder / "cache $(x) '%d'"
    rows = []
    for name, sound in zip(NAMES, world.sounds(len(NAMES)), strict=True):
        shutil.move(sound, world.folder / name)
        rows.append({"audio": name} | QUICK)
    world.manifest(rows, "-jobs 'a' $(b).csv")
    arguments = (
        "-o",
        "out '%d' $(z)/{audio}.mp4",
        "--workers",
        "1",
        "--state",
        "state; $(q)",
        "--gate",
        "face_lost<=0.5",
    )
    run = world.vast("batch", *arguments, "--events", "e $(x).jsonl", "--json", "--", "-jobs 'a' $(b).csv")
    assert run.returncode == 0, run.stderr
    made = [Path(path) for path in json.loads(run.stdout)["outputs"]]
    assert sorted(path.stem for path in made) == sorted(Path(name).stem for name in NAMES)
    assert all(path.is_file() and path.parent == world.folder / "out '%d' $(z)" for path in made)
    assert (world.folder / "state; $(q)" / "report.html").is_file() and (world.folder / "e $(x).jsonl").is_file()
    again = world.vast("plan", "-o", arguments[1], "--state", arguments[5], "--", "-jobs 'a' $(b).csv")
    assert again.returncode == 0 and "3 to skip" in again.stdout + again.stderr
    assert {entry.name for entry in world.folder.iterdir() if entry.is_dir()} == {
        "sound", "out '%d' $(z)", "state; $(q)", "cache $(x) '%d'",
    }  # fmt: skip


def test_no_shell_anywhere() -> None:
    """Processes are started from lists of words, in no other way."""
    found = []
    for path in sorted((ROOT / "vast_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{path.name}:{node.value.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in ("system", "popen", "getoutput", "getstatusoutput"):
                is_platform = isinstance(node.value, ast.Name) and node.value.id == "platform"
                found += [] if is_platform else [f"{path.name}:{node.lineno}"]
    assert not found

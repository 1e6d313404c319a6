"""Claims that the code makes about itself, checked on its syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vast_cli"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules and names that a module imports: `a.b` of `import a.b` and of `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """Functions of modules that a module uses: `os.fork`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


# --- processes -------------------------------------------------------------------------------------------------------

STARTERS = (
    "subprocess",
    "multiprocessing",
    "torch.multiprocessing",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.process",
    "asyncio.subprocess",
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "pty",
)
PIPES = "multiprocessing.connection"  # the other end of a worker's pipe; starts nothing
OS_STARTERS = ("exec", "spawn", "posix_spawn", "fork", "system", "popen", "startfile")
PROCESS_MODULES = {
    "core/process.py": {"subprocess", "os.killpg"},  # programs
    "batch/execution/local_executor.py": {"multiprocessing"},  # workers of a batch
    "batch/execution/ray_cluster.py": {"os.kill"},  # ends workers that Ray started
    "evaluate/engine.py": {"multiprocessing", "concurrent.futures"},  # workers of an evaluation
}


def process_uses(tree: ast.AST) -> set[str]:
    """What a module uses to start or end processes."""
    names = {name for name in imported(tree) if not name.startswith(PIPES)}
    found = {name for name in names if any(name == starter or name.startswith(f"{starter}.") for starter in STARTERS)}
    for name in {*imported(tree), *called(tree)}:
        module, _, function = name.rpartition(".")
        if module == "os" and (function.startswith(OS_STARTERS) or function in ("kill", "killpg")):
            found.add(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_processes_are_started_and_ended_in_one_place(module: str) -> None:
    allowed = PROCESS_MODULES.get(module, set())
    for use in process_uses(MODULES[module]):
        assert any(use == name or use.startswith(f"{name}.") for name in allowed), f"{module} uses {use}"


def test_every_module_on_the_list_needs_its_place_there() -> None:
    for module, allowed in PROCESS_MODULES.items():
        uses = process_uses(MODULES[module])
        for name in allowed:
            assert any(use == name or use.startswith(f"{name}.") for use in uses), f"{module} does not use {name}"


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess",
        "from subprocess import run",
        "import multiprocessing.pool",
        "from concurrent.futures import ProcessPoolExecutor",
        "import os\nos.fork()",
        "import os\nos.execvp('a', ['a'])",
        "import os\nos.system('a')",
        "from os import popen",
    ],
)
def test_the_scan_sees_every_way_to_start_a_process(text: str) -> None:
    assert process_uses(ast.parse(text))

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


# --- time ------------------------------------------------------------------------------------------------------------

TIMEBASE = "core/timebase.py"
TIME_NAMES = {
    "FPS",
    "FRAME_S",
    "HALF_FRAME_S",
    "PPG_PER_FRAME",
    "PPG_RATE",
    "PPG_SHIFT",
    "PPG_WINDOW",
    "SAMPLES_PER_FRAME",
    "SAMPLE_RATE",
    "SAMPLE_S",
}
TIME_NUMBERS = {25, 50, 16_000, 640, 320, 0.04, 0.02}
# products and quotients of these numbers that convert no time, with what they are
OTHER_MEANINGS = {
    "evaluate/compare/audio.py": {"timebase.SAMPLES_PER_FRAME // 2": "half a frame, as a bound"},
    "evaluate/external/mfcc.py": {
        "SAMPLE_RATE / 2": "highest frequency of the filter bank",
        "(N_FFT + 1) * corners / SAMPLE_RATE": "frequencies to bins of a spectrum",
    },
    "evaluate/measures/diversity.py": {"FPS / 2": "highest frequency of a filter"},
    "evaluate/study/clips.py": {"width / 320": "pixels"},
    "speech/filterbank.py": {"2.0 * np.pi * np.arange(WINDOW) / WINDOW": "phase of a Hann window"},
    "sync/audio.py": {"SAMPLES_PER_FRAME // HOP": "log-mel frames of LagSync, 100 a second, in a video frame"},
    "training/acoustic/batches.py": {
        "2 * np.pi * hz * np.arange(n) / SAMPLE_RATE": "phase of a tone",
        "SAMPLE_RATE / 2": "highest frequency of audio",
    },
    "training/lagsync/batches.py": {"len(x) // 25": "log-mel frames of 10 ms"},
    "training/renderer/generator.py": {"(done + 0.005) / 0.02": "share of the training time"},
    "training/style/batches.py": {
        "0.02 * random.standard_normal(prompt.shape).astype(np.float32)": "level of noise",
    },
}


def time_aliases(tree: ast.AST) -> set[str]:
    """Names that stand for a rate or length of the time base in a module: its own names and those it imports."""
    names = set(TIME_NAMES)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("timebase"):
            names |= {alias.asname for alias in node.names if alias.asname and alias.name in TIME_NAMES}
    return names


def time_arithmetic(tree: ast.AST) -> set[str]:
    """Products and quotients with a rate or length of the time base, by name or number."""
    names = time_aliases(tree)

    def is_time(node: ast.expr) -> bool:
        if isinstance(node, ast.Constant):
            return type(node.value) in (int, float) and node.value in TIME_NUMBERS
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        return name in names

    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv)
        and (is_time(node.left) or is_time(node.right))
    }


@pytest.mark.parametrize("module", MODULES)
def test_only_timebase_converts_samples_and_frames(module: str) -> None:
    if module != TIMEBASE:
        assert time_arithmetic(MODULES[module]) <= set(OTHER_MEANINGS.get(module, {}))


def test_every_other_meaning_still_occurs() -> None:
    for module, meanings in OTHER_MEANINGS.items():
        assert set(meanings) <= time_arithmetic(MODULES[module]), module


@pytest.mark.parametrize(
    "text",
    [
        "n / FPS",
        "timebase.SAMPLE_RATE * seconds",
        "-(-n // 320)",
        "0.04 * k",
        "from vast_cli.core.timebase import PPG_SHIFT as SHIFT\nn * SHIFT",
    ],
)
def test_the_scan_sees_every_conversion(text: str) -> None:
    assert time_arithmetic(ast.parse(text))

"""Whether a change of the code leaves every output as it was, byte for byte.

Makes one of each kind of output from the shipped example - track, posteriorgram, style, motion, renders (with a prompt,
with a style file, in segments, as a mesh, in H.265) and a batch - and prints their SHA-256. Run it in two checkouts
and compare:

    python benchmarks/same_bytes.py --output before.json        # in the old checkout
    python benchmarks/same_bytes.py --compare before.json       # in the new one; exit status 1 if anything differs

`vast` is run as `python -m vast_cli` in the working directory, so the installed version does not matter.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
COMMANDS = {  # name of the output -> arguments of `vast`
    "speech.ppg": ["ppg", "{audio}", "-o", "speech.ppg"],
    "prompt.track": ["extract", "{prompt}", "-o", "prompt.track"],
    "prompt.style": ["encode-style", "{prompt}", "-o", "prompt.style"],
    "speech.motion": ["predict", "--audio", "{audio}", "--style", "prompt.style", "-o", "speech.motion"],
    "prompt.mp4": ["render", "--audio", "{audio}", "--prompt", "{prompt}", "-o", "prompt.mp4", "--threads", "1"],
    "strength.mp4": [
        "render", "--audio", "{audio}", "--style", "prompt.style", "--style-strength", "1.5", "--seed", "3",
        "--threads", "1", "-o", "strength.mp4",
    ],
    "segments.mp4": [
        "render", "--audio", "{audio}", "--style", "prompt.style", "--segment", "4", "--threads", "1", "-o",
        "segments.mp4",
    ],
    "draft.mp4": ["render", "--audio", "{audio}", "--preset", "draft", "--threads", "1", "-o", "draft.mp4"],
    "h265.mp4": [
        "render", "--audio", "{audio}", "--preset", "draft", "--codec", "h265", "--threads", "1", "-o", "h265.mp4",
    ],
    "batch/a.mp4 batch/b.mp4 batch/c.mp4": ["batch", "jobs.csv", "-o", "batch/{{id}}.mp4", "--workers", "1"],
}  # fmt: skip
JOBS = """id,audio,prompt,style,preset,seed
a,{audio},{prompt},,standard,0
b,{audio},,prompt.style,draft,7
c,{audio},,,draft,0
"""


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every output by name."""
    inputs = {name: str(EXAMPLES / file) for name, file in (("audio", "speech.flac"), ("prompt", "prompt.mp4"))}
    (folder / "jobs.csv").write_text(JOBS.format(**inputs), encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
        "VAST_CACHE": str(folder / "cache"),
    }
    found = {}
    for names, arguments in COMMANDS.items():
        command = [sys.executable, "-m", "vast_cli", *(word.format(**inputs) for word in arguments)]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        for name in names.split():
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            print(f"{found[name][:16]}  {name}", flush=True)
    return found


def main() -> None:
    """Print the hashes; compare them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the hashes")
    parser.add_argument("--compare", type=Path, help="JSON file of another checkout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = hashes(Path(folder))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.compare:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        different = [name for name in before | found if before.get(name) != found.get(name)]
        print(f"different: {', '.join(different)}" if different else f"all {len(found)} outputs are the same bytes")
        sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()

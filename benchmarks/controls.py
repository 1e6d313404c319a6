"""Do the measures order their controls as they must? Val clips of people who speak, each against itself.

    python benchmarks/controls.py --corpus ../shared/data/video [--clips 23] [--table tests/evaluate/controls.md]

Output and reference are the same file, so that only the controls differ. A measure whose controls are out of order on
these clips is marked; the share of single clips that are in order says whether it may be trusted on one clip.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from synced import put_in_sync

from vast_cli.evaluate import engine
from vast_cli.evaluate.manifest import with_other_audio
from vast_cli.evaluate.measures import registry
from vast_cli.evaluate.measures.spec import in_order
from vast_cli.evaluate.observation.clip import Pair
from vast_cli.training.corpora import read_index

HEAD = """# Controls of the measures

{n} val clips of `talk/` and `grid/` ({frames} frames), each against itself: `python benchmarks/controls.py`. A row's
chains must ascend; `set` says whether the means over the clips do, `clips` on how many single clips they do. Where a
set is out of order the measure is not valid there, and `vast evaluate` says so by itself.

| measure | must ascend | set | clips | means |
| --- | --- | --- | --- | --- |
"""


def main() -> None:
    """Read the options, measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/video"))
    parser.add_argument("--clips", type=int, default=1000, help="at most so many")
    parser.add_argument("--sets", default="talk,grid")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", type=Path, help="write the table here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chosen = pairs(options.corpus, options.clips, options.sets.split(","), Path(folder))
        document = engine.evaluate(chosen, engine.Settings(threads=1), workers=options.workers)
    text = table(document)
    print(text)
    if options.table is not None:
        options.table.write_text(text, encoding="utf-8")


def pairs(corpus: Path, limit: int, sets: list[str], folder: Path) -> list[Pair]:
    """Val clips with audio, put in sync, without those whose sync the corpus doubts."""
    rows = [
        row
        for row in read_index(corpus)
        if row.split == "val" and row.set in sets and row.has_audio and row.sync_ok is not False
    ]
    clips = []
    for row in rows[:limit]:
        clip = put_in_sync(row, folder)
        clips.append(Pair(row.key, clip, clip, speaker=row.speaker))
    return with_other_audio(clips)


def table(document: dict[str, Any]) -> str:
    """The table in Markdown."""
    text = HEAD.format(n=document["set"]["clips"], frames=document["set"]["frames"])
    for name, spec in registry.SPECS.items():
        entry = document["measures"][name]
        if not spec.order or not entry["controls"]:
            continue
        ordered = []
        for clip in document["clips"]:
            reading = clip["measures"].get(name)
            if reading is not None and reading["value"] is not None:
                value = reading["value"]
                ordered.append(in_order(spec, {"real": value, **reading["controls"], "made": value}))
        share = f"{ordered.count(True)}/{len(ordered) - ordered.count(None)}" if ordered else "-"
        chains = "; ".join(" < ".join(chain) for chain in spec.order)
        means = ", ".join(
            f"{key} {value if abs(value) > 1e-9 else 0:.3g}"
            for key, value in entry["controls"].items()
            if value is not None
        )
        verdict = {True: "in order", False: "**out of order**", None: "-"}[entry["valid"]]
        text += f"| `{name}` | {chains} | {verdict} | {share} | {means} |\n"
    return text


if __name__ == "__main__":
    main()

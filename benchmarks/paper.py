"""Tables 2 and 3 of the paper with this implementation: diversity and lips of the model, variants and baselines.

    python benchmarks/paper.py --corpus ../shared/data/video --tracks build/tracks --models build/paper [-o FILE]

`--models` holds one style model a variant and seed, `NAME-SEED.safetensors`, made by

    for name in vast no-flow no-enhancer no-style no-ar style-avatar nvp; do
      for seed in 0 1 2; do
        vast train style --variant $name --steps 600 --seed $seed --corpus ../shared/data/video \\
          --work build/paper/$name-$seed -o build/paper/$name-$seed.safetensors
      done
    done

Prompts: first halves of unseen people's clips, one a person (split `val`); the audio is of other people. Dvt is the
mean distance of pairs of frames within 3 s, mesh units (canonical; outer eyes are 8.89 apart), low-passed at 8 Hz.
`Ori` is the footage of the avatar `obama`, `Prompt` the prompts' own motion. The interval is a 95 % bootstrap over
prompts, `seeds` the range of the means over the seeds that are there.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import style_figures as figures
import torch
from style_clips import (
    Clip,
    Models,
    choose_audio,
    choose_people,
    encode,
    load_tracked,
    rows_of_split,
    speak,
    speak_part,
    with_speech,
)

from vast_cli import records
from vast_cli.core.arrays import Float32
from vast_cli.face.model import FaceModel
from vast_cli.records import N_STRONG, FaceTrack

TABLE_3 = ("vast", "no-flow", "no-enhancer", "no-style", "no-ar")
BASELINES = ("nvp", "style-avatar")
ORIGINAL = ("avatar__obama", "avatar__obama_long", "avatar__obama_desk")
FRAMES = 150
PARTS = {"X": slice(None), "X^st": slice(0, N_STRONG), "X^wk": slice(N_STRONG, None)}

Report = dict[str, Any]


@dataclass(frozen=True)
class Expressive:
    """Which prompts move most: the third with the largest Dvt of X^st."""

    index: list[int]


def main() -> None:
    """Read the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of NAME-SEED.safetensors")
    parser.add_argument("--cache", type=Path, default=Path("build/style"), help="of posteriorgrams")
    parser.add_argument("-o", "--output", type=Path, help="write all figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    face = FaceModel.load()
    clips = with_speech(load_tracked(rows_of_split(options.corpus, "val"), options.tracks, face), options.cache)
    people, audios = choose_people(clips), choose_audio(clips, n_frames=FRAMES, count=6)
    report: Report = {"people": len(people), "audios": len(audios)}
    prompts = np.array([dvt(clip.expression(clip.halves[0])) for clip in people])
    expressive = Expressive(list(np.argsort(-prompts[:, 1])[: len(people) // 3]))
    report["Prompt"] = table_row(prompts, expressive)
    report["Ori"] = original(options.tracks, face)
    for name in (*BASELINES, *TABLE_3):
        runs = [measure(Models.load(path), people, audios, clips, expressive) for path in seeds(options.models, name)]
        if runs:
            report[name] = over_seeds(runs)
    print_report(report)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def seeds(folder: Path, name: str) -> list[Path]:
    """The models of a variant, one a seed."""
    return sorted(path for path in folder.glob(f"{name}-*.safetensors") if path.stem.rsplit("-", 1)[0] == name)


def dvt(expression: Float32) -> list[float]:
    """Dvt of X, X^st and X^wk."""
    return [figures.variation(expression[:, part]) for part in PARTS.values()]


def table_row(values: figures.Array, expressive: Expressive) -> Report:
    """Means over prompts with their intervals, `values` [n, 3]."""
    row: Report = {}
    for k, name in enumerate(PARTS):
        row[name] = figures.estimate(lambda v: float(np.mean(v)), values[:, k])
        row[f"{name} expressive"] = figures.estimate(lambda v: float(np.mean(v)), values[expressive.index, k])
    return row


def original(tracks: Path, face: FaceModel) -> Report:
    """Dvt of the avatar's own footage."""
    found = [tracks / f"{name}.track" for name in ORIGINAL]
    clips = [records.load(FaceTrack, path, model_hash=face.hash) for path in found if path.is_file()]
    values = np.array([dvt(clip.expression[clip.valid]) for clip in clips])
    return {name: {"value": float(values[:, k].mean())} for k, name in enumerate(PARTS)}


def measure(
    models: Models, people: list[Clip], audios: list[Clip], clips: list[Clip], expressive: Expressive
) -> Report:
    """The row of one model: diversity, and r of the lip gap on the clips' own audio."""
    rows = []
    for clip in people:
        vector = encode(clip, models, clip.halves[0])
        made = [speak(a.ppg, vector, models, FRAMES) for a in audios if a.row.speaker != clip.row.speaker and a.ppg]
        rows.append(np.mean([dvt(x) for x in made], axis=0))
    r = list(lip_correlations(models, [c for c in clips if c.row.set == "talk" and c.in_sync and c.ppg is not None]))
    return table_row(np.array(rows), expressive) | {"lip r": figures.estimate(lambda v: float(np.mean(v)), np.array(r))}


def lip_correlations(models: Models, clips: list[Clip]) -> Iterator[float]:
    """r of the lip gap of second halves in the style of the first."""
    for clip in clips:
        first, second = clip.halves
        if clip.ppg is None:
            continue
        made = speak_part(clip.ppg, encode(clip, models, first), models, second, clip.n)
        seen = clip.track.valid[second]
        pair = (made, clip.track.expression[second])
        gaps = [models.face.lip_gap(clip.track.identity, x)[seen].astype(np.float64) for x in pair]
        yield figures.correlation(*gaps)


def over_seeds(runs: list[Report]) -> Report:
    """Means over seeds; the interval is that of the first run, moved to the mean."""
    result: Report = {"seeds": len(runs)}
    for name in runs[0]:
        values = [run[name]["value"] for run in runs]
        first, mean = runs[0][name], float(np.mean(values))
        result[name] = {
            "value": mean,
            "low": first["low"] + mean - first["value"],
            "high": first["high"] + mean - first["value"],
            "least": min(values),
            "most": max(values),
        }
    return result


def print_report(report: Report) -> None:
    """Both tables as Markdown."""
    print(f"{report['people']} prompts of unseen people, {report['audios']} audio clips")
    for title, names, columns in (
        ("Table 2", ("Ori", "nvp", "style-avatar", "vast", "Prompt"), ("X", "X^st", "X expressive", "X^st expressive")),
        ("Table 3", TABLE_3, ("X", "X^st", "X^wk", "lip r")),
    ):
        print(f"\n{title}\n| | seeds | " + " | ".join(columns) + " |\n| --- |" + " --- |" * (len(columns) + 1))
        for name in names:
            if name in report:
                cells = [cell(report[name].get(column)) for column in columns]
                print(f"| {name} | {report[name].get('seeds', '-')} | " + " | ".join(cells) + " |")


def cell(figure: dict[str, float] | None) -> str:
    """`3.91 (3.70-4.12), seeds 3.85-3.95`."""
    if figure is None:
        return "-"
    text = f"{figure['value']:.2f}"
    if "low" in figure:
        text += f" ({figure['low']:.2f}-{figure['high']:.2f})"
    return text + (f", seeds {figure['least']:.2f}-{figure['most']:.2f}" if "least" in figure else "")


if __name__ == "__main__":
    main()

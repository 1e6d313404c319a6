"""Does the style of the prompt arrive? Judged from outside, on people that the style model never saw.

    python benchmarks/style.py --corpus ../shared/data/video --tracks build/tracks
        [--split val|dev|train] [--style FILE] [--avatar obama] [--json out.json] [--quick] [--tracked-only]

The prompt is the first half of a clip, the judge its second half, so that statistics of the prompt cannot judge
themselves; one clip a person, 3 s of face or more in each half. What is predicted speaks the audio of other people.
`real` is the real first half in the place of the prediction: the ceiling. Nothing is judged by E^p. Values are with the
95 % interval of a bootstrap over people or clips.

    nearest    of all people, whose second half is the prediction nearest to? `of 12`: the same in line-ups of twelve.
               By level (mean) and spread (sd) of the 12 largest strong and weak components, and by the outside judges
    slopes     how far level and log spread follow the prompt from person to person, 1 is all the way
    Dvt        variation within 3 s, prediction / prompt, and whether its order over people is the prompt's
    emotions   change from neutral of one person: how much of the way arrives; purity of the nearest emotion
    lips       r with the true lips, closures at P B M, LMD-m, spread of measures; style of the clip's other half.
               `*`: of these the clips whose constant offset of the audio is known
    leak       distance of the neutral face, estimated again from the output, from the avatar's
    eyes       blinks in a minute, spread of brows, lids and gaze, seeds
    speed      of encoding and predicting, memory

`--split dev` are the train speakers held out by `training.style.corpus`, for choosing settings; `train` shows how much
is learned at all. Files: `style_clips.py` (clips), `style_transfer.py` and `style_face.py` (sections),
`style_figures.py` (arithmetic), `style_judge.py` (outside judges, trained on the first use: a minute on one core).
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from style_clips import (
    Clip,
    Models,
    acted_rows,
    choose_audio,
    choose_people,
    load_tracked,
    rows_of_split,
    with_speech,
)
from style_face import eyes, leak, lips, speed
from style_judge import Judge, load_judges
from style_transfer import (
    KINDS,
    emotions,
    judged,
    nearest,
    purity,
    slopes,
    slopes_of_measures,
    speak_as,
    variation,
)

from vast_cli.renderer.avatar import Avatar
from vast_cli.store import assets

Report = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is predicted."""

    audios: int = 8
    frames: int = 150  # of each audio
    lip_clips: int = 100  # of each set
    both_halves: bool = True
    minute_prompts: int = 10
    memory_minutes: int = 4


QUICK = Size(audios=4, lip_clips=14, both_halves=False, minute_prompts=3, memory_minutes=0)


def main() -> None:
    """Read the options, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tracks", type=Path, required=True)
    parser.add_argument("--split", choices=("val", "dev", "train"), default="val")
    parser.add_argument("--style", type=Path, help="style model, if not the shipped one")
    parser.add_argument("--avatar", default="obama", help="name or bundle, of the leak")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/style"), help="of the training; judges are kept there"
    )
    parser.add_argument("--json", type=Path, help="write all figures")
    parser.add_argument("--quick", action="store_true", help="fewer audio clips, fewer lips: 90 s")
    parser.add_argument("--tracked-only", action="store_true", help="leave out clips that have no track yet")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    models = Models.load(options.style)
    judges = load_judges(options.cache / "judge.safetensors", options.corpus, options.tracks, models.face)
    rows = rows_of_split(options.corpus, options.split)
    clips = load_tracked(rows, options.tracks, models.face, tracked_only=options.tracked_only)
    acted = load_tracked(acted_rows(options.corpus), options.tracks, models.face, tracked_only=options.tracked_only)
    report = {"split": options.split, "style_model": models.style.hash} | measure(
        with_speech(clips, options.cache),
        with_speech(acted, options.cache),
        load_avatar(options.avatar),
        judges,
        models,
        QUICK if options.quick else Size(),
    )
    report["seconds"] = time.time() - started
    if options.json:
        options.json.write_text(json.dumps(without_nan(report), indent=1) + "\n", encoding="utf-8")
    print_report(report)


def without_nan(value: Any) -> Any:
    """The same with null for figures that there are no clips for."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_avatar(name: str) -> Avatar:
    """An avatar that ships with vast, or a bundle."""
    path = Path(name)
    return Avatar.load(path if path.exists() else assets.data_folder("weights") / "avatars" / name)


def measure(
    clips: list[Clip], acted: list[Clip], avatar: Avatar, judges: dict[str, Judge], models: Models, size: Size
) -> Report:
    """All figures of the clips of a split; `acted` are those of all splits."""
    audios = choose_audio(clips, n_frames=size.frames, count=size.audios)
    chosen = choose_people(clips)
    if len(chosen) < 2 or len({a.row.speaker for a in audios}) < 2:
        raise SystemExit("two people with 3 s of face in each half, and two audio clips, are needed: are there tracks?")
    people = [speak_as(clip, audios, models, size.frames) for clip in chosen]
    return {
        "people": len(people),
        "audios": [a.row.name for a in audios],
        "nearest": nearest(people, models),
        "judge": judged(people, judges, models),
        "slopes": slopes(people, models),
        "measures": slopes_of_measures(people, models),
        "variation": variation(people),
        "emotions": emotions(clips, audios[:4], models),
        "purity": purity(acted, {clip.row.name for clip in clips}, models),
        "lips": lips(clips, models, most=size.lip_clips, both_halves=size.both_halves),
        "leak": leak(people, audios, avatar, models),
        "eyes": eyes(people, audios, avatar.subject.identity, models, prompts=size.minute_prompts),
        "speed": speed(people, audios, models, minutes=size.memory_minutes),
    }


# --- print -----------------------------------------------------------------------------------------------------------


def show(figure: dict[str, float]) -> str:
    """Value and interval."""
    return f"{figure['value']:.2f} ({figure['low']:.2f}-{figure['high']:.2f})"


def print_report(report: Report) -> None:
    """The compact table."""
    chance = report["nearest"]["chance"]
    print(f"style model {report['style_model']}, {report['split']}: {report['people']} people, "
          f"{len(report['audios'])} audio clips, top-1 by chance {chance:.3f}")  # fmt: skip
    for name in KINDS:
        print_line_up(f"nearest {name}", report["nearest"][name])
    for name, judged_by in report["judge"].items():
        same = judged_by["same audio"]
        print_line_up(f"judge {name}", judged_by)
        print(f"{'':20}nearest prediction of another style has the same audio {same['value']:.2f}, "
              f"by chance {same['chance']:.2f}")  # fmt: skip
    print_slopes(report)
    print_emotions(report)
    for name, figure in report["lips"].items():
        print_lips(name, figure)
    print_leak(report["leak"])
    print_eyes(report["eyes"])
    print_speed(report["speed"])
    print(f"{report['seconds']:.0f} s")


def print_line_up(name: str, figure: Report) -> None:
    """A row of top-1."""
    cells = [
        f"{mode} {show(figure[mode]['top1'])} real {figure[mode]['real']['value']:.2f}, "
        f"of 12 {figure[mode]['of_few']['value']:.2f} real {figure[mode]['real_of_few']['value']:.2f}"
        for mode in ("raw", "centred")
    ]
    print(f"{name:20}" + " | ".join(cells))


def print_slopes(report: Report) -> None:
    """Slopes and variation."""
    slope = report["slopes"]
    for group in ("strong", "weak"):
        cells = [
            f"{kind} {show(slope[f'{kind} {group}']['slope'])} real {slope[f'{kind} {group}']['real']['value']:.2f}"
            for kind in ("level", "log_sd")
        ]
        ratio = slope[f"sd ratio {group}"]["made"]
        print(f"{'slopes ' + group:20}" + " | ".join(cells) + f" | sd / prompt {show(ratio)}")
    cells = [
        f"{name} {m['level']['slope']['value']:.2f} ({m['level']['real']['value']:.2f}) / "
        f"{m['log_sd']['slope']['value']:.2f} ({m['log_sd']['real']['value']:.2f})"
        for name, m in report["measures"].items()
    ]
    print(f"{'slopes level / sd':20}(real in brackets) " + ", ".join(cells))
    for name, v in report["variation"].items():
        print(f"{'Dvt ' + name:20}{v['prediction']:.2f} prompt {v['prompt']:.2f}, ratio {show(v['ratio'])}, "
              f"Spearman {show(v['spearman'])} real {v['real']['value']:.2f}")  # fmt: skip


def print_emotions(report: Report) -> None:
    """Emotions and purity."""
    rows, summary = report["emotions"]["rows"], report["emotions"]["summary"]
    for name in ("strong", "brows eyes", "corners") if rows else ():
        cells = [
            f"{k} {show(summary[f'{name} made {k}'])} real {summary[f'{name} real {k}']['value']:.2f}"
            for k in ("way", "cos")
        ]
        print(f"{'emotion ' + name:20}" + ", ".join(cells) + f", n {len(rows)}")
    cells = [
        f"{r['actor']} {r['emotion']} {r['corners true'][0]:+.1f} -> {r['corners made'][0]:+.1f}"
        for r in rows
        if r["emotion"] in ("happy", "sad")
    ]
    if cells:
        print(f"{'emotion corners':20}%IOD over neutral, true -> predicted: " + ", ".join(cells))
    figure = report["purity"]
    if figure["s"]["plain"]["n"]:
        untrained = [v["plain"]["value"] for k, v in figure.items() if k.startswith("untrained")]
        cells = [
            f"{k} {show(figure[k]['plain'])} standardised {figure[k]['standardised']['value']:.2f}"
            for k in ("s", "mean+sd")
        ]
        print(f"{'purity':20}" + ", ".join(cells) + f", untrained {min(untrained):.2f}-{max(untrained):.2f}, "
              f"chance {figure['chance']:.2f}, n {figure['s']['plain']['n']}")  # fmt: skip


def print_lips(name: str, figure: Report) -> None:
    """Lips of one set."""
    title = f"lips {name.replace(', offset known', ' *')}, {figure['n']}"
    shown = {k: v for k, v in figure.items() if isinstance(v, dict)}
    for begin in ("r", "closed", "LMD-m", "sd "):
        cells = [f"{k} {show(v)}" for k, v in shown.items() if k.startswith(begin)]
        extra = f" ({figure['places']:.0f} places)" if begin == "closed" else ""
        print(f"{title if begin == 'r' else '':20}" + ", ".join(cells) + extra)


def print_leak(figure: Report) -> None:
    """Neutral faces."""
    cells = [
        f"{k} median {show(figure[k]['median'])} largest {figure[k]['largest']:.2f}" for k in ("distance", "limited")
    ]
    own = f", own style {figure['own']:.2f}" if "own" in figure else ""
    print(f"{'leak %IOD':20}" + ", ".join(cells) + f", share towards the prompt's face {show(figure['towards'])}{own}")


def print_eyes(figure: Report) -> None:
    """Blinks, spread, seeds."""
    rates = [" / ".join(f"{v:.0f}" for v in figure[k].values()) for k in ("blinks", "blinks prompt")]
    print(f"{'eyes':20}blinks a minute {rates[0]}, prompts {rates[1]} (least / median / most), factor "
          f"{show(figure['blinks factor'])}, within 1.5 {figure['blinks within 1.5']:.2f}, "
          f"longest still {figure['longest still s']:.1f} s")  # fmt: skip
    cells = [f"{k[3:]} {show(v)}" for k, v in figure.items() if k.startswith("sd ")]
    seeds = ", ".join(f"{k} {v:.2f}" for k, v in figure["seeds"].items())
    print(f"{'':20}sd / prompt " + ", ".join(cells) + f" | r of two seeds {seeds}")


def print_speed(figure: Report) -> None:
    """Times."""
    cells = [
        f"encode {figure['prompt s']:.0f} s prompt {figure['encode s']:.3f} s",
        f"predict {figure['frames/s']:.0f} frames a CPU second, {figure['frames/s'] / 25:.0f} times real time",
    ]
    memory = figure.get("memory MiB")
    if memory:
        after = f"{memory['at the end']:.0f} after {memory['minutes']} min"
        cells.append(f"memory {memory['after 20 s']:.0f} MiB after 20 s of audio, {after}")
    print(f"{'speed':20}" + ", ".join(cells))


if __name__ == "__main__":
    main()

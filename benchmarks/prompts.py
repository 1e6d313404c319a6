"""Every kind of prompt with every kind of sound through `vast render`: no crash, right length, lips closed in silence.

    python benchmarks/prompts.py --shared ../shared/data --out build/prompts

Prompts: every val clip of talk/, style/, mead/ and grid/, and one clip per speaker of the other sets. Sounds: val clips
with sound in step, and the languages of speech/multi, in turn, cut to `--seconds`. Writes the videos, a row each
(`rows.json`) and contact sheets.
"""

import argparse
import csv
import itertools
import json
from pathlib import Path

import numpy as np

from vast_cli import media
from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.media.ffmpeg import find_ffmpeg, run
from vast_cli.pipeline.extract import encode_prompt, extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.render import RenderRequest, expressions, load_avatar, render, style_vector

SHEET_COLUMNS = 10


def prompts(corpus: Path) -> list[Path]:
    """The clips to use as prompts."""
    rows = list(csv.DictReader((corpus / "index.csv").open(encoding="utf-8")))
    chosen = [row["path"] for row in rows if row["set"] in ("talk", "style", "mead", "grid") and row["split"] == "val"]
    seen = set()
    for row in rows:
        if row["set"] in ("avatar", "grid_s1", "lrcar") and (row["set"], row["speaker"]) not in seen:
            seen.add((row["set"], row["speaker"]))
            chosen.append(row["path"])
    return [corpus / path for path in chosen]


def sounds(shared: Path) -> list[Path]:
    """The sounds to speak."""
    rows = csv.DictReader((shared / "video" / "index.csv").open(encoding="utf-8"))
    val = [
        shared / "video" / r["path"] for r in rows if r["split"] == "val" and r["set"] == "talk" and r["sync_ok"] == "1"
    ]
    multi = sorted((shared / "speech" / "multi").glob("*.opus"))
    return [path for pair in itertools.zip_longest(val, multi) for path in pair if path is not None]


def cut(sound: Path, seconds: float, out: Path) -> Path:
    """The first seconds of a sound between two seconds of digital silence."""
    target = out / f"{sound.stem}.wav"
    graph = f"[0:a]atrim=0:{seconds},adelay=1000:all=1,apad=pad_dur=1[a]"
    arguments = [
        find_ffmpeg(),
        "-y",
        "-i",
        str(sound),
        "-filter_complex",
        graph,
        "-map",
        "[a]",
        "-ar",
        "24000",
        str(target),
    ]
    run(arguments, target=target, timeout_s=60)
    return target


def main() -> None:
    """Render, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/prompts"))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=None)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = Models()
    avatar = load_avatar("obama", models)
    rows, strips = [], []
    clips = prompts(arguments.shared / "video")[: arguments.limit]
    for number, (clip, sound) in enumerate(zip(clips, itertools.cycle(sounds(arguments.shared)), strict=False)):
        name = f"{number:03d}-{clip.parent.name}-{clip.stem}"
        audio = cut(sound, arguments.seconds, arguments.out)
        row: dict[str, object] = {"prompt": f"{clip.parent.name}/{clip.name}", "audio": sound.name}
        try:
            # what `--prompt` does, in two steps, so that the style is at hand for the measures
            manner, _ = encode_prompt(clip, models)
            style = arguments.out / f"{name}.style"
            manner.save(style)
            request = RenderRequest(
                audio=audio,
                avatar="obama",
                style=style,
                output=arguments.out / f"{name}.mp4",
                overwrite=True,
                allow_silence=True,
            )
            result = render(request, models=models)
            info = media.probe(result.output)
            with media.VideoReader(result.output) as reader:
                frames = list(reader)
            ppg = extract_speech(audio, models)
            vector = style_vector(manner, avatar, models, strength=1.0)
            motion = np.concatenate(
                [run for run, _ in expressions(ppg, vector, avatar, models, max_exaggeration=1.0, seed=0)]
            )
            gap = models.face_model.lip_gap(avatar.subject.identity, motion)
            rest = np.r_[gap[2:15], gap[-15:-2]]  # away from the sound: people open their lips before they speak
            spoken = gap[25:-25]
            row |= {
                "frames": len(frames),
                "right_length": len(frames) == ppg.n_frames,
                "sound_minus_picture_s": round(ppg.n_samples / timebase.SAMPLE_RATE - len(frames) / timebase.FPS, 4),
                "duration_s": float(info.duration_s),
                "seconds": round(result.seconds, 2),
                "limited_share": round(result.limited_share, 3),
                "gap_at_rest": round(float(rest.mean()), 2),
                "largest_gap_at_rest": round(float(rest.max()), 2),
                "gap_in_speech": round(float(spoken.mean()), 2),
                "gap_sd_in_speech": round(float(spoken.std()), 2),
            }
            strips += [frames[i] for i in np.linspace(8, len(frames) - 8, SHEET_COLUMNS).astype(int)]
        except VastError as error:
            row["error"] = error.code + ": " + error.message
        print(json.dumps(row), flush=True)
        rows.append(row)
        if len(strips) == 10 * SHEET_COLUMNS or (number == len(clips) - 1 and strips):
            sheet = media.contact_sheet(strips, columns=SHEET_COLUMNS)
            media.write_png(arguments.out / f"sheet-{number:03d}.png", sheet)
            strips = []
    (arguments.out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    failed = [row for row in rows if "error" in row or not row["right_length"]]
    print(f"{len(rows)} prompts, {len(failed)} failed")


if __name__ == "__main__":
    main()

"""Every kind of prompt with every kind of audio through `vast render`: no crash, right length, lips closed in silence.

    python benchmarks/prompts.py --shared ../shared/data --out build/prompts

Prompts: every val clip of talk/, style/, mead/ and grid/, and one clip per speaker of the other sets. Audio: val clips
that are in sync, and the languages of speech/multi, in turn, cut to `--seconds`. Writes the videos, a row each
(`rows.json`) and contact sheets.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from vast_cli import media
from vast_cli.core import timebase
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.media.ffmpeg import find_ffmpeg, run
from vast_cli.pipeline.extract import encode_prompt, extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.motion import expressions, style_vector
from vast_cli.pipeline.options import RenderOptions
from vast_cli.pipeline.render import render
from vast_cli.pipeline.request import RenderRequest
from vast_cli.renderer import Avatar
from vast_cli.training.corpora import read_index

SHEET_COLUMNS = 10


def prompts(corpus: Path) -> list[Path]:
    """The clips to use as prompts."""
    index = read_index(corpus)
    chosen = [clip.path for clip in index if clip.set in ("talk", "style", "mead", "grid") and clip.split == "val"]
    speakers = set()
    for clip in index:
        if clip.set in ("avatar", "grid_s1", "lrcar") and (clip.set, clip.speaker) not in speakers:
            speakers.add((clip.set, clip.speaker))
            chosen.append(clip.path)
    return chosen


def audio_files(shared: Path) -> list[Path]:
    """The audio to speak."""
    index = read_index(shared / "video")
    val = [clip.path for clip in index if clip.split == "val" and clip.set == "talk" and clip.sync_ok]
    multi = sorted((shared / "speech" / "multi").glob("*.opus"))
    return [path for pair in itertools.zip_longest(val, multi) for path in pair if path is not None]


def cut(source: Path, seconds: float, out: Path) -> Path:
    """The first seconds of an audio file, with a second of digital silence before and after."""
    target = out / f"{source.stem}.wav"
    graph = f"[0:a]atrim=0:{seconds},adelay=1000:all=1,apad=pad_dur=1[a]"
    arguments = ["-i", str(source), "-filter_complex", graph, "-map", "[a]", "-ar", "24000", str(target)]
    run([find_ffmpeg(), "-y", *arguments], target=target, timeout_s=60)
    return target


def render_and_measure(
    prompt: Path, audio: Path, output: Path, avatar: Avatar, models: Models
) -> tuple[dict[str, object], list[Image]]:
    """Figures of one render, and its frames."""
    # `--prompt` in two steps, because the measures need the style, too
    style, _ = encode_prompt(prompt, models)
    style_path = output.with_suffix(".style")
    style.save(style_path)
    request = RenderRequest(
        audio=audio,
        avatar="obama",
        style=style_path,
        output=output,
        overwrite=True,
        options=RenderOptions(allow_silence=True),
    )
    result = render(request, models=models)
    info = media.probe(result.output)
    with media.VideoReader(result.output) as reader:
        frames = list(reader)
    ppg = extract_speech(audio, models)
    vector = style_vector(style, avatar, models, strength=1.0)
    motion = np.concatenate([run for run, _ in expressions(ppg, vector, avatar, models, max_exaggeration=1.0, seed=0)])
    gap = models.face_model.lip_gap(avatar.subject.identity, motion)
    rest = np.r_[gap[2:15], gap[-15:-2]]  # away from the speech: people open their lips before they speak
    spoken = gap[25:-25]
    return {
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
    }, frames


def main() -> None:
    """Render, measure, write contact sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/prompts"))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=None)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = Models()
    avatar = models.avatar("obama")
    rows: list[dict[str, object]] = []
    sheet: list[Image] = []
    clips = prompts(arguments.shared / "video")[: arguments.limit]
    for number, (clip, source) in enumerate(zip(clips, itertools.cycle(audio_files(arguments.shared)), strict=False)):
        output = arguments.out / f"{number:03d}-{clip.parent.name}-{clip.stem}.mp4"
        audio = cut(source, arguments.seconds, arguments.out)
        row: dict[str, object] = {"prompt": f"{clip.parent.name}/{clip.name}", "audio": source.name}
        try:
            figures, frames = render_and_measure(clip, audio, output, avatar, models)
            row |= figures
            sheet += [frames[i] for i in np.linspace(8, len(frames) - 8, SHEET_COLUMNS).astype(int)]
        except VastError as error:
            row["error"] = error.code + ": " + error.message
        print(json.dumps(row), flush=True)
        rows.append(row)
        if len(sheet) == 10 * SHEET_COLUMNS or (number == len(clips) - 1 and sheet):
            image = media.contact_sheet(sheet, columns=SHEET_COLUMNS)
            media.write_png(arguments.out / f"sheet-{number:03d}.png", image)
            sheet = []
    (arguments.out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    failed = [row for row in rows if "error" in row or not row["right_length"]]
    print(f"{len(rows)} prompts, {len(failed)} failed")


if __name__ == "__main__":
    main()

"""`vast study make`: a table of videos to a page for raters, and a key that stays with the maker."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any

from vast_cli.core import files
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.study import clips, page
from vast_cli.evaluate.study.design import Clip, Design, Tokens, make_design
from vast_cli.evaluate.study.loudness import Samples, same_loudness
from vast_cli.evaluate.study.manifest import Manifest, invalid, read_manifest
from vast_cli.evaluate.study.questions import FLOOR, TRUTH, Mode, rule

KEY_SCHEMA = "vast.study.key/1"
SEND, KEEP = "send-to-raters", "keep-secret"
PAGE, KEY = "index.html", "key.json"
FLOOR_DELAY = 5  # frames by which the picture is late in the floor that we make
DEFAULT_JUDGES = 30

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Made:
    """A finished study."""

    page: Path
    key: Path
    report: dict[str, Any]
    warnings: tuple[str, ...]


def make_study(
    table: Path,
    folder: Path,
    *,
    mode: Mode = "rating",
    n_judges: int = DEFAULT_JUDGES,
    seed: int = 0,
    inline: bool | None = None,
    overwrite: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Made:
    """Make `folder/send-to-raters` (page and videos) and `folder/keep-secret/key.json`.

    Names of clips and of the study are unguessable and new every time; all else follows from the seed.

    Args:
        table: CSV with the columns sentence, method, video; the methods `truth` and `floor` have a meaning. Without a
            floor one is made of the truth, its picture 5 frames late.
        folder: of the study.
        mode: rate single videos from 1 to 5, or choose from pairs.
        n_judges: orders to lay out, one a judge.
        seed: of orders and sides.
        inline: videos within the page; if None, where it stays below 100 MB.
        overwrite: replace a study in `folder`.
        progress: called as (stage, done, total).

    Raises:
        VastError: `vast_manifest_invalid` with all faults, `vast_output_exists`, and those of media.
    """
    existed = folder.exists()
    work = files.part_path(folder)
    try:
        files.check_output_folder(folder, overwrite=overwrite)
        manifest = read_manifest(table)
        sources, faults = clips.measure(manifest)
        if faults:
            raise invalid(table, faults)
        form = clips.common_form(sources)
        methods = manifest.methods
        if TRUTH in methods and FLOOR not in methods:
            methods = (*methods, FLOOR)
        tokens = Tokens(SystemRandom())
        study = tokens.new()
        design = make_design(manifest.sentences, methods, mode=mode, n_judges=n_judges, tokens=tokens, seed=seed)
        videos = _encode(design, sources, form, work / SEND / page.CLIPS, progress=progress)
        size = page.inline_size(videos)
        within = size <= page.INLINE_BYTES if inline is None else inline
        text = page.render_page(design, study=study, videos=videos, inline=within, ratio=form.width / form.height)
        if within:
            shutil.rmtree(work / SEND / page.CLIPS)
        key = _key(design, study=study, seed=seed, form=form, methods=methods)
        _place(work, folder, text=text, key=key)
    except OSError as error:
        raise files.write_error(error, folder) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not existed and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    report = {
        "page": str(folder / SEND / PAGE),
        "key": str(folder / KEEP / KEY),
        "study": study,
        "mode": mode,
        "sentences": len(manifest.sentences),
        "methods": list(methods),
        "items": len(design.items),
        "checks": sum(item.kind != "main" for item in design.items),
        "judges": n_judges,
        "minutes": round(_minutes(design, form)),
        "inline": within,
        "video_bytes": size * 3 // 4,
        "rule": key["rule"],
    }
    return Made(folder / SEND / PAGE, folder / KEEP / KEY, report, _warnings(manifest, form, design))


def _place(work: Path, folder: Path, *, text: str, key: dict[str, Any]) -> None:
    """Write page and key beside the finished videos, then give both halves their names."""
    with files.atomic_write(work / SEND / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    with files.atomic_write(work / KEEP / KEY) as part:
        part.write_text(json.dumps(key, indent=1), encoding="utf-8")
    for name in (SEND, KEEP):
        shutil.rmtree(folder / name, ignore_errors=True)
        (work / name).replace(folder / name)


def _encode(
    design: Design, sources: list[clips.Source], form: clips.Form, folder: Path, *, progress: Progress
) -> dict[str, Path]:
    """Write all clips; files by token."""
    by_name = {(source.entry.sentence, source.entry.method): source for source in sources}
    sounds = _sounds(by_name, form)
    folder.mkdir(parents=True)
    videos = {}
    for done, clip in enumerate(sorted(design.clips, key=lambda clip: clip.token)):
        progress("clips", done, len(design.clips))
        made_floor = (clip.sentence, clip.method) not in by_name
        shown = replace(clip, method=TRUTH) if made_floor else clip
        sound = sounds[clip.sound_of or clip.sentence, shown.method]
        videos[clip.token] = folder / f"{clip.token}.mp4"
        clips.write_clip(
            videos[clip.token],
            by_name[shown.sentence, shown.method],
            form,
            clips.fit_sound(sound, form.n_frames[clip.sentence]),
            delay=FLOOR_DELAY if made_floor else 0,
            words=_words(clip, design.mode),
        )
    progress("clips", len(design.clips), len(design.clips))
    return videos


def _sounds(by_name: dict[tuple[str, str], clips.Source], form: clips.Form) -> dict[tuple[str, str], Samples]:
    raw = [clips.read_sound(source, form.n_frames[name[0]]) for name, source in by_name.items()]
    levelled, _ = same_loudness(raw)
    return dict(zip(by_name, levelled, strict=True))


def _words(clip: Clip, mode: Mode) -> str | None:
    if clip.button is None:
        return None
    if mode == "rating":
        return f"Please answer {clip.button}\nto every question"
    return f"Please choose video {clip.button}\nfor every question"


def _minutes(design: Design, form: clips.Form) -> float:
    lengths = {clip.token: form.n_frames[clip.sentence] / FPS for clip in design.clips}
    return sum(1.3 * sum(lengths[clip] for clip in item.clips) + 12 for item in design.items) / 60


def _key(design: Design, *, study: str, seed: int, form: clips.Form, methods: tuple[str, ...]) -> dict[str, Any]:
    return {
        "schema": KEY_SCHEMA,
        "study": study,
        "mode": design.mode,
        "seed": seed,
        "methods": list(methods),
        "width": form.width,
        "height": form.height,
        "rule": rule(design.mode, has_floor={TRUTH, FLOOR} <= set(methods)),
        "clips": [asdict(clip) for clip in design.clips],
        "items": [asdict(item) for item in design.items],
        "orders": [[showing.item for showing in order] for order in design.orders],
    }


def _warnings(manifest: Manifest, form: clips.Form, design: Design) -> tuple[str, ...]:
    found = []
    if TRUTH not in manifest.methods:
        found.append("no method `truth`: judges who rate it below the floor cannot be told")
    elif FLOOR not in manifest.methods:
        found.append(f"no method `floor`: one was made of the truth, its picture {FLOOR_DELAY} frames late")
    if form.cropped:
        rows = ", ".join(map(str, form.cropped))
        found.append(f"cut around the centre to {form.width} x {form.height}, as their shape differs: rows {rows}")
    if form.trimmed:
        found.append(f"cut to the shortest video of their sentence: rows {', '.join(map(str, form.trimmed))}")
    if len(manifest.sentences) < 5:
        found.append("fewer than 5 sentences: there will be no intervals")
    return tuple(found)

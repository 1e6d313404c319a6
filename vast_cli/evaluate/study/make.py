"""Makes a study (`vast study make`): a page for raters from a table of videos, and a key that stays with the maker."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any

from vast_cli.core import files, timebase
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.study import clips, page
from vast_cli.evaluate.study.design import StudyClip, StudyDesign, TokenGenerator, make_design
from vast_cli.evaluate.study.loudness import Samples, equalise_loudness
from vast_cli.evaluate.study.manifest import StudyManifest, read_manifest, table_error
from vast_cli.evaluate.study.questions import FLOOR, TRUTH, Mode, rule

KEY_SCHEMA = "vast.study.key/1"
SEND, KEEP = "send-to-raters", "keep-secret"
PAGE, KEY = "index.html", "key.json"
FLOOR_DELAY = 5  # frames by which the video is late in a floor made of the truth
DEFAULT_RATERS = 30


@dataclass(frozen=True)
class StudySettings:
    """Settings of a new study.

    Attributes:
        mode: rate single videos from 1 to 5, or choose from pairs.
        n_raters: orders to lay out, one per rater.
        seed: of orders and sides.
        inline: put the videos into the page; None puts them there if the page stays below 100 MB.
    """

    mode: Mode = "rating"
    n_raters: int = DEFAULT_RATERS
    seed: int = 0
    inline: bool | None = None


@dataclass(frozen=True)
class Study:
    """A finished study."""

    page: Path
    key: Path
    report: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _StudyPlan:
    """A study before its videos are encoded."""

    token: str
    manifest: StudyManifest
    sources: list[clips.StudySource]
    clip_format: clips.ClipFormat
    methods: tuple[str, ...]
    design: StudyDesign
    settings: StudySettings


def make_study(
    table: Path,
    folder: Path,
    settings: StudySettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Study:
    """Make `folder/send-to-raters` (page and videos) and `folder/keep-secret/key.json`.

    Names of clips and of the study are unguessable and new every time; everything else depends on the seed alone.

    Args:
        table: CSV with the columns sentence, method, video; the methods `truth` and `floor` are special. Without a
            floor one is made of the truth, with the video 5 frames late.
        folder: of the study.
        settings: mode, raters, seed and place of the videos.
        overwrite: replace a study in `folder`.
        progress: called with the number of clips done.

    Raises:
        VastError: `vast_manifest_invalid` with all faults, `vast_output_exists`, and those of media.
    """
    existed = folder.exists()
    work = files.part_path(folder)
    try:
        files.check_output_folder(folder, overwrite=overwrite)
        plan = _plan_study(table, settings or StudySettings())
        report = _write_study(plan, work, folder, progress)
    except OSError as error:
        raise files.write_error(error, folder) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not existed and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Study(folder / SEND / PAGE, folder / KEEP / KEY, report, _warnings(plan))


def _plan_study(table: Path, settings: StudySettings) -> _StudyPlan:
    manifest = read_manifest(table)
    sources, faults = clips.inspect_videos(manifest)
    if faults:
        raise table_error(table, faults)
    methods = manifest.methods
    if TRUTH in methods and FLOOR not in methods:
        methods = (*methods, FLOOR)
    tokens = TokenGenerator(SystemRandom())
    study = tokens.new()
    design = make_design(
        manifest.sentences,
        methods,
        mode=settings.mode,
        n_raters=settings.n_raters,
        tokens=tokens,
        seed=settings.seed,
    )
    return _StudyPlan(study, manifest, sources, clips.common_format(sources), methods, design, settings)


def _write_study(plan: _StudyPlan, work: Path, folder: Path, progress: Progress) -> dict[str, Any]:
    """Encode the videos, write page and key into `work` and move both into `folder`; returns the report."""
    design, clip_format, settings = plan.design, plan.clip_format, plan.settings
    videos = _encode(design, plan.sources, clip_format, work / SEND / page.CLIPS, progress=progress)
    size = page.inline_size(videos)
    inline = size <= page.INLINE_BYTES if settings.inline is None else settings.inline
    ratio = clip_format.width / clip_format.height
    text = page.render_page(design, study=plan.token, videos=videos, inline=inline, ratio=ratio)
    if inline:
        shutil.rmtree(work / SEND / page.CLIPS)
    key = _key(plan)
    _place(work, folder, text=text, key=key)
    return {
        "page": str(folder / SEND / PAGE),
        "key": str(folder / KEEP / KEY),
        "study": plan.token,
        "mode": settings.mode,
        "sentences": len(plan.manifest.sentences),
        "methods": list(plan.methods),
        "items": len(design.items),
        "checks": sum(item.kind != "main" for item in design.items),
        "judges": settings.n_raters,
        "minutes": round(_minutes(design, clip_format)),
        "inline": inline,
        "video_bytes": size * 3 // 4,
        "rule": key["rule"],
    }


def _place(work: Path, folder: Path, *, text: str, key: dict[str, Any]) -> None:
    """Write page and key beside the encoded videos, then move both folders to their places."""
    with files.atomic_write(work / SEND / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    with files.atomic_write(work / KEEP / KEY) as part:
        part.write_text(json.dumps(key, indent=1), encoding="utf-8")
    for name in (SEND, KEEP):
        shutil.rmtree(folder / name, ignore_errors=True)
        (work / name).replace(folder / name)


def _encode(
    design: StudyDesign,
    sources: list[clips.StudySource],
    clip_format: clips.ClipFormat,
    folder: Path,
    *,
    progress: Progress,
) -> dict[str, Path]:
    """Write all clips; returns the files by token."""
    by_name = {(source.entry.sentence, source.entry.method): source for source in sources}
    audio = _load_audio(by_name, clip_format)
    folder.mkdir(parents=True)
    videos = {}
    for done, clip in enumerate(sorted(design.clips, key=lambda clip: clip.token)):
        progress("clips", done, len(design.clips))
        is_made_floor = (clip.sentence, clip.method) not in by_name
        method = TRUTH if is_made_floor else clip.method
        samples = audio[clip.sound_of or clip.sentence, method]
        videos[clip.token] = folder / f"{clip.token}.mp4"
        clips.write_clip(
            videos[clip.token],
            by_name[clip.sentence, method],
            clip_format,
            clips.fit_length(samples, clip_format.n_frames[clip.sentence]),
            delay=FLOOR_DELAY if is_made_floor else 0,
            instruction=_instruction(clip, design.mode),
        )
    progress("clips", len(design.clips), len(design.clips))
    return videos


def _load_audio(
    by_name: dict[tuple[str, str], clips.StudySource], clip_format: clips.ClipFormat
) -> dict[tuple[str, str], Samples]:
    """The audio of all sources at one loudness."""
    samples = [clips.read_audio(source, clip_format.n_frames[name[0]]) for name, source in by_name.items()]
    equalised, _ = equalise_loudness(samples)
    return dict(zip(by_name, equalised, strict=True))


def _instruction(clip: StudyClip, mode: Mode) -> str | None:
    if clip.button is None:
        return None
    if mode == "rating":
        return f"Please answer {clip.button}\nto every question"
    return f"Please choose video {clip.button}\nfor every question"


def _minutes(design: StudyDesign, clip_format: clips.ClipFormat) -> float:
    lengths = {clip.token: timebase.seconds(clip_format.n_frames[clip.sentence]) for clip in design.clips}
    return sum(1.3 * sum(lengths[clip] for clip in item.clips) + 12 for item in design.items) / 60


def _key(plan: _StudyPlan) -> dict[str, Any]:
    design = plan.design
    return {
        "schema": KEY_SCHEMA,
        "study": plan.token,
        "mode": design.mode,
        "seed": plan.settings.seed,
        "methods": list(plan.methods),
        "width": plan.clip_format.width,
        "height": plan.clip_format.height,
        "rule": rule(design.mode, has_floor={TRUTH, FLOOR} <= set(plan.methods)),
        "clips": [asdict(clip) for clip in design.clips],
        "items": [asdict(item) for item in design.items],
        "orders": [[showing.item for showing in order] for order in design.orders],
    }


def _warnings(plan: _StudyPlan) -> tuple[str, ...]:
    manifest, clip_format = plan.manifest, plan.clip_format
    warnings = []
    if TRUTH not in manifest.methods:
        warnings.append("no method `truth`: raters who rate it below the floor cannot be detected")
    elif FLOOR not in manifest.methods:
        warnings.append(f"no method `floor`: one was made of the truth, with the video {FLOOR_DELAY} frames late")
    if clip_format.cropped:
        rows = ", ".join(map(str, clip_format.cropped))
        warnings.append(
            f"cut around the centre to {clip_format.width} x {clip_format.height}, as their shape differs: rows {rows}"
        )
    if clip_format.trimmed:
        warnings.append(f"cut to the shortest video of their sentence: rows {', '.join(map(str, clip_format.trimmed))}")
    if len(manifest.sentences) < 5:
        warnings.append("fewer than 5 sentences: there will be no intervals")
    return tuple(warnings)

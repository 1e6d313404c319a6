"""Reads the key of a study and the files that raters send back; reports all faults of the files at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.text import human_size
from vast_cli.evaluate.study.design import StudyClip, StudyItem
from vast_cli.evaluate.study.make import KEEP, KEY, KEY_SCHEMA
from vast_cli.evaluate.study.questions import ASPECTS, HIGHEST, LOWEST, Aspect, Mode

ANSWERS_SCHEMA = "vast.study.answers/1"
MAX_BYTES = 20_000_000

Choice = int | str  # points, or the token of the chosen clip


@dataclass(frozen=True)
class StudyKey:
    """The key of a study, which stays with its maker."""

    study: str
    mode: Mode
    methods: tuple[str, ...]
    rule: tuple[str, ...]
    clips: dict[str, StudyClip]
    items: dict[str, StudyItem]
    orders: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class RaterAnswers:
    """The answers of one rater."""

    number: int
    path: Path
    token: str
    answers: dict[str, dict[Aspect, Choice]]  # by item; missing answers are absent
    plays: int


def read_key(folder: Path) -> StudyKey:
    """The key of the study that `make_study` put into `folder`.

    Raises:
        VastError: `vast_input_missing`, `vast_record_invalid`, `vast_record_version`.
    """
    path = folder / KEEP / KEY
    if not path.exists():
        raise VastError(
            "vast_input_missing", f"`{folder}` is no study: no `{path}`", hint="`vast study make` makes one"
        )
    data = _load(path)
    if data.get("schema") != KEY_SCHEMA:
        raise VastError("vast_record_version", f"`{path}` is no study key of version {KEY_SCHEMA}")
    try:
        clips = [StudyClip(**clip) for clip in data["clips"]]
        items = [StudyItem(**(item | {"clips": tuple(item["clips"])})) for item in data["items"]]
        return StudyKey(
            study=data["study"],
            mode=data["mode"],
            methods=tuple(data["methods"]),
            rule=tuple(data["rule"]),
            clips={clip.token: clip for clip in clips},
            items={item.token: item for item in items},
            orders=tuple(tuple(order) for order in data["orders"]),
        )
    except (KeyError, TypeError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is damaged: {error}") from error


def read_answers(key: StudyKey, paths: Sequence[Path]) -> list[RaterAnswers]:
    """Read all files of answers, or none.

    Raises:
        VastError: `vast_record_invalid` with every fault: damaged, of another study, not of this key, or a rater twice.
    """
    raters: list[RaterAnswers] = []
    faults: list[str] = []
    for path in paths:
        try:
            files.check_input(path)
            raters.append(_parse_answers(key, path, _load(path)))
        except VastError as error:
            faults.append(error.message)
    for attribute in ("number", "token"):
        first: dict[Any, Path] = {}
        for rater in raters:
            name = getattr(rater, attribute)
            if name in first and not any(f"`{rater.path}`" in fault for fault in faults):
                faults.append(f"`{rater.path}` is of rater {rater.number}, as is `{first[name]}`: keep one of them")
            first.setdefault(name, rater.path)
    if faults:
        raise VastError(
            "vast_record_invalid",
            "\n  ".join([f"{len(faults)} of {len(paths)} answers cannot be used:", *faults]),
            hint="leave these files out, or ask the raters to save their answers again",
        )
    return sorted(raters, key=lambda rater: rater.number)


def _load(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_BYTES:
        raise VastError("vast_record_invalid", f"`{path}` is larger than {human_size(MAX_BYTES)}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise VastError("vast_record_invalid", f"`{path}` is damaged: {error}") from error
    if not isinstance(data, dict):
        raise VastError("vast_record_invalid", f"`{path}` is no JSON object")
    return data


def _parse_answers(key: StudyKey, path: Path, data: dict[str, Any]) -> RaterAnswers:
    def fault(text: str) -> VastError:
        return VastError("vast_record_invalid", f"`{path}` {text}")

    if data.get("schema") != ANSWERS_SCHEMA:
        raise fault(f"holds no answers of this version, {ANSWERS_SCHEMA}")
    if data.get("study") != key.study:
        raise fault(f"belongs to another study, {str(data.get('study'))[:20]!r}")
    number, token, rows = data.get("judge"), data.get("token"), data.get("answers")
    if not _is_whole(number) or not 1 <= number <= len(key.orders):
        raise fault(f"has no rater number from 1 to {len(key.orders)}")
    if not isinstance(token, str) or not token or not isinstance(rows, list):
        raise fault("is damaged: no token or no answers")
    answers: dict[str, dict[Aspect, Choice]] = {}
    plays = 0
    for row in rows:
        item = key.items.get(str(row.get("item"))) if isinstance(row, dict) else None
        if item is None or item.token in answers or not isinstance(row.get("answers"), dict):
            raise fault(f"is damaged: entry {len(answers) + 1} is no video of this study, or one for the second time")
        choices = row["answers"]
        if not set(choices) <= set(ASPECTS) or not all(_is_valid(value, item, key.mode) for value in choices.values()):
            raise fault(f"is damaged: entry {len(answers) + 1} has an answer that the page cannot give")
        counts = row.get("plays")
        if not isinstance(counts, list) or not all(_is_whole(count) and count >= 0 for count in counts):
            raise fault(f"is damaged: entry {len(answers) + 1} does not say how often it was played")
        if choices and not all(counts):
            raise fault(f"is damaged: entry {len(answers) + 1} was answered before it was played")
        answers[item.token] = choices
        plays += sum(counts)
    return RaterAnswers(number, path, token, answers, plays)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_valid(value: Any, item: StudyItem, mode: Mode) -> bool:
    if mode == "rating":
        return _is_whole(value) and LOWEST <= value <= HIGHEST
    return isinstance(value, str) and value in item.clips

"""Turns the document of an evaluation into the data of the page: words, order, digits and ranks."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from vast_cli.evaluate.report.ranking import ClipRank, number, target_of
from vast_cli.evaluate.report.words import (
    BETTER,
    KEY_MEASURES,
    family_of,
    family_order,
    hint_text,
    reason_text,
    title_of,
    unit_text,
)

MAX_COLUMNS = 4  # of figures beside a clip's name
NO_REASON = "no reason was given"


def nan_to_null(value: Any) -> Any:
    """The same document with null for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): nan_to_null(item) for key, item in value.items()}
    return [nan_to_null(item) for item in value] if isinstance(value, list | tuple) else value


def view_measures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every measure, family by family in the order of the document."""
    clips = document.get("clips") or []
    measures = [_view_measure(name, measure, clips) for name, measure in (document.get("measures") or {}).items()]
    return sorted(measures, key=lambda measure: family_order(measure["family"]))


def key_columns(measures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the measures that are shown beside each clip's name."""
    measured = [measure["name"] for measure in measures if measure["clips"] and measure["state"] != "unreliable"]
    keys = [name for name in KEY_MEASURES if name in measured]
    return (keys + [name for name in measured if name not in keys])[:MAX_COLUMNS]


def view_clip(clip: Mapping[str, Any], rank: ClipRank, measures: Mapping[str, Any]) -> dict[str, Any]:
    """A clip without its frames and videos."""
    names = ("id", "output", "reference", "audio", "style_reference", "footage", "set", "speaker", "avatar")
    figures = clip.get("measures") or {}
    return {
        **{name: None if clip.get(name) is None else str(clip[name]) for name in names},
        **{name: number(clip.get(name)) for name in ("frames", "duration_s", "frames_lost")},
        "measures": {name: _view_figure(clip, name, measures.get(name) or {}) for name in figures},
        "flags": [
            {"measure": str(flag.get("measure") or ""), "level": str(flag.get("level")), "text": str(flag.get("text"))}
            for flag in clip.get("flags") or []
        ],
        "notes": [str(note) for note in clip.get("notes") or []],
        "series": _view_series(clip.get("series")),
        "error": _view_error(clip.get("error")),
        "rank": {
            "error": rank.error,
            "fails": rank.fails,
            "warns": rank.warns,
            "score": round(rank.score, 2),
            "behind": {name: round(spreads, 2) for name, spreads in rank.behind.items()},
            "causes": rank.causes,
        },
    }


def _view_measure(name: str, measure: Mapping[str, Any], clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    value = number(measure.get("value"))
    clip_values = [number((clip.get("measures") or {}).get(name, {}).get("value")) for clip in clips]
    measured = [figure for figure in clip_values if figure is not None]
    all_whole = bool(measured) and all(figure == round(figure) for figure in measured)
    # a missing value is never unreliable
    valid = measure.get("valid")  # null if no controls could be compared
    state = "missing" if value is None else "unreliable" if valid is False else "ok" if valid else "unchecked"
    controls = measure.get("controls") or {}
    digits = _digits([value, *measured])
    return {
        "name": name,
        "title": title_of(name, dict(measure)),
        "about": measure.get("about"),
        "family": family_of(name),
        "unit": unit_text(measure.get("unit")),
        "better": measure.get("better"),
        "direction": BETTER.get(str(measure.get("better")), str(measure.get("better") or "")),
        "value": value,
        "ci95": measure.get("ci95"),
        "n": measure.get("n"),
        "skill": number(measure.get("skill")),
        "floor": number(measure.get("floor")),
        "ceiling": number(measure.get("ceiling")),
        "controls": [[control, number(figure)] for control, figure in controls.items()],
        "state": state,
        "reason": (reason_text(measure.get("reason")) or NO_REASON) if state in ("missing", "unreliable") else None,
        "code": measure.get("reason"),
        "hint": hint_text(measure.get("reason"), measure.get("hint")),
        "digits": digits,
        "clip_digits": 0 if all_whole else digits,
        "clips": len(measured),
    }


def _view_figure(clip: Mapping[str, Any], name: str, measure: Mapping[str, Any]) -> dict[str, Any]:
    figure = (clip.get("measures") or {}).get(name) or {}
    value = number(figure.get("value"))
    viewed: dict[str, Any] = {"value": value}
    if value is None:
        viewed |= {"reason": reason_text(figure.get("reason")) or NO_REASON}
    if controls := figure.get("controls"):
        viewed["controls"] = [[control, number(of_control)] for control, of_control in controls.items()]
    if (target := target_of(clip, name, measure)) is not None:
        viewed["target"] = target
    return viewed


def _view_error(error: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not error:
        return None
    fields = {name: str(error[name]) for name in ("code", "message", "hint") if error.get(name)}
    return {"message": "it could not be measured", **fields}


def _view_series(series: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not series:
        return None
    names = ("lip_gap", "reference_lip_gap", "loudness", "speech")
    return {"fps": number(series.get("fps")) or 25.0, **{name: _view_line(series.get(name)) for name in names}}


def _view_line(values: Sequence[Any] | None) -> list[float | int | None] | None:
    if values is None:
        return None
    numbers = [number(value) for value in values]
    return [None if value is None else int(value) if value == int(value) else round(value, 4) for value in numbers]


def _digits(values: Sequence[float | None]) -> int:
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 2
    return next((digits for limit, digits in ((100, 0), (10, 1), (1, 2)) if median(sizes) >= limit), 3)

"""The document of an evaluation as the page wants it: words, order, digits and ranks worked out, nothing invented."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from vast_cli.evaluate.report.ranking import Rank, number, target_of
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

MAX_COLUMNS = 4  # figures beside a clip's name
NO_REASON = "no reason was given"


def finite(value: Any) -> Any:
    """The same with every number that is none (NaN, infinity) as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def view_measures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every measure, family by family in the order of the document."""
    clips = document.get("clips") or []
    shown = [_measure(name, measure, clips) for name, measure in (document.get("measures") or {}).items()]
    return sorted(shown, key=lambda measure: family_order(measure["family"]))


def key_columns(measures: Sequence[Mapping[str, Any]]) -> list[str]:
    """The measures whose figures stand beside each clip's name."""
    measured = [measure["name"] for measure in measures if measure["clips"] and measure["state"] != "unreliable"]
    keys = [name for name in KEY_MEASURES if name in measured]
    return (keys + [name for name in measured if name not in keys])[:MAX_COLUMNS]


def view_clip(clip: Mapping[str, Any], rank: Rank, measures: Mapping[str, Any]) -> dict[str, Any]:
    """A clip without its pictures."""
    names = ("id", "output", "reference", "audio", "style_reference", "footage", "set", "speaker", "avatar")
    figures = clip.get("measures") or {}
    return {
        **{name: None if clip.get(name) is None else str(clip[name]) for name in names},
        **{name: number(clip.get(name)) for name in ("frames", "duration_s", "frames_lost")},
        "measures": {name: _figure(clip, name, measures.get(name) or {}) for name in figures},
        "flags": [
            {"measure": str(flag.get("measure") or ""), "level": str(flag.get("level")), "text": str(flag.get("text"))}
            for flag in clip.get("flags") or []
        ],
        "notes": [str(note) for note in clip.get("notes") or []],
        "series": _series(clip.get("series")),
        "error": _error(clip.get("error")),
        "rank": {
            "error": rank.error,
            "fails": rank.fails,
            "warns": rank.warns,
            "score": round(rank.score, 2),
            "behind": {name: round(spreads, 2) for name, spreads in rank.behind.items()},
            "causes": rank.causes,
        },
    }


def _measure(name: str, measure: Mapping[str, Any], clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    value = number(measure.get("value"))
    of_clips = [number((clip.get("measures") or {}).get(name, {}).get("value")) for clip in clips]
    known = [figure for figure in of_clips if figure is not None]
    whole = bool(known) and all(figure == round(figure) for figure in known)
    # an unmeasured value is never unreliable: there is nothing to distrust
    valid = measure.get("valid")  # null where no control could be ordered
    state = "missing" if value is None else "unreliable" if valid is False else "ok" if valid else "unchecked"
    controls = measure.get("controls") or {}
    digits = _digits([value, *known])
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
        "clip_digits": 0 if whole else digits,
        "clips": len(known),
    }


def _figure(clip: Mapping[str, Any], name: str, measure: Mapping[str, Any]) -> dict[str, Any]:
    figure = (clip.get("measures") or {}).get(name) or {}
    value = number(figure.get("value"))
    shown: dict[str, Any] = {"value": value}
    if value is None:
        shown |= {"reason": reason_text(figure.get("reason")) or NO_REASON}
    if controls := figure.get("controls"):
        shown["controls"] = [[control, number(found)] for control, found in controls.items()]
    if (target := target_of(clip, name, measure)) is not None:
        shown["target"] = target
    return shown


def _error(error: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not error:
        return None
    known = {name: str(error[name]) for name in ("code", "message", "hint") if error.get(name)}
    return {"message": "it could not be measured", **known}


def _series(series: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not series:
        return None
    names = ("lip_gap", "reference_lip_gap", "loudness", "speech")
    return {"fps": number(series.get("fps")) or 25.0, **{name: _line(series.get(name)) for name in names}}


def _line(values: Sequence[Any] | None) -> list[float | int | None] | None:
    if values is None:
        return None
    known = [number(value) for value in values]
    return [None if value is None else int(value) if value == int(value) else round(value, 4) for value in known]


def _digits(values: Sequence[float | None]) -> int:
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 2
    return next((digits for limit, digits in ((100, 0), (10, 1), (1, 2)) if median(sizes) >= limit), 3)

"""Figures that documents quote are those of the constants and of the shipped avatar's footage statistics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vast_cli.core.limits import LIMITS
from vast_cli.core.timebase import FPS, PPG_RATE
from vast_cli.gates.limits import DEFAULT, Gate, parse
from vast_cli.records import N_EXPRESSION, N_PHONES, N_STRONG, N_WEAK

ROOT = Path(__file__).resolve().parents[1]
GATES = (ROOT / "docs" / "gates.md").read_text("utf-8")
DEFINITIONS, MEASURED, SHIPPED = re.split(r"^## .*$", GATES, flags=re.MULTILINE)
NUMBER = r"\d*\.\d+|\d+"


def rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of the tables in Markdown, without heads."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| `", "| not default")):
            yield cells


def quoted(text: str) -> list[str]:
    """Pieces of code in a text."""
    return re.findall(r"`([^`]+)`", text)


# --- limits ---------------------------------------------------------------------------------------------------------


def test_the_default_gates_are_those_of_the_documentation() -> None:
    documented = {}
    for names, _, default in rows(DEFINITIONS):
        for name in quoted(names):
            documented[name.split("=")[0]] = quoted(default)
    defaults = {gate.name: [str(gate).removeprefix(gate.name)] for gate in DEFAULT}
    assert {name: limit for name, limit in documented.items() if limit} == defaults


def test_limits_with_measured_shares_say_which_of_them_are_defaults() -> None:
    defaults = {str(gate) for gate in DEFAULT}
    found = set()
    for cells in rows(MEASURED):
        limit = "".join(quoted(cells[0]))
        assert (limit in defaults) != cells[0].startswith("not default"), limit
        found.add(limit)
    unmeasured = {"frames=exact", "av_length_diff_ms<=40"}  # exact counts, which no window of real footage has
    assert defaults - found == unmeasured


def test_identity_limits_are_those_of_the_documents() -> None:
    limit = LIMITS["identity_dist"]
    decisions = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    match = re.search(rf"`identity_dist` warns at ({NUMBER}), fails at ({NUMBER})", decisions)
    assert match is not None
    assert (float(match[1]), float(match[2])) == (limit.warn[1], limit.fail[1])
    (row,) = (cells for cells in rows((ROOT / "docs" / "measures.md").read_text("utf-8")) if "`identity_dist`" in cells)
    assert f"reach {limit.warn[1]:.2f}, other people begin at {limit.fail[1]:.2f}" in row[1]


def test_sizes_and_rates_are_those_of_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert f"D^nar {N_STRONG}, D^ar {N_WEAK}" in text
    assert f"{N_EXPRESSION} components a frame: {N_STRONG} strong, {N_WEAK} weak" in text
    assert f"probabilities of {N_PHONES} phones at {PPG_RATE} Hz" in text
    assert f"video frame k is the instant k/{FPS} s; PPG frame j covers [{1 / PPG_RATE:g} j, " in text


def test_reasons_quote_the_limits_that_they_are_given_for() -> None:
    from vast_cli.evaluate.measures import integrity
    from vast_cli.evaluate.measures.spec import REASONS
    from vast_cli.evaluate.observation.audio import MIN_SPEECH_S
    from vast_cli.evaluate.observation.tracking import LOST_SHARE

    assert f"more than {100 * LOST_SHARE:g} % of the frames" in REASONS["no_face"]
    assert f"less than {MIN_SPEECH_S:g} s of speech" in REASONS["no_speech"]
    assert f"pause of {integrity.MIN_SILENCE / FPS:g} s or more" in REASONS["no_silence"]
    assert f"{FPS} frames a second" in REASONS["not_25fps"]


# --- the shipped avatar ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def statistics() -> dict[str, Any]:
    """Footage statistics of the shipped avatar."""
    card = json.loads((ROOT / "weights" / "avatars" / "obama" / "avatar.json").read_text("utf-8"))
    document: dict[str, Any] = card["yardstick"]
    return document


def window_range(statistics: dict[str, Any], gate: str) -> tuple[float, float]:
    """1 % and 99 % quantiles of a gate's value over windows of the avatar's own footage."""
    name, divisor = ("lagsync_margin", statistics["lagsync_margin"]) if gate == "sync" else (gate, 1.0)
    window = statistics["windows"][name]
    return window["low"] / divisor, window["high"] / divisor


def numbers(text: str) -> list[float]:
    """Numbers in a text."""
    return [float(number) for number in re.findall(NUMBER, text)]


def test_the_footage_column_is_that_of_the_shipped_avatar(statistics: dict[str, Any]) -> None:
    names = []
    for gate, renders, footage, _ in rows(SHIPPED):
        (name,) = quoted(gate)
        names.append(name)
        low, high = window_range(statistics, name)
        assert footage == f"{low:.2f} - {high:.2f}", name
        if "all of the footage" in renders:
            assert numbers(renders)[-1] == statistics[name], name
    assert names == ["sharpness", "sync", "identity_dist", "flicker_ratio", "lip_accel_ratio", "bilabial_closure",
                     "silence_gap"]  # fmt: skip


def recommended() -> tuple[Gate, ...]:
    """The gates that the shipped avatar passes, as the documentation has them."""
    (command,) = (piece for piece in quoted(SHIPPED) if piece.startswith("--gate '"))
    return parse([command.removeprefix("--gate ").strip("'")])


def test_the_gates_that_the_shipped_avatar_passes_lie_below_its_renders_and_its_footage(
    statistics: dict[str, Any],
) -> None:
    renders = {quoted(cells[0])[0]: numbers(cells[1])[:2] for cells in rows(SHIPPED)}
    defaults = {str(gate) for gate in DEFAULT}
    for gate in recommended():
        if gate.name in renders:
            assert all(gate.passes(value) for value in renders[gate.name]), gate
            assert all(gate.passes(value) for value in window_range(statistics, gate.name)), gate
        else:
            assert str(gate) in defaults, gate


def test_what_the_shipped_avatar_never_reaches_is_said(statistics: dict[str, Any]) -> None:
    never = {}
    for gate, renders, _, reached in rows(SHIPPED):
        (name,) = quoted(gate)
        if "**never**" in reached:
            never[name] = f"{name}{re.findall(r'default `([^`]+)` [*][*]never', reached)[0]}"
            (limit,) = parse([never[name]])
            assert not any(limit.passes(value) for value in numbers(renders)[:2]), name
    assert set(never.values()) <= {str(gate) for gate in DEFAULT}
    assert set(never) == {"sharpness"}
    assert "does not pass `--gate default`" in SHIPPED


@pytest.mark.parametrize("page", ["README.md", "docs/batch.md", "docs/cli.md", "docs/gates.md", "CHANGELOG.md"])
def test_suggested_gates_are_ones_that_the_shipped_avatar_passes(page: str) -> None:
    reachable = {(gate.name, gate.sign): gate.limit for gate in recommended()}
    text = (ROOT / page).read_text("utf-8")
    suggestions = [*re.findall(r"--gate '([^']+)'", text), *re.findall(r"must reach: (\S+);", text)]
    assert suggestions, page
    for suggestion in suggestions:
        for gate in parse([suggestion]):
            limit = reachable[gate.name, gate.sign]
            assert gate.limit <= limit if gate.sign == ">=" else gate.limit >= limit, f"{page}: {gate}"

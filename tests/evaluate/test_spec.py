"""Specs and readings of measures: null with a reason, the order of controls, and docs/measures.md."""

import math
from pathlib import Path

import pytest

from vast_cli.evaluate.measures import registry
from vast_cli.evaluate.measures.spec import REASONS, Spec, in_order, missing, reading, skill

SPEC = Spec("m", "M", "", "1", "higher", "best", "worst", (("worst", "late", "best"),))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_value_that_is_not_finite_is_null_with_a_reason(value: float | None) -> None:
    result = reading(value, otherwise="no_face", controls={"best": math.nan, "worst": 1})
    assert (result.value, result.reason) == (None, "no_face")
    assert result.hint
    assert dict(result.controls) == {"best": None, "worst": 1.0}


def test_order_is_checked_over_the_known_controls() -> None:
    assert in_order(SPEC, {"worst": 0, "late": 1, "best": 2}) is True
    assert in_order(SPEC, {"worst": 0, "late": 3, "best": 2}) is False
    assert in_order(SPEC, {"worst": 0, "late": None, "best": 2}) is True
    assert in_order(SPEC, {"worst": 0}) is None


def test_skill_is_0_at_the_floor_and_1_at_the_ceiling() -> None:
    controls = {"worst": 0.2, "best": 0.8}
    assert skill(SPEC, 0.2, controls) == 0
    assert skill(SPEC, 0.8, controls) == pytest.approx(1)
    assert skill(SPEC, 0.5, {"worst": 0.5, "best": 0.5}) is None
    assert skill(SPEC, None, controls) is None


def test_every_reason_has_a_hint() -> None:
    assert all(missing(reason).hint for reason in REASONS)


def test_measures_are_named_once_and_described() -> None:
    names = [spec.name for module in registry.MODULES for spec in (*module.SPECS, *getattr(module, "SET_SPECS", ()))]
    assert len(names) == len(set(names))
    for spec in registry.SPECS.values():
        assert spec.title and spec.about.endswith("."), spec.name


def test_the_page_of_measures_is_up_to_date() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "measures.md"
    command = "python -m vast_cli.evaluate.measures.registry > docs/measures.md"
    assert page.read_text("utf-8") == registry.markdown_page(), command

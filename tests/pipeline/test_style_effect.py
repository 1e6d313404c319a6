"""What a style does, in words: the words follow the numbers."""

import dataclasses

import numpy as np
import pytest

from vast_cli.face.features import FEATURES
from vast_cli.pipeline.models import Models
from vast_cli.pipeline.style_effect import StyleEffect, describe, measure_effect

REST = StyleEffect(levels=dict.fromkeys(FEATURES, 0.0), spreads=dict.fromkeys(FEATURES, 1.0), blinks_per_minute=20)


def changed(*, levels: dict[str, float] | None = None, spreads: dict[str, float] | None = None) -> StyleEffect:
    return dataclasses.replace(
        REST, levels={**REST.levels, **(levels or {})}, spreads={**REST.spreads, **(spreads or {})}
    )


def test_two_equal_styles_leave_nothing_to_say() -> None:
    assert describe(REST, REST) == []
    assert describe(changed(levels={"mouth corners": 0.1}, spreads={"lip opening": 1.1}), REST) == []


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (changed(levels={"mouth corners": 3}), ["mouth corners up"]),
        (changed(levels={"mouth corners": -3}), ["mouth corners down"]),
        (changed(levels={"brow distance": -1}), ["brows drawn together"]),
        (changed(levels={"lids": 1.5, "inner brows": 4}), ["inner brows up", "eyes wider open"]),  # strongest first
        (changed(spreads={"lip opening": 1.5}), ["lips move more"]),
        (changed(spreads={"inner brows": 0.5}), ["brows move less"]),
    ],
)
def test_what_stands_out_is_said(effect: StyleEffect, words: list[str]) -> None:
    assert describe(effect, REST) == words


def test_a_face_that_does_not_move_is_described() -> None:
    still = dataclasses.replace(REST, spreads=dict.fromkeys(FEATURES, 0.0))
    assert "lips move less" in describe(still, REST) and describe(REST, still)


def test_effects_are_of_a_face_that_speaks() -> None:
    models = Models()
    vector = np.zeros(models.style_model.d_style, np.float32)
    first = measure_effect(vector, models)
    assert first.levels["lip opening"] > 0  # speech opens the mouth
    assert all(spread > 0 for spread in first.spreads.values())
    assert 0 <= first.blinks_per_minute < 120

"""Only attentive raters count; damaged answers, those of another study and duplicates are refused."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from vast_cli.core.errors import VastError
from vast_cli.evaluate import statistics
from vast_cli.evaluate.study import read_study
from vast_cli.evaluate.study.answers import read_key
from vast_cli.evaluate.study.design import StudyItem, TokenGenerator, make_design
from vast_cli.evaluate.study.make import KEEP, KEY, KEY_SCHEMA
from vast_cli.evaluate.study.questions import ASPECTS, Mode, rule

METHODS = ("truth", "floor", "vast")
QUALITY = {"truth": 4.6, "vast": 3.6, "floor": 1.8}
Opinion = Callable[[StudyItem, str, np.random.Generator], Any]


class AnsweredStudy:
    """A study with its key in a folder, and raters who answer it."""

    def __init__(self, folder: Path, mode: Mode = "rating", n_sentences: int = 6) -> None:
        self.folder, self.mode = folder, mode
        sentences = [f"s{k}" for k in range(n_sentences)]
        design = make_design(sentences, METHODS, mode=mode, n_raters=20, tokens=TokenGenerator(Random(7)))
        key = {
            "schema": KEY_SCHEMA, "study": "abc123", "mode": mode, "methods": METHODS,
            "rule": rule(mode, has_floor=True),
            "clips": [asdict(clip) for clip in design.clips],
            "items": [asdict(item) for item in design.items],
            "orders": [[showing.item for showing in order] for order in design.orders],
        }  # fmt: skip
        (folder / KEEP).mkdir(parents=True)
        (folder / KEEP / KEY).write_text(json.dumps(key))
        self.items = {item.token: item for item in design.items}
        self.method = {clip.token: clip.method for clip in design.clips}

    def honest(self, item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        """The answer of an attentive rater."""
        if item.kind == "button":
            return int(item.answer or 0) if self.mode == "rating" else item.answer
        if self.mode == "rating":
            if item.kind == "other_audio" and aspect == "sync":
                return 1
            noise = 0.0 if item.kind == "repeat" or item.token == self.repeated else rng.normal(0, 0.6)
            return int(np.clip(round(QUALITY[self.method[item.clips[0]]] + noise), 1, 5))
        if item.kind == "other_audio":
            return item.answer
        a, b = item.clips
        return a if QUALITY[self.method[a]] > QUALITY[self.method[b]] else b

    @property
    def repeated(self) -> str | None:
        """Token of the item that is shown twice."""
        return next(item.of for item in self.items.values() if item.kind == "repeat")

    def answer(self, number: int, opinion: Opinion | None = None, **changes: Any) -> Path:
        """Write the file of one rater."""
        rng = np.random.default_rng(number)
        answer = opinion or self.honest
        rows = [
            {
                "item": item.token,
                "plays": [1] * len(item.clips),
                "answers": {aspect: answer(item, aspect, rng) for aspect in ASPECTS},
            }
            for item in self.items.values()
        ]
        data = {
            "schema": "vast.study.answers/1", "study": "abc123", "mode": self.mode, "judge": number,
            "token": f"t{number}", "answers": rows, **changes,
        }  # fmt: skip
        path = self.folder / f"answers-{len(list(self.folder.glob('answers-*')))}.json"
        path.write_text(json.dumps(data))
        return path


@pytest.fixture
def rating(tmp_path: Path) -> AnsweredStudy:
    return AnsweredStudy(tmp_path / "study")


@pytest.fixture
def pairs(tmp_path: Path) -> AnsweredStudy:
    return AnsweredStudy(tmp_path / "pairs", "pairwise")


def test_honest_raters_give_the_expected_scores(rating: AnsweredStudy) -> None:
    report = read_study(rating.folder, [rating.answer(rater) for rater in range(1, 11)])
    assert report["judges"] == {"given": 10, "kept": 10, "left_out": []}
    for method, quality in QUALITY.items():
        score = report["methods"][method]["mos_nat"]
        assert score["value"] == pytest.approx(quality, abs=0.3)
        assert score["ci95"][0] <= score["value"] <= score["ci95"][1]
        assert score["n"] == 10 and score["reason"] is None
    assert set(report["agreement"]) == {"mos_sync", "mos_expr", "mos_nat"}
    assert report["agreement"]["mos_nat"] > 0.6
    assert report["plays_per_item"] == 1.0
    json.dumps(report)


def test_checks_and_repetitions_never_enter_the_scores(rating: AnsweredStudy) -> None:
    def five_where_it_counts(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        return 5 if item.kind in ("main", "repeat") else rating.honest(item, aspect, rng)

    files = [rating.answer(rater, five_where_it_counts) for rater in range(1, 7)]
    report = read_study(rating.folder, files)
    assert report["judges"]["kept"] == 6
    assert {scores["mos_expr"]["value"] for scores in report["methods"].values()} == {5.0}
    assert report["agreement"]["mos_expr"] is None  # all the same: not defined


def test_comparisons_are_paired_and_holm_adjusted(rating: AnsweredStudy) -> None:
    report = read_study(rating.folder, [rating.answer(rater) for rater in range(1, 13)])
    rows = report["comparisons"]
    assert len(rows) == 9  # three questions, three pairs
    assert [row["p_holm"] for row in rows] == pytest.approx(statistics.holm([row["p"] for row in rows]))
    best = next(row for row in rows if (row["question"], row["a"], row["b"]) == ("mos_sync", "truth", "floor"))
    assert best["better"] == "truth" and best["difference"] > 2 and best["p_holm"] < 0.01


def test_equal_methods_have_no_winner(rating: AnsweredStudy) -> None:
    def same(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        if item.kind != "main" or rating.method[item.clips[0]] == "floor" or item.token == rating.repeated:
            return rating.honest(item, aspect, rng)
        return int(rng.integers(3, 6))

    report = read_study(rating.folder, [rating.answer(rater, same) for rater in range(1, 11)])
    row = next(r for r in report["comparisons"] if (r["question"], r["a"], r["b"]) == ("mos_nat", "truth", "vast"))
    assert row["better"] is None


def test_without_raters_there_are_no_scores(rating: AnsweredStudy, pairs: AnsweredStudy) -> None:
    report = read_study(rating.folder, [])
    for scores in report["methods"].values():
        assert all(score["value"] is None and score["reason"] == "no_judges" for score in scores.values())
    assert report["comparisons"] == [] and set(report["agreement"].values()) == {None}
    assert read_study(pairs.folder, [])["methods"]["vast"]["mos_sync"]["reason"] == "not_asked"


def test_few_raters_give_scores_but_no_interval(rating: AnsweredStudy) -> None:
    report = read_study(rating.folder, [rating.answer(rater) for rater in range(1, 4)])
    score = report["methods"]["vast"]["mos_sync"]
    assert score["value"] is not None and score["ci95"] is None and score["reason"] == "too_few_clips"
    assert all(row["better"] is None for row in report["comparisons"])


def left_out(study: AnsweredStudy, opinion: Opinion) -> list[str]:
    report = read_study(study.folder, [study.answer(1, opinion), study.answer(2)])
    assert report["judges"]["kept"] == 2 - len(report["judges"]["left_out"])
    assert all(left["judge"] == 1 for left in report["judges"]["left_out"])
    return [reason for left in report["judges"]["left_out"] for reason in left["reasons"]]


def test_inattentive_raters_are_left_out(rating: AnsweredStudy) -> None:
    def inattentive(item: StudyItem, aspect: str, rng: np.random.Generator) -> int:
        return 4

    assert any("checks" in reason for reason in left_out(rating, inattentive))


def test_one_failed_check_is_forgiven(rating: AnsweredStudy) -> None:
    def deaf(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        return 5 if item.kind == "other_audio" else rating.honest(item, aspect, rng)

    assert left_out(rating, deaf) == []


@pytest.mark.parametrize(("now", "out"), [(3, False), (4, True)])
def test_raters_who_contradict_themselves_are_left_out(rating: AnsweredStudy, now: int, out: bool) -> None:
    def fickle(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        if item.token == rating.repeated:
            return 1
        return now if item.kind == "repeat" else rating.honest(item, aspect, rng)

    assert any("repeated video" in reason for reason in left_out(rating, fickle)) is out


def test_raters_who_rate_the_truth_below_the_floor_are_left_out(rating: AnsweredStudy, pairs: AnsweredStudy) -> None:
    def upside_down(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        value = rating.honest(item, aspect, rng)
        return 6 - value if item.kind in ("main", "repeat") else value

    def contrary(item: StudyItem, aspect: str, rng: np.random.Generator) -> Any:
        chosen = pairs.honest(item, aspect, rng)
        return next(clip for clip in item.clips if clip != chosen) if item.kind in ("main", "repeat") else chosen

    assert any("below the floor" in reason for reason in left_out(rating, upside_down))
    assert any("prefers the floor" in reason for reason in left_out(pairs, contrary))


def test_unfinished_answers_are_left_out(rating: AnsweredStudy) -> None:
    path = rating.answer(1)
    data = json.loads(path.read_text())
    data["answers"][3]["answers"].pop("nat")
    path.write_text(json.dumps(data))
    report = read_study(rating.folder, [path])
    assert "incomplete" in report["judges"]["left_out"][0]["reasons"][0]
    assert report["methods"]["vast"]["mos_nat"]["reason"] == "no_judges"


def test_pairs_give_shares_of_choices(pairs: AnsweredStudy) -> None:
    report = read_study(pairs.folder, [pairs.answer(rater) for rater in range(1, 11)])
    assert report["judges"]["kept"] == 10
    row = next(r for r in report["comparisons"] if (r["question"], r["a"], r["b"]) == ("choice_nat", "floor", "vast"))
    assert row["share_a"] == 0.0 and row["better"] == "vast" and row["ci95"] == (0.0, 0.0)
    assert report["methods"]["vast"]["mos_nat"]["reason"] == "not_asked"


def test_raters_who_always_choose_the_left_are_left_out(pairs: AnsweredStudy) -> None:
    def first(item: StudyItem, aspect: str, rng: np.random.Generator) -> str:
        wrong = [clip for clip in item.clips if clip != item.answer]
        return wrong[0] if item.kind != "main" else item.clips[0]

    assert any("checks" in reason for reason in left_out(pairs, first))


def refused(study: AnsweredStudy, *paths: Path) -> str:
    with pytest.raises(VastError) as caught:
        read_study(study.folder, paths)
    assert caught.value.code == "vast_record_invalid"
    return caught.value.message


def test_answers_of_another_study_are_refused(rating: AnsweredStudy) -> None:
    assert "another study" in refused(rating, rating.answer(1, study="zzz"))


def test_the_same_rater_twice_is_refused(rating: AnsweredStudy) -> None:
    assert "keep one of them" in refused(rating, rating.answer(1), rating.answer(1, token="other"))
    assert "keep one of them" in refused(rating, rating.answer(2), rating.answer(3, token="t2"))


def test_all_bad_files_are_reported_at_once(rating: AnsweredStudy, tmp_path: Path) -> None:
    torn = tmp_path / "torn.json"
    torn.write_bytes(rating.answer(1).read_bytes()[:-40])
    message = refused(rating, torn, rating.answer(2, study="zzz"), rating.answer(3, schema="x"), tmp_path / "none.json")
    assert "4 of 4" in message
    assert all(text in message for text in ("torn.json", "damaged", "another study", "this version", "no file"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row["answers"].update(sync=6),
        lambda row: row["answers"].update(sync=True),
        lambda row: row["answers"].update(sync=3.5),
        lambda row: row["answers"].update(sync=None),
        lambda row: row["answers"].update(beauty=3),
        lambda row: row.update(item="unknown"),
        lambda row: row.update(plays=[0]),
        lambda row: row.update(plays="often"),
        lambda row: row.pop("answers"),
    ],
)
def test_answers_that_the_page_cannot_write_are_refused(
    rating: AnsweredStudy, damage: Callable[[dict[str, Any]], Any]
) -> None:
    path = rating.answer(1)
    data = json.loads(path.read_text())
    damage(data["answers"][2])
    path.write_text(json.dumps(data))
    assert "entry 3" in refused(rating, path)


@pytest.mark.parametrize("number", [0, 21, "1", None, True, 1.0])
def test_raters_have_numbers_of_the_study(rating: AnsweredStudy, number: object) -> None:
    assert "rater number" in refused(rating, rating.answer(1, judge=number))


def test_an_item_answered_twice_is_refused(rating: AnsweredStudy) -> None:
    path = rating.answer(1)
    data = json.loads(path.read_text())
    data["answers"].append(data["answers"][0])
    path.write_text(json.dumps(data))
    assert "second time" in refused(rating, path)


def test_a_missing_or_damaged_key_is_reported(rating: AnsweredStudy, tmp_path: Path) -> None:
    with pytest.raises(VastError, match="is no study"):
        read_study(tmp_path, [])
    (rating.folder / KEEP / KEY).write_text('{"schema": "vast.study.key/1", "study": "a"}')
    with pytest.raises(VastError, match="is damaged"):
        read_key(rating.folder)
    (rating.folder / KEEP / KEY).write_text('{"schema": "vast.study.key/9"}')
    with pytest.raises(VastError) as caught:
        read_key(rating.folder)
    assert caught.value.code == "vast_record_version"

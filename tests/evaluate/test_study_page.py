"""The study page in a real browser, from disk and without a network, until its answers are read back."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.browser import PageLog, needs_chromium, playwright, wait_until
from vast_cli.cli.study import app
from vast_cli.evaluate.study import make_study
from vast_cli.evaluate.study.make import Study, StudySettings
from vast_cli.evaluate.study.questions import ASPECTS

pytestmark = needs_chromium

NO_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden'); } });"
POINTS = {"truth": 5, "fine": 4, "floor": 2}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> dict[str, Study]:
    """One study to rate, with its videos inside the page, and one to choose, with its videos beside it."""
    folder = tmp_path_factory.mktemp("page") / "ä b"
    folder.mkdir()
    rows = ["sentence,method,video"]
    for number in range(3):
        for method in ("truth", "fine"):
            frames, audio = f"testsrc=s=96x64:r=25:d=0.4,hue=h={40 * number}", f"sine=f={200 + 90 * number}:d=0.4"
            name = f"{method}{number}.mp4"
            ffmpeg("-f", "lavfi", "-i", frames, "-f", "lavfi", "-i", audio, "-pix_fmt", "yuv420p", folder / name)
            rows.append(f"s{number},{method},{name}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows))
    rate = make_study(table, folder / "rate", StudySettings(n_raters=6))
    choose = make_study(table, folder / "choose", StudySettings(n_raters=6, mode="pairwise", inline=False))
    return {"rate": rate, "choose": choose}


@pytest.fixture
def visit(browser: Any, studies: dict[str, Study]) -> Iterator[Callable[..., Any]]:
    """Open a study in a private window; it must load nothing from outside and write nothing to the console."""
    contexts: list[Any] = []
    logs: list[tuple[PageLog, str]] = []

    def opened(kind: str, query: str = "?judge=3", *, script: str = "", context: Any = None, **options: Any) -> Any:
        own = context or browser.new_context(offline=True, accept_downloads=True, **options)
        contexts.append(own)
        page = own.new_page()
        if script:
            page.add_init_script(script)
        log = PageLog()
        log.attach(page)
        logs.append((log, studies[kind].page.parent.as_uri()))
        page.goto(studies[kind].page.as_uri() + query)
        return page

    yield opened
    for context in contexts:
        context.close()
    for log, folder in logs:
        log.check(folder, "blob:")


def begin(page: Any) -> None:
    page.locator("#rater").focus()
    page.keyboard.press("Enter")
    page.locator("#task").wait_for(state="visible")


def is_open(page: Any) -> bool:
    """Whether the answers may be given."""
    return not page.evaluate("document.getElementById('answers').disabled")


def watch(page: Any) -> None:
    """Play with the space bar until the answers open."""
    page.keyboard.press("Space")
    wait_until(page, "!document.querySelector('#answers input').matches(':disabled')")


def first_record(page: Any) -> Any:
    """What the page has stored about its first item."""
    return page.evaluate("JSON.parse(Object.values(localStorage)[0]).records[0]")


def answer(page: Any, key: str) -> None:
    page.keyboard.press(key)
    playwright.expect(page.locator("#next")).to_be_enabled()
    page.keyboard.press("Enter")


def save(page: Any, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")  # the link has the focus
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_rating_by_keyboard_alone_until_the_scores(
    visit: Callable[..., Any], studies: dict[str, Study], tmp_path: Path
) -> None:
    key = json.loads(studies["rate"].key.read_text())
    items = {item["token"]: item for item in key["items"]}
    method = {clip["token"]: clip["method"] for clip in key["clips"]}
    page = visit("rate")
    begin(page)
    for number, token in enumerate(key["orders"][2]):
        item = items[token]
        playwright.expect(page.locator("#place")).to_have_text(f"Video {number + 1} of {len(items)}")
        watch(page)
        for aspect in ASPECTS:
            points = POINTS[method[item["clips"][0]]]
            points = {"button": int(item["answer"] or 0), "other_audio": 1}.get(item["kind"], points)
            answer(page, str(points if aspect != "expr" or item["kind"] == "button" else max(points - 1, 1)))
    page.locator("#done").wait_for(state="visible")
    path = save(page, tmp_path)
    assert re.fullmatch(r"answers-[0-9a-f]{12}-judge-3\.json", path.name)
    data = json.loads(path.read_text())
    assert data["judge"] == 3 and data["screen"]["width"] > 0 and "Chrome" in data["user_agent"]
    assert data["started"] < data["finished"] and re.fullmatch(r"[0-9a-f]{16}", data["token"])
    for row in data["answers"]:
        assert row["plays"] == row["starts"] == [1]
        assert set(row["seconds"]) == set(ASPECTS) and all(0 <= spent < 60 for spent in row["seconds"].values())

    made = studies["rate"].key.parents[1]
    result = CliRunner().invoke(app, ["read", str(made), str(path), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["judges"] == {"given": 1, "kept": 1, "left_out": []}
    for name, points in POINTS.items():
        scores = report["methods"][name]
        assert scores["mos_sync"]["value"] == scores["mos_nat"]["value"] == points
        assert scores["mos_expr"]["value"] == points - 1
        assert scores["mos_sync"]["ci95"] is None  # one rater
    shown = CliRunner().invoke(app, ["read", str(made), str(path)])
    assert "Mean opinion score" in shown.stdout and "4.00" in shown.stdout


def test_answers_open_after_the_first_full_play_and_plays_are_counted(visit: Callable[..., Any]) -> None:
    page = visit("rate")
    begin(page)
    page.wait_for_timeout(600)
    assert page.evaluate("document.querySelector('video').paused && document.querySelector('video').currentTime === 0")
    page.keyboard.press("3")
    assert not is_open(page) and page.locator("#next").is_disabled()
    assert page.locator("input:checked").count() == 0
    page.evaluate("document.querySelector('video').currentTime = 0.38")  # jumping to the end is no play
    page.keyboard.press("Space")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('video').ended") and not is_open(page)
    for number in range(1, 4):
        page.keyboard.press("Space")
        end = time.monotonic() + 10
        while first_record(page)["plays"] != [number]:
            assert time.monotonic() < end
            page.wait_for_timeout(20)
    assert is_open(page) and first_record(page)["answers"] == {}
    answer(page, "4")
    playwright.expect(page.locator("#step")).to_have_text("Question 2 of 3")
    page.locator("#back").click()
    assert page.locator("input:checked").get_attribute("value") == "4"


def test_a_closed_window_loses_nothing(visit: Callable[..., Any], browser: Any) -> None:
    context = browser.new_context(offline=True)
    page = visit("rate", context=context)
    begin(page)
    watch(page)
    for _ in ASPECTS:
        answer(page, "2")
    watch(page)
    answer(page, "3")
    page.wait_for_timeout(500)  # Chromium hands what is stored to another process; a busy machine takes its time
    page.close()
    again = visit("rate", context=context)
    playwright.expect(again.locator("#rater-note")).to_contain_text("1 of 12")
    begin(again)
    playwright.expect(again.locator("#place")).to_have_text("Video 2 of 12")
    playwright.expect(again.locator("#step")).to_have_text("Question 2 of 3")
    other = visit("rate", "?judge=4", context=context)
    assert other.locator("#rater-note").inner_text() == ""  # another rater has an order and a storage of their own


def test_the_page_works_without_storage(visit: Callable[..., Any]) -> None:
    page = visit("rate", script=NO_STORAGE)
    assert page.locator("#storage-note").is_visible()
    begin(page)
    watch(page)
    answer(page, "2")
    playwright.expect(page.locator("#step")).to_have_text("Question 2 of 3")


def test_a_rater_needs_a_number_of_the_study(visit: Callable[..., Any]) -> None:
    page = visit("rate", "?judge=7")
    for number in ("7", "", "0", "three", "1.5", "-1"):
        page.locator("#rater").fill(number)
        page.locator("#begin-button").click()
        assert "from 1 to 6" in page.locator("#rater-note").inner_text(), number
        assert page.locator("#task").is_hidden()
    page.locator("#rater").fill("6")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#task")).to_be_visible()


def test_choosing_from_pairs_beside_the_page(visit: Callable[..., Any], studies: dict[str, Study]) -> None:
    page = visit("choose")
    begin(page)
    page.keyboard.press("Space")
    page.locator("figure").nth(0).locator("text=Play again").wait_for()
    assert not is_open(page)  # the other video has not been played
    page.locator(".play").nth(1).focus()
    page.keyboard.press("Space")
    playwright.expect(page.locator("#answers input").first).to_be_enabled()
    for key in "bab":
        answer(page, key)
    playwright.expect(page.locator("#place")).to_have_text("Pair 2 of 12")
    record = first_record(page)
    a, b = record["clips"]
    assert record["answers"] == {"sync": b, "expr": a, "nat": b} and record["plays"] == [1, 1]
    assert record["item"] == json.loads(studies["choose"].key.read_text())["orders"][2][0]


@pytest.mark.parametrize("kind", ["rate", "choose"])
def test_the_page_fits_every_width(visit: Callable[..., Any], kind: str) -> None:
    page = visit(kind)
    for started in (False, True):
        if started:
            begin(page)
        for width in (320, 390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for box in page.locator(".scale label").all() if started else []:
                found = box.bounding_box()
                assert found["height"] >= 44 and found["width"] >= 44  # fingers


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_background(visit: Callable[..., Any], scheme: str) -> None:
    page = visit("rate", color_scheme=scheme)
    names = ("ink", "soft", "sheet", "ground", "accent", "on-accent", "warn")
    colours = {
        name: page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')").strip()
        for name in names
    }
    pairs = [("ink", "sheet"), ("ink", "ground"), ("soft", "sheet"), ("soft", "ground"), ("accent", "sheet")]
    for front, back in [*pairs, ("on-accent", "accent"), ("warn", "sheet")]:
        assert contrast(colours[front], colours[back]) >= 4.5, (front, back)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours like #1b2326."""

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_controls_have_names_and_the_question_is_announced(visit: Callable[..., Any]) -> None:
    page = visit("rate")
    begin(page)
    assert page.get_by_role("button", name="Play video").count() == 1
    assert page.get_by_role("group", name="How much do the lip movements match the audio?").count() == 1
    watch(page)
    assert page.get_by_role("radio", name="1, very poor").count() == 1
    assert page.get_by_role("radio", name="5, very good").count() == 1
    answer(page, "5")
    assert page.evaluate("document.activeElement.id") == "legend"

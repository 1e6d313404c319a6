"""The report in a real browser: opens from disk without a network, sorts, filters and plays, by mouse and by keys."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import needs_chromium, open_page, wait_until
from vast_cli.evaluate.report import write_report

pytestmark = needs_chromium

FOLDER = "a b/日本 é'$(x);"
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
VALUES: dict[str, list[float | None]] = {
    "ssim_mouth": [0.95, 0.94, 0.93, 0.96, 0.60, None],
    "lmd_mouth": [1.0, 1.1, 3.5, 0.9, 1.2, None],
    "cpbd_ratio": [1.0, 0.9, 1.1, 1.6, 0.5, None],
    "lip_lag": [0, 0, 0, 0, 0, None],
}
BETTER = {"ssim_mouth": "higher", "lmd_mouth": "lower", "cpbd_ratio": "nearer_1", "lip_lag": "nearer_0"}
NAMES = ["one", "two", "three", "four", "five", SCRIPT]


def make_document(folder: Path, video: Path) -> dict[str, Any]:
    clips: list[dict[str, Any]] = []
    for index, name in enumerate(NAMES):
        output = folder / f"{index} {'<script>x' if index == 5 else 'é'}.mp4"
        if index != 2:
            shutil.copyfile(video, output)
        reasons = {key: {"value": values[index], "reason": "no_face"} for key, values in VALUES.items()}
        clips.append(
            {"id": name, "output": str(output), "reference": str(video) if index == 0 else None, "duration_s": 2.0}
            | {"avatar": "ann" if index % 2 else "bob", "measures": reasons, "flags": [], "frames_lost": 0}
        )
    clips[0]["flags"] = [{"measure": "black_frames", "level": "fail", "text": "3 black frames at 1.2 s"}]
    clips[1]["flags"] = [{"measure": "blink_rate", "level": "warn", "text": "no blink"}]
    lips = [None if 10 <= frame < 14 else 0.1 + 0.05 * (frame % 5) for frame in range(50)]
    clips[0]["series"] = {"fps": 25, "lip_gap": lips, "reference_lip_gap": [0.1] * 50}
    clips[0]["series"] |= {"loudness": [0.5] * 50, "speech": [0] * 25 + [1] * 25}
    measure = {"n": 5, "unit": "1", "controls": {"reencoded": 0.97, "static_mean": 0.6}, "reason": None, "valid": True}
    measures: dict[str, Any] = {
        name: measure
        | {"value": 0.9, "ci95": [0.8, 0.95], "better": better, "floor": 0.6, "ceiling": 0.97, "skill": 0.81}
        for name, better in BETTER.items()
    }
    measures["cpbd_ratio"] |= {"valid": False, "reason": "control_failed"}
    measures["sync_conf"] = {"value": None, "n": 0, "valid": False, "reason": "no_weights", "better": "nearer_truth"}
    measures["sync_conf"]["hint"] = "give them with `--syncnet-weights FILE`"
    return {
        "schema": "vast.evaluate/1",
        "version": "vast 0.0",
        "seed": 0,
        "set": {},
        "measures": measures,
        "clips": clips,
    }


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> dict[str, Path]:
    """The same report with everything inside, and with everything beside it."""
    folder = tmp_path_factory.mktemp("report") / FOLDER
    folder.mkdir(parents=True)
    video = folder / "truth.mp4"
    frames, audio = "testsrc=size=96x96:rate=25:duration=2", "sine=frequency=300:duration=2"
    ffmpeg("-f", "lavfi", "-i", frames, "-f", "lavfi", "-i", audio, "-pix_fmt", "yuv420p", "-c:a", "aac", video)
    document = make_document(folder, video)
    inside = write_report(document, folder / "inside", overwrite=False)
    beside = write_report(document, folder / "beside", overwrite=False, sheets_inline=0, inline_bytes=0)
    return {"inside": inside, "beside": beside}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, which must load nothing from outside its folder, store nothing and write nothing to the console."""
    kind = getattr(request, "param", "inside")
    with open_page(browser, pages[kind]) as (page, log):
        yield page
        log.check(pages[kind].parent.as_uri() + "/", "data:", "blob:")
        if kind == "inside":
            assert [url for url in log.requests if url.startswith("file:")] == [pages[kind].as_uri()]
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def names(page: Any) -> list[str]:
    return [str(name) for name in page.locator(".clip .open").all_text_contents()]


def test_worst_clip_comes_first_and_names_are_only_text(opened: Any) -> None:
    assert names(opened)[:2] == ["one", "five"]  # a failed check, then the lowest figures
    assert set(names(opened)) == set(NAMES)
    assert opened.title() == "Evaluation of 6 clips" and opened.locator("img").count() == 0


def test_sorts_by_each_measure_in_its_direction(opened: Any) -> None:
    wanted = {"ssim_mouth": "five", "lmd_mouth": "three", "cpbd_ratio": "four", "name": "five", "rank": "one"}
    for sort, first in wanted.items():
        opened.select_option("#sort", sort)
        if sort == "name":
            assert names(opened) == sorted(NAMES)
            continue
        assert names(opened)[0] == first
        opened.click(".turn")
        assert names(opened)[0] != first
        if sort != "rank":
            assert names(opened)[-1] == SCRIPT  # missing values stay last in both orders
    opened.click(".column-heads button:has-text('lmd mouth')")
    assert names(opened)[0] == "three"


def test_filters_by_text_avatar_and_problems(opened: Any) -> None:
    opened.fill("#search", "BLACK frames")
    assert names(opened) == ["one"] and opened.inner_text(".count") == "1 of 6 clips"
    opened.fill("#search", "no such clip")
    assert names(opened) == []
    opened.click("text=Show all")
    assert len(names(opened)) == 6
    opened.select_option("#group", label="ann")
    assert set(names(opened)) == {"two", "four", SCRIPT}
    opened.check("#problems")
    assert names(opened) == ["two"]


@pytest.mark.parametrize("opened", ["inside", "beside"], indirect=True)
def test_plays_and_the_playhead_follows(opened: Any) -> None:
    clip = opened.locator("[data-clip=one]")
    assert clip.locator("video").count() == 2 and clip.locator(".moment").count() == 10
    wait_until(opened, "document.querySelector('video').readyState >= 2")
    assert abs(opened.evaluate("document.querySelector('video').duration") - 2) < 0.1
    before = clip.locator(".playhead line").get_attribute("x1")
    opened.evaluate("document.querySelector('video').play()")
    wait_until(opened, "document.querySelector('video').currentTime > 0.3")
    wait_until(opened, "Number(document.querySelector('.plot-box').dataset.time) > 0.3")
    assert clip.locator(".playhead line").get_attribute("x1") != before
    wait_until(
        opened,
        "(([a, b]) => Math.abs(a.currentTime - b.currentTime) < 0.25)(document.querySelectorAll('video'))",
    )
    # The playhead moves smoothly: `timeupdate` alone would move it four times a second, three times in 0.8 s.
    seen = {opened.evaluate("document.querySelector('.plot-box').dataset.time")}
    end = opened.evaluate("document.querySelector('video').currentTime") + 0.8
    while len(seen) < 6 and opened.evaluate("document.querySelector('video').currentTime") < min(end, 1.9):
        seen.add(opened.evaluate("document.querySelector('.plot-box').dataset.time"))
    assert len(seen) >= 6
    opened.evaluate("document.querySelector('video').pause()")
    wait_until(opened, "document.querySelectorAll('video')[1].paused")


def test_a_click_in_the_plot_or_on_a_moment_seeks(opened: Any) -> None:
    wait_until(opened, "document.querySelector('video').readyState >= 1")
    plot = opened.locator(".plot-box").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.mouse.click(box["x"] + 40 + (box["width"] - 50) * 0.75, box["y"] + 60)
    wait_until(opened, "Math.abs(document.querySelector('video').currentTime - 1.5) < 0.03")
    opened.mouse.down()
    opened.mouse.move(box["x"] + 40 + (box["width"] - 50) * 0.25, box["y"] + 60, steps=3)
    opened.mouse.up()
    wait_until(opened, "Math.abs(document.querySelector('video').currentTime - 0.5) < 0.03")
    opened.locator(".moment").nth(2).click()
    seen = float(opened.locator(".moment .time").nth(2).inner_text())
    wait_until(opened, f"Math.abs(document.querySelector('video').currentTime - {seen}) < 0.01")
    plot.focus()
    opened.keyboard.press("ArrowRight")
    wait_until(opened, f"Math.abs(document.querySelector('video').currentTime - {seen + 0.04}) < 0.01")


def test_plot_shades_silence_and_breaks_without_a_face(opened: Any) -> None:
    plot = opened.locator(".plot").first
    assert plot.locator(".silence").count() == 1 and plot.locator(".lost").count() == 1
    assert plot.locator(".line.output").get_attribute("d").count("M") == 2
    assert plot.locator(".line.truth").get_attribute("d").count("M") == 1
    width = float(plot.locator(".silence").get_attribute("width"))
    assert abs(width / (plot.bounding_box()["width"] - 50) - 0.5) < 0.02


def test_works_by_keys(opened: Any) -> None:
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    assert opened.evaluate("document.activeElement.textContent") == "five"
    opened.keyboard.press("Enter")
    clip = opened.locator("[data-clip=five]")
    wait_until(opened, "document.querySelector('[data-clip=five] video')?.readyState >= 2")
    opened.keyboard.press(" ")
    wait_until(opened, "document.querySelector('[data-clip=five] video').currentTime > 0.1")
    opened.keyboard.press(" ")
    wait_until(opened, "document.querySelector('[data-clip=five] video').paused")
    assert clip.locator(".body").is_visible()
    opened.keyboard.press("Enter")
    assert not clip.locator(".body").is_visible()
    opened.keyboard.press("k")
    assert opened.evaluate("document.activeElement.textContent") == "one"
    opened.keyboard.press("/")
    opened.keyboard.type("two")
    assert names(opened) == ["two"]


def test_missing_values_are_named_and_never_a_number(opened: Any) -> None:
    missing = opened.inner_text(".missing [data-measure=sync_conf]")
    assert "not measured" in missing and "the network it needs was not given" in missing
    assert "--syncnet-weights FILE" in missing and "0" not in missing
    row = opened.locator(".clip").filter(has_text="<script>")
    assert row.locator(".key-figure .v").all_text_contents() == ["not measured"] * row.locator(".key-figure").count()
    unreliable = opened.locator("tr[data-measure=cpbd_ratio]")
    assert "Unreliable: its controls came out in the wrong order" in unreliable.inner_text()
    assert unreliable.get_by_role("img", name="unreliable").count() == 1


def test_a_missing_file_is_named(opened: Any) -> None:
    opened.click("[data-clip=three] .open")
    body = opened.locator("[data-clip=three] .body")
    assert "the file is gone" in body.inner_text() and body.locator("video").count() == 0


def test_scale_shows_the_skill(opened: Any) -> None:
    row = opened.locator("tr[data-measure=ssim_mouth]")
    rail, dot = row.locator(".rail").bounding_box(), row.locator(".dot").bounding_box()
    share = (dot["x"] + dot["width"] / 2 - rail["x"]) / rail["width"]
    assert abs(share - (0.9 - 0.6) / (0.97 - 0.6)) < 0.02 and "skill 0.81" in row.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_fits_every_width_and_is_readable(browser: Any, pages: dict[str, Path], width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(pages["inside"].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) >= 4.5  # WCAG AA of the smallest text
    context.close()


# least contrast of the page's text with the ground it stands on
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const says = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const contrast = (node) => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const texts = [...document.querySelectorAll("#page *")].filter((node) => says(node) && node.checkVisibility());
  return Math.min(...texts.filter((node) => !node.closest("svg, .dot, .of")).map(contrast));
}"""

"""The report of a batch: the state of every job, worst first, as document, table and page."""

import csv
import io
import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import needs_chromium, open_page, wait_until
from vast_cli.batch.job import Job
from vast_cli.batch.report import build, write_report
from vast_cli.batch.report.page import address

FOLDER = "a b/日本 é'$(x);"
SCRIPT = "</script><script>document.title='taken'</script>"
IDS = ["fine", "warned", "soft", "noface", "noface2", "gone", "late", "stopped"]  # in the order of the manifest
SUMMARY = {
    "done": 2, "failed": 3, "rejected": 1, "not_started": 1, "seconds": 100.0, "frames": 750, "exit": 3,
    "why": None, "run": "r8f3", "machine": "a machine", "workers": 2, "version": "vast 0.0",
}  # fmt: skip


def job(index: int, name: str, folder: Path, **more: Any) -> Job:
    fields: dict[str, Any] = {"avatar": "ann" if index % 2 else "bob", "audio": folder / f"{name}.wav"} | more
    return Job(id=name, index=index, where=f"row {index + 1}", output=folder / "out" / f"{name} é.mp4", **fields)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., None]) -> tuple[Path, dict[str, Any]]:
    """State folder and document of a batch of eight jobs, some with videos."""
    folder = tmp_path_factory.mktemp("batch") / FOLDER
    (folder / "out").mkdir(parents=True)
    state_folder = folder / "jobs.vast"
    (state_folder / "logs").mkdir(parents=True)
    video = folder / "video.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=96x96:rate=25:duration=2", "-pix_fmt", "yuv420p", video)
    gate = {"options": {"gate": ("sync>=0.8", "sharpness>=0.9")}}
    jobs = [
        job(1, "fine", folder, **gate, extra={"x_lang": "=1+1"}),
        job(2, "warned", folder, **gate),
        job(3, "soft", folder, **gate),
        job(4, "noface", folder),
        job(5, "noface2", folder, prompt=folder / f"{SCRIPT.replace('/', '_')}.mp4"),
        job(6, "gone", folder),
        job(7, "late", folder),
        job(8, "stopped", folder),
    ]
    for one in (jobs[0], jobs[1]):
        one.output.write_bytes(video.read_bytes())
    rejected = jobs[2].output.with_name("soft é.rejected.mp4")
    rejected.write_bytes(video.read_bytes())
    (state_folder / "logs" / "noface.log").write_text("no face in any frame")
    done = {"event": "job_done", "seconds": 10.0, "frames": 50, "duration_s": 2.0, "attempt": 1}
    failed = {"event": "job_failed", "attempt": 1, "where": None, "seconds": 1.5}
    face = failed | {"code": "vast_no_face", "message": f"no face in `{SCRIPT}`", "hint": "see"}
    limits = {
        "rejected": str(rejected),
        "gates": {"sync": 0.5, "sharpness": None},
        "missed": ["sync is 0.5, below 0.8"],
    }
    state = {
        "fine": done | {"output": str(jobs[0].output), "gates": {"sync": 0.9, "sharpness": 1.0}},
        "warned": done | {"output": str(jobs[1].output), "warnings": ["held back"], "gates": {"sync": 0.85}},
        "soft": failed | {"code": "vast_gate_failed", "message": "sync is 0.5, below 0.8", "hint": "h"} | limits,
        "noface": face,
        "noface2": face | {"hint": "look elsewhere"},
        "gone": failed | {"code": "vast_input_missing", "message": "no file", "hint": "check the path"},
        "stopped": {"event": "job_interrupted"},
    }
    document = build(jobs, state, SUMMARY, folder=state_folder, manifest=folder / "jobs.csv")
    write_report(state_folder, document)
    return state_folder, document


def states(document: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["state"] for row in document["jobs"]}


def test_the_document_has_every_job_once_worst_first(batch: tuple[Path, dict[str, Any]]) -> None:
    document = batch[1]
    state_of = states(document)
    assert list(state_of.values()) == sorted(
        state_of.values(), key=["failed", "rejected", "interrupted", "warned", "not_started", "done"].index
    )
    assert state_of == {
        "gone": "failed", "noface": "failed", "noface2": "failed", "soft": "rejected", "stopped": "interrupted",
        "warned": "warned", "late": "not_started", "fine": "done",
    }  # fmt: skip
    assert document["counts"] == {
        "jobs": 8, "failed": 3, "rejected": 1, "interrupted": 1, "warned": 1, "not_started": 1, "done": 1,
    }  # fmt: skip
    assert document["fps"] == 7.5


def test_failures_are_grouped_with_a_shared_hint_and_a_command(batch: tuple[Path, dict[str, Any]]) -> None:
    folder, document = batch
    groups = {group["code"]: group for group in document["groups"]}
    assert document["groups"][0]["code"] == "vast_no_face" and groups["vast_no_face"]["count"] == 2
    assert (
        "--preview" in groups["vast_no_face"]["hint"]
    )  # the hints of the jobs differ, so the group has that of the code
    assert groups["vast_input_missing"]["hint"] == "check the path"
    words = ["vast", "retry", str(folder.parent / "jobs.csv"), "--code", "vast_no_face"]
    assert shlex.split(groups["vast_no_face"]["command"]) == words
    shell = subprocess.run(  # a shell splits it into the same words
        ["sh", "-c", f"set -- {groups['vast_no_face']['command']}; printf '%s\\n' \"$@\""],
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    assert shell.stdout.splitlines() == words


def test_a_state_folder_elsewhere_is_named_in_the_command(tmp_path: Path) -> None:
    failed = {"a": {"event": "job_failed", "code": "vast_no_face", "message": "m", "hint": "h"}}
    document = build([job(1, "a", tmp_path)], failed, {}, folder=tmp_path / "else", manifest=tmp_path / "m.csv")
    assert shlex.split(document["groups"][0]["command"])[-2:] == ["--state", str(tmp_path / "else")]


def test_the_table_has_a_row_for_each_job_and_no_formulas(batch: tuple[Path, dict[str, Any]]) -> None:
    folder, document = batch
    rows = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text("utf-8-sig"))))
    assert [row["id"] for row in rows] == [row["id"] for row in document["jobs"]]
    fine = rows[-1]
    assert fine["gate sync"] == "0.9" and fine["x_lang"] == "'=1+1" and fine["seconds"] == "10.0"
    assert json.loads((folder / "report.json").read_text("utf-8")) == json.loads(json.dumps(document))


def test_a_batch_without_jobs_or_summary_has_a_report(tmp_path: Path) -> None:
    document = build([], {}, {}, folder=tmp_path, manifest=tmp_path / "m.csv")
    paths = write_report(tmp_path, document)
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.html"]
    assert json.loads(paths[0].read_text("utf-8"))["counts"]["jobs"] == 0
    assert list(csv.DictReader(io.StringIO(paths[1].read_text("utf-8-sig")))) == []
    assert "<title>Batch m.csv</title>" in paths[2].read_text("utf-8")


def test_strips_are_kept_until_the_video_changes(batch: tuple[Path, dict[str, Any]]) -> None:
    folder, document = batch
    strip = folder / "strips" / "fine.jpg"
    before = strip.stat().st_mtime_ns
    write_report(folder, document)
    assert strip.stat().st_mtime_ns == before and not (folder / "strips" / "late.jpg").exists()
    video = next(Path(row["output"]) for row in document["jobs"] if row["id"] == "fine")
    video.touch()
    write_report(folder, document)
    assert strip.stat().st_mtime_ns > before


def test_addresses_are_relative_and_quoted(tmp_path: Path) -> None:
    assert address(tmp_path / "out" / "a#b?c%.mp4", tmp_path / "s.vast") == "../out/a%23b%3Fc%25.mp4"


@pytest.fixture
def opened(browser: Any, batch: tuple[Path, dict[str, Any]]) -> Iterator[Any]:
    """The page, which must load nothing from outside its folder and write nothing to the console."""
    with open_page(browser, batch[0] / "report.html") as (page, log):
        yield page
        log.check(batch[0].parent.as_uri() + "/", "data:", "blob:")


def names(page: Any) -> list[str]:
    return [str(name) for name in page.locator(".job .open").all_text_contents()]


@needs_chromium
def test_the_page_shows_all_jobs_and_treats_names_as_text(opened: Any, batch: tuple[Path, dict[str, Any]]) -> None:
    assert names(opened) == [row["id"] for row in batch[1]["jobs"]]
    assert opened.title() == "Batch jobs.csv"
    assert SCRIPT in opened.inner_text("[data-job=noface] .remark")
    assert opened.locator(".thumbnails img").count() == 3
    wait_until(opened, "[...document.querySelectorAll('.thumbnails img')].every((image) => image.naturalWidth === 162)")
    commands = opened.locator(".group .command").all_inner_texts()
    assert commands == [group["command"] for group in batch[1]["groups"]]


@needs_chromium
def test_the_page_filters_by_text_state_code_and_avatar(opened: Any) -> None:
    opened.fill("#search", "NOFACE")
    assert set(names(opened)) == {"noface", "noface2"} and opened.inner_text(".count") == "2 of 8 jobs"
    opened.fill("#search", "")
    opened.select_option("#state", "failed")
    assert set(names(opened)) == {"gone", "noface", "noface2"}
    opened.select_option("#code", "vast_no_face")
    opened.select_option("#avatar", "ann")
    assert names(opened) == ["noface2"]
    opened.fill("#search", "nothing like it")
    opened.click("text=Show all")
    assert len(names(opened)) == 8
    opened.click("[data-code=vast_input_missing] button:has-text('Show')")
    assert names(opened) == ["gone"]


@needs_chromium
def test_the_page_sorts_by_every_column_with_unknown_values_last(opened: Any) -> None:
    for index in range(opened.locator("thead button").count()):
        for _ in range(2):
            opened.locator("thead button").nth(index).click()
            assert sorted(names(opened)) == sorted(IDS)
    opened.select_option("#sort", "id")
    assert names(opened) == sorted(IDS)
    opened.click(".toolbar .turn")
    assert names(opened) == sorted(IDS, reverse=True)
    opened.select_option("#sort", "gate sync")
    unknown = names(opened)[3:]
    assert names(opened)[:3] == ["soft", "warned", "fine"]
    opened.click(".toolbar .turn")
    assert names(opened) == ["fine", "warned", "soft", *unknown]
    opened.select_option("#sort", "index")
    assert names(opened) == IDS


@needs_chromium
def test_the_page_loads_a_video_on_demand_and_shows_gates_and_log(opened: Any) -> None:
    assert opened.locator("video").count() == 0
    opened.click("[data-job=soft] .open")
    more = opened.locator("[data-job=soft] + .more")
    assert "not measured" in more.inner_text() and "sync>=0.8" in more.inner_text()
    assert opened.evaluate("document.querySelector('video').readyState") == 0
    opened.evaluate("document.querySelector('video').play()")
    wait_until(opened, "document.querySelector('video').currentTime > 0.2")
    opened.click("[data-job=soft] .open")
    assert more.count() == 0
    opened.click("[data-job=noface] .open")
    log = opened.locator("[data-job=noface] + .more a:has-text('log')")
    assert log.get_attribute("href") == "logs/noface.log"
    retry = opened.inner_text("[data-job=noface] + .more .command")
    assert shlex.split(retry)[-2:] == ["--id", "noface"]


@needs_chromium
def test_the_page_is_usable_from_the_keyboard(opened: Any) -> None:
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    second = names(opened)[1]
    assert opened.evaluate("document.activeElement.textContent") == second
    opened.keyboard.press("Enter")
    assert opened.locator(".more").is_visible()
    opened.keyboard.press("Enter")
    opened.keyboard.press("k")
    assert opened.evaluate("document.activeElement.textContent") == names(opened)[0]
    opened.keyboard.press("/")
    opened.keyboard.type("warned")
    assert names(opened) == ["warned"]


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_every_width(browser: Any, batch: tuple[Path, dict[str, Any]], width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto((batch[0] / "report.html").as_uri())
    page.click("[data-job=soft] .open")
    page.click("[data-job=noface] .open")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@needs_chromium
def test_five_thousand_jobs_open_quickly_and_rows_are_added_on_scroll(browser: Any, tmp_path: Path) -> None:
    jobs = [job(index, f"job-{index:04d}", tmp_path) for index in range(1, 5001)]
    bad = {"event": "job_failed", "code": "vast_no_face", "message": "no face in `prompt.mp4`", "hint": "look"}
    state = {one.id: bad if one.index % 9 == 0 else {"event": "job_done", "seconds": 3.0} for one in jobs}
    write_report(tmp_path, build(jobs, state, SUMMARY, folder=tmp_path, manifest=tmp_path / "jobs.csv"))
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    started = time.monotonic()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator(".job").count() > 20
    assert time.monotonic() - started < 4  # 0.5 s alone on the machine
    assert page.locator(".job").count() < 1000
    before = page.locator(".job").count()
    page.locator(".rest").scroll_into_view_if_needed()
    wait_until(page, f"document.querySelectorAll('.job').length > {before}")
    assert re.fullmatch(r"[\d,]+ more", page.inner_text(".rest"))
    context.close()

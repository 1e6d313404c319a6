"""Chromium for the tests of pages, and a check that a page uses no network and writes nothing to the console."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--mute-audio",
)  # fmt: skip
DESKTOP = {"width": 1280, "height": 900}


@contextmanager
def launch_chromium() -> Iterator[Any]:
    """A browser with its own rule about autoplay: a key, a click or a script of the test must start a video."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@dataclass
class PageLog:
    """What a page has requested and written to the console."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def attach(self, page: Any) -> None:
        """Record `page` from now on."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def check(self, *allowed: str) -> None:
        """Fail after a complaint, or a request for an address that starts with none of `allowed`."""
        assert [url for url in self.requests if not url.startswith(allowed)] == []
        assert self.complaints == []


@contextmanager
def open_page(browser: Any, path: Path) -> Iterator[tuple[Any, PageLog]]:
    """Open a page from disk, without a network, and record it."""
    context = browser.new_context(offline=True, viewport=DESKTOP)
    page, log = context.new_page(), PageLog()
    log.attach(page)
    page.goto(path.as_uri())
    yield page, log
    context.close()


def wait_until(page: Any, script: str) -> None:
    """Wait until `script` is true; playwright's own waiting evaluates strings, which our pages forbid."""
    end = time.monotonic() + 8
    while not page.evaluate(script):
        assert time.monotonic() < end, script
        page.wait_for_timeout(20)

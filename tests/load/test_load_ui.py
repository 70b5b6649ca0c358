"""Locust's UI in a real browser: a load is started, watched on our pages, and stopped there.

Everything is waited for; a slow machine makes it slower, not red.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.load.load_processes import REPO, Started, answers, free_port, of_ours

Start = Callable[..., Started]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 45_000
SCENARIO = Path(__file__).with_name("watched.yaml")
LOCUST = (sys.executable, "-m", "locust", "-f", REPO / "locustfile.py", "--scenario", SCENARIO)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page of the browser, and all that went wrong in it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.url, self.wrong = url, list[str]()
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self._ours(request.url))

    def _ours(self, address: str) -> None:
        if not address.startswith((self.url, "data:", "blob:")):
            self.wrong.append(f"asks for {address}")

    def number(self, of: str, least: float) -> None:
        """Wait until a tile or a cell shows so much."""
        self.page.wait_for_function(
            "([of, least]) => parseFloat((document.querySelector(of) || {}).textContent?.replaceAll(',', '')) >= least",
            arg=[of, least], timeout=PATIENCE_MS,
        )  # fmt: skip

    def row(self, table: str, name: str, least: int = 1) -> None:
        """Wait until a table has a row that counts so many."""
        self.page.wait_for_function(
            "([table, name, least]) => [...document.querySelectorAll(table + ' tr')].some((row) =>"
            " row.cells[0].textContent === name && parseInt(row.cells[1].textContent.replaceAll(',', '')) >= least)",
            arg=[table, name, least], timeout=PATIENCE_MS,
        )  # fmt: skip

    def fits(self) -> bool:
        """Is nothing wider than the window?"""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def _started(start: Start, browser: Browser, *flags: object) -> tuple[Started, Watched]:
    port = free_port()
    locust = start(*LOCUST, "--web-port", port, "--out", "out", *flags)
    locust.until(lambda: "are ready" in locust.stderr, "the fleet")
    locust.until(lambda: answers(port), "its port")
    watched = Watched(browser, f"http://127.0.0.1:{port}")
    watched.page.goto(watched.url)
    return locust, watched


def test_a_load_is_started_watched_and_stopped_in_the_browser(start: Start, browser: Browser) -> None:
    locust, watched = _started(start, browser)
    page = watched.page
    for address in ("/fleet", "/fleet/table"):
        _is_for_everybody(watched, address)
    page.goto(watched.url)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("tab", name="Fleet").click()
    expect(page.get_by_role("row", name="connect").first).to_be_visible(timeout=PATIENCE_MS)

    page.get_by_role("navigation", name="fleetsim").get_by_role("link", name="Fleet").click()
    expect(page.get_by_role("status")).to_contain_text("Running", timeout=PATIENCE_MS)
    watched.number("#on", 20)
    watched.number("#connected", 15)
    watched.number("#acknowledged", 5)
    watched.number("#p99", 0.001)
    watched.row("#alarms", "open", 1)
    expect(page.get_by_role("list", name="Latest alarms")).to_contain_text("engine-overheat")
    expect(page.locator("#faults")).to_contain_text("bias of 2 devices")
    watched.row("#jobs", "succeeded", 1)
    seen = page.locator("#chart-rate svg").get_attribute("aria-label") or ""
    assert seen.startswith("messages a second: now attempted ")

    page.get_by_role("link", name="Table").click()
    page.get_by_label("Filter").fill("tcp telemetry")
    expect(page.locator("#body tr")).to_have_count(1, timeout=PATIENCE_MS)
    watched.number("#body tr td:nth-child(3)", 5)
    page.get_by_role("button", name="count").press("Enter")
    expect(page.get_by_role("columnheader", name="count")).to_have_attribute("aria-sort", "descending")

    page.get_by_role("link", name="Locust").click()
    page.get_by_role("button", name="Stop").click()
    page.goto(f"{watched.url}/fleet")
    expect(page.get_by_role("status")).to_have_text("✓ PASSED", timeout=PATIENCE_MS)
    locust.process.send_signal(signal.SIGTERM)
    assert locust.wait() == 0, locust.stderr
    expect(page.get_by_role("status")).to_contain_text("Locust does not answer", timeout=PATIENCE_MS)
    assert watched.wrong == []
    assert not of_ours(locust.stderr)


def _is_for_everybody(watched: Watched, address: str) -> None:
    """By keyboard, in the dark, on a phone."""
    page = watched.page
    page.goto(watched.url + address)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the keyboard gets to the content first"
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("[...document.querySelectorAll('table')].every((table) => table.caption)")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 360, "height": 740})
    assert watched.fits(), f"{address} on a phone"
    hidden = "[...document.querySelectorAll('main figure, main table')].filter((one) => !one.offsetWidth).length"
    assert page.evaluate(hidden) == 0, f"{address} on a phone shows everything"
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")

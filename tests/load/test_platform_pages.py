"""The platform's pages in Locust's UI: to look only, by whoever may look at Locust, and nothing else is passed on."""

import json
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.pages_browser import CHROMIUM, Visit, chromium
from tests.load.load_processes import Started, answers, free_port
from tests.load.test_load_pages import answers as asked
from tests.load.test_load_ui import LOCUST, PATIENCE_MS

Start = Callable[..., Started]
PAGES = "/fleet/pages"


def test_files_of_the_pages_are_served_and_no_others() -> None:
    names = ("", "app.js", "style.css", "icon.svg", "nothing.js", "..%2fpages.py", "__init__.py")
    said = dict(zip(names, asked(*(f"{PAGES}/{name}" for name in names)), strict=True))
    assert [said[name]["status"] for name in names] == [200, 200, 200, 200, 404, 404, 404]
    assert "default-src 'self'" in said[""]["headers"]["Content-Security-Policy"]
    assert "javascript" in said["app.js"]["headers"]["Content-Type"]


def test_whoever_looks_is_a_watcher_and_is_told_when_there_is_no_platform() -> None:
    session, overview = asked(f"{PAGES}/api/session", f"{PAGES}/api/overview")
    assert json.loads(session["body"])["role"] == "watcher"
    assert (overview["status"], json.loads(overview["body"])["error"]) == (503, "this target has no read API")


@pytest.mark.parametrize(
    "address",
    ["tokens", "rules", "codes", "dead_letters", "device", "device/a/b", "device/..", "telemetry/%2e%2e", "a/.."],
)
def test_an_address_that_is_not_to_be_looked_at_is_not_passed_on(address: str) -> None:
    (said,) = asked(f"{PAGES}/api/{address}")
    assert said["status"] == 404


def test_behind_a_login_the_pages_are_too() -> None:
    assert {said["status"] for said in asked(f"{PAGES}/", f"{PAGES}/api/overview", login=True)} == {302}


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_load_is_looked_at_on_the_platforms_pages(start: Start) -> None:
    port = free_port()
    locust = start(*LOCUST, "--web-port", port, "--out", "out", "--autostart")
    locust.until(lambda: "are ready" in locust.stderr, "the fleet")
    locust.until(lambda: answers(port), "its port")
    with chromium() as browser:
        visit = Visit(browser, f"http://127.0.0.1:{port}{PAGES}/")
        visit.url = f"http://127.0.0.1:{port}{PAGES}"
        page = visit.page
        expect(page.locator(".tiles div").filter(has_text="Devices online").locator("dd").first).to_have_text(
            "20", timeout=PATIENCE_MS
        )
        expect(page.get_by_role("heading", name="Try it on the fleet")).to_be_hidden()
        visit.go("loop")
        expect(page.get_by_role("row").filter(has_text="engine-overheat").first).to_be_visible()
        visit.go("map")
        expect(visit.card("Vehicles").get_by_role("row")).to_have_count(13)
        visit.go("device/Vehicle-VIN-001")
        expect(page.locator("figure").first).to_be_visible()
        assert page.request.get(f"{visit.url}/api/tokens").status == 404
        assert page.request.post(f"{visit.url}/api/overview").status == 405
        assert visit.wrong == []
    locust.process.send_signal(signal.SIGTERM)
    locust.wait()

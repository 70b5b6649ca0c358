"""Takes the pictures of the pages that the README shows, of the demo as it runs.

usage: python tests/e2e/pages_screenshots.py [FOLDER]        (by itself tests/e2e/screenshots)

Not collected by pytest. About two minutes: the demo plays, and the vehicles need a while to have gone somewhere.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.pages_browser import Visit, chromium

REPO = Path(__file__).resolve().parents[2]
SIZE_MAX = 150_000
READY_S = 60.0
DRIVE_MS = 60_000
WINDOW = {"width": 1280, "height": 800}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pages-") as place, (Path(place) / "stderr").open("wb") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "simulator", "demo", "--stay", "--out", f"{place}/out"], stderr=said,
            env={**os.environ, "PYTHONPATH": str(REPO), "FLEETSIM_HOME": str(REPO)}, stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            with chromium() as browser:
                _take(Visit(browser, _link(run, Path(place) / "stderr"), viewport=WINDOW), folder)
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(60)
    for picture in sorted(folder.glob("pages-*.png")):
        size = picture.stat().st_size
        print(f"{picture}  {size / 1000:.0f} kB")
        assert size <= SIZE_MAX, f"{picture} is larger than {SIZE_MAX} bytes"


def _link(run: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s and run.poll() is None:
        for line in log.read_text().splitlines():
            if "watch it at" in line:
                return line.split()[-1]
        time.sleep(0.1)
    sys.exit(log.read_text())


def _take(visit: Visit, folder: Path) -> None:
    page = visit.page
    visit.go("loop")
    row = page.get_by_role("row").filter(has_text="1.1.0")
    expect(row.first).to_be_visible()
    visit.go("overview")  # while an update is under way, or a moment later
    expect(page.locator(".feed li").nth(9)).to_be_visible()
    page.screenshot(path=folder / "pages-overview.png")

    visit.go("loop")
    expect(page.get_by_role("cell", name="closed", exact=True)).to_have_count(2)
    expect(page.get_by_role("cell", name="escalated", exact=True)).to_have_count(1)
    page.set_viewport_size({"width": 1280, "height": 500})
    page.screenshot(path=folder / "pages-loops.png")
    page.set_viewport_size({"width": WINDOW["width"], "height": WINDOW["height"]})
    page.get_by_role("row").filter(has_text="1.1.0").filter(has_text="closed").get_by_role("link").click()
    expect(page.locator("table.way")).to_be_visible()
    page.screenshot(path=folder / "pages-loop.png")

    visit.go("map")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(DRIVE_MS)
    page.get_by_role("button", name="SUVVehicle").click()
    page.wait_for_timeout(1000)  # the ways are drawn over a few frames
    page.screenshot(path=folder / "pages-map.png")

    page.emulate_media(color_scheme="light")
    visit.go("loop")
    thing = page.get_by_role("row").filter(has_text="1.1.0").filter(has_text="closed").locator(".thing").inner_text()
    visit.go(f"device/{thing}")
    expect(page.locator("figure").nth(5)).to_be_visible()
    visit.card("Try it").get_by_role("button", name="Send a command").click()
    visit.card("Try it").get_by_role("button", name="Send it").click()
    expect(visit.card("Try it").get_by_label("The step as YAML")).to_be_visible()
    page.set_viewport_size({"width": 1200, "height": 640})
    page.screenshot(path=folder / "pages-device.png")
    assert visit.wrong == [], visit.wrong


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("screenshots"))

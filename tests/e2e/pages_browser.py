"""A browser that looks at the pages, and remembers all that went wrong in them.

Rules: everything is waited for, nothing is slept for; what a page says of itself (console, policy, requests) is kept,
and a test that is done asks that nothing is there.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 60_000
VIEWS = ("overview", "map", "devices", "loop", "jobs", "dispatches", "notifications")
_VIOLATIONS = "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective))"


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """The system's browser, without a head."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """Somebody who came by a link."""

    def __init__(self, browser: Browser, link: str, **look: Any) -> None:
        self.url = link.partition("/enter")[0].rstrip("/")
        self.wrong: list[str] = []
        self.page: Page = browser.new_page(**{"viewport": {"width": 1360, "height": 900}, **look})
        self.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.page.add_init_script(_VIOLATIONS)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", lambda request: self._ours(request.url))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.goto(link)

    def _said(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.wrong.append(said.text)

    def _ours(self, address: str) -> None:
        if not address.startswith(f"{self.url}/"):
            self.wrong.append(f"asks for {address}")

    def go(self, view: str) -> Locator:
        """Show a view; its place."""
        self.page.goto(f"{self.url}/#/{view}")
        place = self.page.locator(f".of-{view.partition('/')[0]}")
        expect(place).to_be_visible()
        return place

    def card(self, title: str) -> Locator:
        """A card of the view."""
        return self.page.locator("section").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    def shows(self, script: str, what: Any = None) -> Any:
        """Wait until this function gives something true in the page."""
        return self.page.wait_for_function(script, arg=what, timeout=PATIENCE_MS)

    @property
    def fits(self) -> bool:
        """Is nothing wider than the window?"""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

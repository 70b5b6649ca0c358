"""What the backend says of itself, fetched from its read API while a run goes on: alarms, events, counts.

Rules: what the backend held before `begin` is not of this run, and is left out of everything. A target without a
read API is watched by nobody: everything stays empty and `stored` stays None.
"""

import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from simulator.errors import BackendUnavailable
from simulator.ledger import Event, Ledger
from simulator.report.facts import from_backend

TIMEOUT_S = 5.0
# No answer, or one that is not the read API's.
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, AttributeError, LookupError, TypeError, ValueError)


class Watch:
    """The latest answers of a backend's read API."""

    def __init__(self, api_url: str | None, ledger: Ledger, headers: Mapping[str, str] | None = None) -> None:
        """New events of the backend go to `ledger`; `headers` go with every request."""
        self._api_url, self._ledger, self._headers = api_url, ledger, headers
        self._session: aiohttp.ClientSession | None = None
        self._next = self._alarms_next = 0
        self._alarms: dict[str, dict[str, Any]] = {}  # by their ids, as they were last
        self._alarms_before: frozenset[str] = frozenset()
        self._stored_before: dict[str, int] = {}
        self.alarms: list[dict[str, Any]] = []
        self.stored: dict[str, int] | None = None
        self.failures = 0  # requests without a good answer; shown, and no reason to stop a run
        self._began_s = self._silent_since_s = self._looked_s = 0.0
        self._unanswered_s = 0.0

    @property
    def sees(self) -> bool:
        """Is there a read API at all?"""
        return self._api_url is not None

    async def begin(self) -> None:
        """Take stock before the fleet says anything; BackendUnavailable when the read API does not answer."""
        if self._api_url is None:
            return
        try:
            while await self._page():
                pass
            await self._look_at_alarms()
            self._alarms_before, self._alarms = frozenset(self._alarms), {}
            self._stored_before = (await self._get("/api/counts"))["stored"]
            self._began_s = self._looked_s = time.monotonic()
        except _NO_ANSWER as error:
            why = str(error) or "no answer in time"
            raise BackendUnavailable(f"the backend's read API at {self._api_url} cannot be used: {why}") from None

    async def poll(self) -> None:
        """Ask for everything new; the counts first, so that what came of the messages counted is known with them."""
        if self._api_url is None:
            return
        asked_s = time.monotonic()
        try:
            stored = (await self._get("/api/counts"))["stored"]
            while page := await self._page():
                for event in page:
                    self._ledger.note(event)
            await self._look_at_alarms()
            self.alarms = sorted(self._alarms.values(), key=lambda alarm: int(alarm["raised_at_ms"]))
            self.stored = {kind: count - self._stored_before.get(kind, 0) for kind, count in stored.items()}
            if self._silent_since_s:
                self._unanswered_s += time.monotonic() - self._silent_since_s
                self._silent_since_s = 0.0
        except _NO_ANSWER:
            self.failures += 1
            self._silent_since_s = self._silent_since_s or asked_s
        self._looked_s = time.monotonic()

    @property
    def watched_s(self) -> float:
        """How long it was looked at."""
        return self._looked_s - self._began_s

    @property
    def unanswered_s(self) -> float:
        """For how much of that time there was no answer."""
        return self._unanswered_s + (self._looked_s - self._silent_since_s if self._silent_since_s else 0.0)

    async def _page(self) -> list[Event]:
        """The next events of the history; none at its end."""
        page = await self._get(f"/api/events?after={self._next}")
        if (after := int(page["next"])) <= self._next:
            return []
        events = from_backend(page["events"])
        self._next = after
        return events

    async def _look_at_alarms(self) -> None:
        """Those that changed since the last look; a read API that knows no pages says all of them at once."""
        while True:
            page = await self._get(f"/api/alarms?after={self._alarms_next}")
            rows = page if isinstance(page, list) else page["alarms"]
            self._alarms.update((row["alarm_id"], row) for row in rows if row["alarm_id"] not in self._alarms_before)
            if isinstance(page, list) or (after := int(page["next"])) <= self._alarms_next:
                return
            self._alarms_next = after

    async def _get(self, path: str) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=self._headers)
        async with self._session.get(f"{self._api_url}{path}") as answer:
            answer.raise_for_status()
            return await answer.json()

    def jobs(self, events: list[Event]) -> list[str]:
        """The ids of the jobs that the backend made."""
        made = (
            e.detail.get("job_id") or e.detail.get("job")
            for e in events
            if (e.source, e.kind) == ("backend", "job_created")
        )
        return list(dict.fromkeys(str(job) for job in made if job))

    async def close(self) -> None:
        """Close the connection."""
        if self._session:
            await self._session.close()

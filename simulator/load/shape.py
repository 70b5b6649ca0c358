"""A scenario's shape as Locust's LoadTestShape: how many users there are, from second to second.

Rules: the shape counts devices; people (operators, dashboards, downloads) are there from the beginning, so they come on
top. `--run-time` ends it early. Of a load that looks for its limit, each level that is over is judged before the next.
"""

from collections.abc import Callable
from typing import Any

from locust import LoadTestShape

from simulator.report.facts import Level
from simulator.shapes import Knee, Shape


class FleetShape(LoadTestShape):  # type: ignore[misc]  # Locust is not type-checked
    """Ticks once a second, on Locust's master."""

    abstract = True  # not one that Locust should find by itself

    def __init__(
        self, shape: Shape, people: int, run_time_s: float | None, judge: Callable[[int], Level],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:  # fmt: skip
        """`judge` says whether a level of so many devices was good; `tell` tells the coordinator that one begins."""
        super().__init__()
        self._shape, self._people, self._run_time_s, self._judge, self._tell = shape, people, run_time_s, judge, tell
        self.renew()

    def renew(self) -> None:
        """For the next test."""
        self.over = False  # it came to its own end
        self._last: tuple[int, float] = (0, 1.0)
        self._level = 0  # which is on
        self._counting = False  # has what is judged of it begun?
        self._failed_at_s: float | None = None

    def tick(self) -> tuple[int, float] | None:
        """(users, how many come or go in a second), or None at the end."""
        now_s = self.get_run_time()
        if isinstance(self._shape, Knee):
            self._look_at_level(self._shape, now_s)
        devices = self._shape.users(now_s, self._failed_at_s)
        if devices is None or (self._run_time_s and now_s >= self._run_time_s):
            self.over = True
            return None
        users = devices + self._people
        if users != self._last[0]:  # The same tuple means the same to Locust.
            self._last = (users, float(max(1, abs(users - self._last[0]))))
        return self._last

    def _look_at_level(self, knee: Knee, now_s: float) -> None:
        if self._failed_at_s is not None or self._level >= knee.levels:
            return
        if not self._counting and now_s >= self._level * knee.every_s + knee.settle_s:
            self._counting = True
            self._tell({"level": True})
        if knee.level(now_s) > self._level:
            level = self._judge(knee.at_level(self._level))
            self._level, self._counting = self._level + 1, False
            if not level.passed:
                self._failed_at_s = self._level * knee.every_s

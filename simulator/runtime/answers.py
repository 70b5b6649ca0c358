"""How quickly the backend answers an alarm: from `alarm raised` to the first command for it, as a row of the table.

Rules: pure; both times are the backend's own. Alarms without an action are no row's business: `OPEN_MAX` of them are
remembered, the oldest forgotten first.
"""

from simulator.ledger import Event
from simulator.runtime.meter import Row

METHOD, NAME = "BACKEND", "alarm → command"
OPEN_MAX = 10_000
_COMMANDS = frozenset(("command_sent", "command_failed", "job_created"))
_NS_PER_MS = 1_000_000


class Answers:
    """Fed with events, gives rows."""

    def __init__(self) -> None:
        self._raised_ms: dict[str, int] = {}
        self._read = 0

    def read(self, events: list[Event]) -> list[Row]:
        """What is new in a list that only grows: no row, or one."""
        row = Row(METHOD, NAME)
        for event in events[self._read :]:
            alarm = str(event.detail.get("alarm_id") or "") if event.source == "backend" else ""
            if not alarm:
                continue
            if event.kind == "alarm_raised":
                if len(self._raised_ms) >= OPEN_MAX:
                    del self._raised_ms[next(iter(self._raised_ms))]
                self._raised_ms[alarm] = event.at_ms
            elif event.kind in _COMMANDS and (since_ms := self._raised_ms.pop(alarm, None)) is not None:
                row.latency.add((event.at_ms - since_ms) * _NS_PER_MS)
                if event.kind == "command_failed":
                    row.fail("the command could not be sent")
        self._read = len(events)
        return [row] if row.latency.count else []

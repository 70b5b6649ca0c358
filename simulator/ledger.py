"""What happened: bounded event log and exact counters, filled by a runtime, read by checks and reports.

Rules: counters are exact and never dropped; events are dropped at the limit and counted in `dropped`.
A message is counted by its kind at each hop: attempted (the device said it), sent (its bytes went to the
link), acknowledged (the far side took it), refused (it answered with an error), dropped (a bound was hit). Missed are
those that were due and never said, because whoever runs the devices was too late.
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

EVENTS_MAX = 200_000


class Event(NamedTuple):
    """One line of the ledger."""

    at_ms: int
    source: str  # "fleet", "backend" or "run"
    kind: str
    thing: str
    detail: Mapping[str, Any] = MappingProxyType({})


class Ledger:
    """Events in order of arrival and counts of messages by kind and hop."""

    __slots__ = (
        "acknowledged",
        "attempted",
        "dropped",
        "events",
        "events_dropped",
        "events_max",
        "missed",
        "refused",
        "sent",
    )

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self.events: list[Event] = []
        self.events_max = events_max
        self.events_dropped = 0
        self.attempted: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()

    def note(self, event: Event) -> None:
        """Add an event, or count it as dropped."""
        if len(self.events) >= self.events_max:
            self.events_dropped += 1
        else:
            self.events.append(event)

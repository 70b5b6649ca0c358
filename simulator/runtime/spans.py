"""The faults of a run as spans of time, from its events as they come: one for all devices that were hit together.

Rules: pure. Devices that were hit by the same fault within `TOGETHER_MS` share a span, which is over when the last of
them is well. `SPANS_MAX` are kept, and the rest is counted.
"""

from collections.abc import Iterable
from typing import Any

from simulator.ledger import Event
from simulator.report.facts import FaultSpan
from simulator.words import detail_text, number

SPANS_MAX = 200
TOGETHER_MS = 2000
_UNTOLD = ("kind", "part", "of", "for_s", "fault")
_PARTS = ("part_kill", "part_restart", "part_pause")


class Spans:
    """Fed with events, tells spans."""

    def __init__(self) -> None:
        self.left_out = 0
        self._spans: list[_Span] = []
        self._open: dict[tuple[str, str], list[_Span]] = {}  # thing ("": a part) and kind
        self._read = 0

    def read(self, events: list[Event]) -> None:
        """All that is new in a list that only grows."""
        self.take(events[self._read :])
        self._read = len(events)

    def take(self, events: Iterable[Event]) -> None:
        """Some more events."""
        for event in events:
            match event.kind:
                case "fault_injected":
                    self._begin(event, str(event.detail.get("fault", "")), dict(event.detail.get("params") or {}))
                case "fault_cleared":
                    self._end(event.thing, str(event.detail.get("fault", "")), event.at_ms)
                case kind if kind in _PARTS and ("", kind) not in self._open:
                    self._begin(event, kind, {"part": event.detail.get("part")})
                case "part_back":
                    for kind in _PARTS:
                        self._end("", kind, event.at_ms)

    def told(self) -> list[FaultSpan]:
        """All of them, by their beginning."""
        return [FaultSpan(one.words, one.begin_ms, None if one.on else one.end_ms) for one in self._spans]

    def now(self) -> list[str]:
        """What is on."""
        return [one.words for one in self._spans if one.on]

    def _begin(self, event: Event, kind: str, params: dict[str, Any]) -> None:
        same = (one for one in reversed(self._spans) if (one.kind, one.params) == (kind, params) and event.thing)
        span = next((one for one in same if abs(event.at_ms - one.begin_ms) <= TOGETHER_MS), None)
        if span is None:
            if len(self._spans) >= SPANS_MAX:
                self.left_out += 1
                return
            span = _Span(kind, params, event.at_ms)
            self._spans.append(span)
        span.begin_ms = min(span.begin_ms, event.at_ms)  # of several workers the first may be heard of last
        span.devices += bool(event.thing)
        span.on += 1
        self._open.setdefault((event.thing, kind), []).append(span)

    def _end(self, thing: str, kind: str, at_ms: int) -> None:
        if found := self._open.get((thing, kind)):
            span = found.pop(0)
            span.on -= 1
            span.end_ms = max(span.end_ms, at_ms)
            if not found:
                del self._open[thing, kind]


class _Span:
    __slots__ = ("begin_ms", "devices", "end_ms", "kind", "on", "params")

    def __init__(self, kind: str, params: dict[str, Any], begin_ms: int) -> None:
        self.kind, self.params, self.begin_ms, self.end_ms = kind, params, begin_ms, begin_ms
        self.devices = self.on = 0

    @property
    def words(self) -> str:
        """`slow_answers of the backend's store (ms: 900)`, `bias of 3 devices (…)`."""
        rest = {name: of for name, of in self.params.items() if name not in _UNTOLD and of not in (0, 0.0, None)}
        if part := self.params.get("part"):
            of = [str(one) for one in self.params.get("of") or () if one != "*"]
            whom = f"the {part}'s {', '.join(of)}" if of else f"the {part}"
        else:
            whom = "1 device" if self.devices == 1 else f"{number(self.devices)} devices"
        said = detail_text(rest)
        return f"{self.kind} of {whom}" + (f" ({said})" if said else "")

"""How long the backend took to notice: from a device's first bad sample to its alarm, the slowest."""

from typing import Literal

from simulator.checks import NO_API, Check, Facts, Measured


class TimeToDetect(Check):
    """The longest time from a first bad sample to the alarm, in seconds."""

    kind: Literal["time_to_detect"] = "time_to_detect"

    @property
    def title(self) -> str:
        return "time from first bad sample to alarm, slowest"

    @property
    def unit(self) -> str:
        return "s"

    def measure(self, facts: Facts) -> Measured:
        if facts.alarms is None:
            return Measured(None, NO_API)
        faulted = facts.faulted()
        first: dict[str, int] = {}
        for event in facts.ledger.events:
            if event.kind == "out_of_range" and event.at_ms >= faulted.get(event.thing, 1 << 62):
                first.setdefault(event.thing, event.at_ms)
        taken: dict[str, float] = {}
        for alarm in facts.alarms:
            thing = alarm["thing"]
            if thing in first and alarm["raised_at_ms"] >= first[thing]:
                took_s = (alarm["raised_at_ms"] - first[thing]) / 1000
                taken[thing] = min(taken.get(thing, took_s), took_s)
        if not taken:
            return Measured(None, "no broken device has an alarm")
        slowest = max(taken, key=lambda thing: taken[thing])
        return Measured(taken[slowest], f"slowest: {slowest}")

"""Where a load went wrong: which rows were slow or failed, since when, at which hop, and which fault was on then. Pure.

A lane is a row over time. It is in trouble while its p95 is far above what is usual for it (the lower quarter of its
own stretches), or above what a check allows it, or while it fails. A message passes

    device → broker → backend → store        MQTT: the broker answers, whatever becomes of it behind
    device → gateway → store                 TCP and REST: answered once it is stored

so the hop follows from which of the times grew, and which did not. What slow messages have in common is where it is.

Rules: short hiccups are no trouble (`LEAST_S`); the worst `TROUBLES_MAX` are told.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

from simulator.checks import STORED_KINDS
from simulator.report.facts import FaultSpan, Trouble
from simulator.words import number, span

TROUBLES_MAX = 12
LEAST_S = 2.0
GAP_S = 2.0  # a row that is well for so long is well
TIMES, MORE_MS = 4.0, 250.0  # so much slower than usual is trouble
FAILED_SHARE = 0.05
GRACE_MS = 3_000  # what a fault did may show a little later

_BEHIND = {
    "MQTT": "device → broker", "TCP": "device → gateway", "REST": "device → gateway", "AWS": "operator → cloud",
    "GET": "dashboard → read API", "HTTP": "device ← downloads", "BACKEND": "backend → command",
}  # fmt: skip
GATEWAYS = ("TCP", "REST")


@dataclass(frozen=True, slots=True)
class Tick:
    """One stretch of a lane."""

    at_ms: int
    count: int
    p95_ms: float | None
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """A row over time; `until_stored` tells a row of messages from that of their way into the store."""

    method: str
    name: str
    ticks: Sequence[Tick]
    until_stored: bool = False
    limit_ms: float = inf  # what a check allows

    @property
    def row(self) -> str:
        return f"{self.method} {self.name}" if not self.name.startswith(self.method) else self.name


@dataclass(frozen=True, slots=True)
class _Found:
    lane: Lane
    ticks: Sequence[Tick]  # the stretches of trouble
    usual_ms: float | None
    lasts: bool  # to the end

    @property
    def worst_ms(self) -> float | None:
        return max((tick.p95_ms for tick in self.ticks if tick.p95_ms is not None), default=None)

    @property
    def failed(self) -> int:
        return sum(tick.failed for tick in self.ticks)

    def badness(self, every_ms: int) -> float:
        worst = self.worst_ms or 0.0
        return (worst / max(1.0, self.usual_ms or 1.0)) * len(self.ticks) * every_ms + 1000 * self.failed


def troubles(lanes: Sequence[Lane], faults: Sequence[FaultSpan], every_s: float) -> tuple[list[Trouble], str]:
    """The worst first, and where it went wrong in a line; none: nothing was out of the ordinary."""
    every_ms = int(1000 * every_s)
    found = [one for lane in lanes if (one := _look(lane, every_ms)) is not None]
    found.sort(key=lambda one: -one.badness(every_ms))
    slow_answers = {one.lane.method for one in found if not one.lane.until_stored and _is_message(one.lane)}
    slow_store = {one.lane.method for one in found if one.lane.until_stored}
    methods = {lane.method for lane in lanes if lane.until_stored or _is_message(lane)}
    told = [_told(one, faults, every_ms, slow_answers, slow_store, methods) for one in found[:TROUBLES_MAX]]
    return told, _where(told, found, lanes, every_ms)


def _is_message(lane: Lane) -> bool:
    return lane.method in ("MQTT", *GATEWAYS) and lane.name in STORED_KINDS


def _look(lane: Lane, every_ms: int) -> _Found | None:
    """The worst spell of a lane, if it had one that counts."""
    ticks = [tick for tick in lane.ticks if tick.count or tick.failed]
    known = sorted(tick.p95_ms for tick in ticks if tick.p95_ms is not None)
    usual_ms = known[len(known) // 4] if known else None
    bound_ms = lane.limit_ms
    if usual_ms is not None:
        bound_ms = min(bound_ms, max(TIMES * usual_ms, usual_ms + MORE_MS))
    spells: list[list[Tick]] = []
    for tick in ticks:
        slow = tick.p95_ms is not None and tick.p95_ms > bound_ms
        if not slow and not tick.failed > FAILED_SHARE * max(1, tick.count):
            continue
        if spells and tick.at_ms - spells[-1][-1].at_ms <= every_ms + 1000 * GAP_S:
            spells[-1].append(tick)
        else:
            spells.append([tick])
    longest = max(spells, key=lambda spell: sum(tick.p95_ms or 0.0 for tick in spell) + 1000 * len(spell), default=[])
    if not longest or longest[-1].at_ms + every_ms - longest[0].at_ms < 1000 * LEAST_S:
        return None
    never_better = usual_ms is not None and usual_ms > bound_ms
    lasts = ticks[-1].at_ms - longest[-1].at_ms <= 1000 * GAP_S
    return _Found(lane, longest, None if never_better else usual_ms, lasts)


def _hop(lane: Lane, slow_answers: Collection[str], slow_store: Collection[str], methods: Collection[str]) -> str:
    gateways = [method for method in GATEWAYS if method in methods]
    late = [method for method in gateways if method in slow_answers]
    if lane.until_stored and lane.method == "MQTT":
        if "MQTT" in slow_answers:
            return "device → broker"
        if not gateways:
            return "broker → backend → store"
        return "backend → store" if late == gateways else "broker → backend"
    if lane.method in GATEWAYS and (lane.until_stored or _is_message(lane)):
        elsewhere = "MQTT" in set(slow_store) - set(slow_answers) if "MQTT" in methods else len(late) > 1
        return "backend → store" if elsewhere and late == gateways else "device → gateway"
    return _BEHIND.get(lane.method, lane.method)


def _told(
    one: _Found, faults: Sequence[FaultSpan], every_ms: int, slow_answers: Collection[str],
    slow_store: Collection[str], methods: Collection[str],
) -> Trouble:  # fmt: skip
    lane, since_ms = one.lane, one.ticks[0].at_ms
    until_ms = None if one.lasts else one.ticks[-1].at_ms + every_ms
    on = [
        fault.words for fault in faults
        if fault.begin_ms <= one.ticks[-1].at_ms + every_ms and (fault.end_ms or inf) + GRACE_MS >= since_ms
    ]  # fmt: skip
    hop = _hop(lane, slow_answers, slow_store, methods)
    return Trouble(
        hop, lane.row, since_ms, until_ms, one.usual_ms, one.worst_ms, one.failed, on, _words(one, slow_answers)
    )  # fmt: skip


def _words(one: _Found, slow_answers: Collection[str]) -> str:
    """`p95 up to 2.1 s, usually 14 ms; acknowledged as quickly as ever`."""
    said: list[str] = []
    if one.worst_ms is not None and one.usual_ms is None:
        said.append(f"p95 up to {span(one.worst_ms)}, and never better")
    elif one.worst_ms is not None and one.usual_ms is not None and one.worst_ms > 2 * one.usual_ms:
        said.append(f"p95 up to {span(one.worst_ms)}, usually {span(max(1, one.usual_ms))}")
    if one.failed:
        said.append(f"{number(one.failed)} failed")
    if one.lane.until_stored:
        quick = one.lane.method not in slow_answers
        said.append("acknowledged as quickly as ever" if quick else "acknowledged as late")
    return "; ".join(said)


def _where(told: Sequence[Trouble], found: Sequence[_Found], lanes: Sequence[Lane], every_ms: int) -> str:
    """Of the rows of the worst hop: `backend → store was slow from 8 s to 17 s: …, while … was on`."""
    if not told:
        return ""
    by_hop: dict[str, float] = {}
    for trouble, one in zip(told, found, strict=False):
        by_hop[trouble.hop] = by_hop.get(trouble.hop, 0.0) + one.badness(every_ms)
    # Who waits for a store is slow as well; where all of them wait, it is the store.
    hop = "backend → store" if "backend → store" in by_hop else max(by_hop, key=lambda name: by_hop[name])
    own = [trouble for trouble in told if trouble.hop == hop]
    start_ms = min((lane.ticks[0].at_ms for lane in lanes if lane.ticks), default=0)
    since_ms = min(trouble.since_ms for trouble in own)
    ends = [trouble.until_ms for trouble in own]
    until = "" if None in ends else f" to {span(max(end for end in ends if end is not None) - start_ms)}"
    rows = ", ".join(f"{trouble.row} ({trouble.words})" for trouble in own[:3])
    more = f" and {len(own) - 3} more" if len(own) > 3 else ""
    faults = list(dict.fromkeys(fault for trouble in own for fault in trouble.faults))
    blamed = f"; on then: {'; '.join(faults[:3])}" if faults else "; no fault was on then"
    return f"{hop}, from {span(since_ms - start_ms)}{until or ' to the end'}: {rows}{more}{blamed}"

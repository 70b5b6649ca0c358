"""The stream analysis of one sensor: windows, and what is found in the order of its records.

A finding begins with the record that shows it, lasts for as long as records show it (ten minutes apart at most), and
is over with the first that does not, CLEAR_MS after the last that did; its level only rises. Rules: what is found
depends on the log alone.
"""

from math import sqrt
from typing import NamedTuple

from simulator.backend.fire.history import HOUR_MS, Entry, Log
from simulator.backend.fire.outcomes import SaveFinding, SaveWindow
from simulator.backend.fire.periodicity import period_of
from simulator.backend.fire.reading import Reading
from simulator.backend.fire.realtime import ONE

WINDOW_MS = 300_000
TEN_MINUTES_MS = 600_000
CLEAR_MS = 120_000
HOT, HOTTEST = 50_000, 65_000  # thousandths of a degree
JUMP, JUMP_MUCH = 3_000, 5_000  # ten-thousandths of risk
SUSTAINED = 7_000
ARCS = ((10, "HIGH_FREQUENCY"), (5, "MODERATE"), (0, "LOW"))
# What is usual, by the field of a reading.
NORMAL = {
    "temperature": (20.0, 60.0),
    "volt": (200.0, 250.0),
    "current": (0.0, 120.0),
    "co": (0.0, 20.0),
    "voc": (0.0, 500.0),
    "power_factor": (0.8, 1.0),
}
# The levels of each kind of finding, rising.
LEVELS = {
    "TEMPERATURE_SPIKE": ("HIGH", "CRITICAL"),
    "RISK_SPIKE": ("HIGH", "EMERGENCY"),
    "ARC_PATTERN": ("LOW", "MODERATE", "HIGH_FREQUENCY"),
    "RAPID_RISK_CHANGE": ("HIGH",),
    "SUSTAINED_HIGH_RISK": ("CRITICAL",),
}
ADVICE = {"HIGH_FREQUENCY": "schedule maintenance"}


class Finding(NamedTuple):
    """Something that lasts."""

    kind: str
    begin_ms: int
    level: str
    last_ms: int
    value: float  # when it came to its level

    def row(self, thing: str, ended_ms: int | None = None) -> SaveFinding:
        """As it is kept."""
        detail: dict[str, float | str] = {"value": self.value}
        if advice := ADVICE.get(self.level):
            detail["advice"] = advice
        return SaveFinding(thing, "", self.kind, self.begin_ms, self.level, ended_ms, detail)


def outside(reading: Reading) -> list[str]:
    """Which of a reading's values are not usual."""
    return [name for name, (low, high) in NORMAL.items() if not low <= getattr(reading, name) <= high]


def window_start(at_ms: int) -> int:
    """When the window of a moment began."""
    return at_ms - at_ms % WINDOW_MS


def window(thing: str, log: Log, start_ms: int) -> SaveWindow:
    """A window that has records."""
    end_ms = start_ms + WINDOW_MS
    begin, end = log.since(start_ms), log.since(end_ms)
    temperatures, risks = log.temperature[begin:end], log.risk[begin:end]
    count, total = end - begin, sum(temperatures)
    squares = sum(celsius * celsius for celsius in temperatures)
    hour = log.since(end_ms - HOUR_MS)
    period = period_of(log.at_ms[hour:end], log.temperature[hour:end], 250.0)
    return SaveWindow(
        thing,
        start_ms,
        count,
        total / count / 1000,
        max(temperatures) / 1000,
        min(temperatures) / 1000,
        sqrt(count * squares - total * total) / count / 1000,
        sum(risks) / count / ONE,
        max(risks) / ONE,
        sum(log.arcs[begin:end]),
        sum(log.current[begin:end]) / count / 1000,
        period.period_s if period else None,
    )


def seen(log: Log, entry: Entry, risk: int) -> list[tuple[str, str, float]]:
    """What a record shows beside those before it: (kind, level, value). `log.aim` was asked for it before."""
    found: list[tuple[str, str, float]] = []
    if entry.temperature > HOT and log.is_above(entry.temperature):
        level = "CRITICAL" if entry.temperature > HOTTEST else "HIGH"
        found.append(("TEMPERATURE_SPIKE", level, entry.temperature / 1000))
    begin = log.since(entry.at_ms - TEN_MINUTES_MS)
    before = log.risk[begin:]
    if before:
        rise = risk - min(before)
        if rise > JUMP:
            found.append(("RISK_SPIKE", "EMERGENCY" if rise > JUMP_MUCH else "HIGH", rise / ONE))
        if abs(risk - before[-1]) > JUMP:
            found.append(("RAPID_RISK_CHANGE", "HIGH", (risk - before[-1]) / ONE))
        if len(before) >= 2 and min(risk, *before[-2:]) > SUSTAINED:
            found.append(("SUSTAINED_HIGH_RISK", "CRITICAL", risk / ONE))
    if arcs := entry.arcs + sum(log.arcs[begin:]):
        found.append(("ARC_PATTERN", arc_pattern(arcs), arcs))
    return found


def arc_pattern(arcs: int) -> str:
    """What so many arcs in ten minutes are called; there is at least one."""
    return next(name for more_than, name in ARCS if arcs > more_than)


def renewed(
    thing: str, lasting: tuple[Finding, ...], shown: list[tuple[str, str, float]], at_ms: int
) -> tuple[tuple[Finding, ...], list[SaveFinding]]:
    """What lasts after a record, and what of it is to be kept."""
    open_ones = {finding.kind: finding for finding in lasting}
    rows: list[SaveFinding] = []
    still = {kind for kind, _, _ in shown}
    for finding in lasting:
        if at_ms - finding.last_ms > (TEN_MINUTES_MS if finding.kind in still else CLEAR_MS):
            rows.append(finding.row(thing, finding.last_ms))
            del open_ones[finding.kind]
    for kind, level, value in shown:
        finding = open_ones.get(kind) or Finding(kind, at_ms, "", at_ms, value)
        levels = LEVELS[kind]
        if not finding.level or levels.index(level) > levels.index(finding.level):
            finding = finding._replace(level=level, value=value)
            rows.append(finding.row(thing))
        open_ones[kind] = finding._replace(last_ms=at_ms)
    return tuple(open_ones.values()), rows

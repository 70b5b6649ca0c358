"""One fire sensor: its records in order, and what each of them brings about."""

from typing import Literal

from simulator.backend.fire import alerts, stream
from simulator.backend.fire.history import LATE_MAX, LATE_MS, Entry, Log
from simulator.backend.fire.outcomes import FireWrite, Forget, SaveFireAlert, SaveFireState, SaveRisk
from simulator.backend.fire.realtime import HIGH, LEVELS, ONE, final, level_of
from simulator.backend.fire.state import QUIET, Now, State

# A point of the series of risks: a minute after the last one, or where it moved by a hundredth or to another level.
SHOWN_MS = 60_000
SHOWN_RISK = 100

Fate = Literal["next", "late", "repeated", "too_late"]


class Device:
    """A sensor's log, and how it moves on."""

    __slots__ = ("floor_ms", "log", "modifier", "origin", "site", "thing", "waits")

    def __init__(self, thing: str) -> None:
        self.thing, self.site = thing, ""
        self.log = Log()
        self.origin = QUIET  # before the first record
        self.floor_ms = 0  # nothing older is taken: a restart has forgotten what was before it
        self.modifier = 10
        self.waits = False  # for the end of a window

    @property
    def state(self) -> State:
        """After the newest record."""
        states = self.log.states
        return states[-1] if states else self.origin

    @property
    def newest_ms(self) -> int:
        """Of the newest record; 0 without one."""
        at_ms = self.log.at_ms
        return at_ms[-1] if at_ms else 0

    def take(self, entry: Entry, clear_ms: int, out: list[FireWrite]) -> Fate:
        """Take a record; what is to be kept goes to `out`."""
        log = self.log
        at_ms, idx, key = entry[:3]
        if log.at_ms:
            newest_ms, newest_idx = log.at_ms[-1], log.idx[-1]
            if idx <= newest_idx and log.has(key):
                return "repeated"
            if at_ms < newest_ms or (at_ms == newest_ms and (idx, key) < (newest_idx, log.key[-1])):
                return self._late(entry, clear_ms, out)
        elif at_ms < self.floor_ms:
            return "too_late"
        self._step(entry, clear_ms, out)
        return "next"

    def _late(self, entry: Entry, clear_ms: int, out: list[FireWrite]) -> Fate:
        """Go back to where it belongs, and on again."""
        log, at_ms = self.log, entry.at_ms
        if log.has(entry.key):
            return "repeated"
        place = log.since(at_ms)
        if at_ms < max(log.at_ms[-1] - LATE_MS, self.floor_ms) or len(log) - place > LATE_MAX:
            return "too_late"
        entries = [entry]
        while len(log) > place:
            entries.append(log.pop())
        state = self.state
        out.append(Forget(self.thing, "", at_ms))
        if state.alert:
            out.append(_alert_row(self.thing, state.alert))
        out += [finding.row(self.thing) for finding in state.findings]
        for one in sorted(entries, key=lambda one: one[:3]):
            self._step(one, clear_ms, out)
        return "late"

    def _step(self, entry: Entry, clear_ms: int, out: list[FireWrite]) -> None:
        """One record further."""
        log, at_ms = self.log, entry.at_ms
        log.aim(at_ms)
        modifier = self.modifier = log.modifier()
        risk = final(entry.base, modifier)
        level = level_of(risk)
        if log.at_ms:
            before = log.states[-1]
            newest_ms = log.at_ms[-1]
            jumped = not -stream.JUMP <= risk - log.risk[-1] <= stream.JUMP
            if at_ms // stream.WINDOW_MS != newest_ms // stream.WINDOW_MS:
                out.append(stream.window(self.thing, log, stream.window_start(newest_ms)))
        else:
            before, jumped = self.origin, False
        alert, clear_since, findings, shown_ms, shown_risk = state = before
        if alert or level >= HIGH:
            was = alert
            alert, clear_since = alerts.after(alert, clear_since, at_ms, level, risk, entry.reading, clear_ms)
            if alert is not was and alert:
                out.append(_alert_row(self.thing, alert))
                if alert.resolved_ms is not None:
                    alert = None
        if findings or jumped or entry.arcs or risk > stream.JUMP or entry.temperature > stream.HOT:
            findings, rows = stream.renewed(self.thing, findings, stream.seen(log, entry, risk), at_ms)
            out += rows
        if at_ms - shown_ms >= SHOWN_MS or abs(risk - shown_risk) >= SHOWN_RISK or level != level_of(shown_risk):
            shown_ms, shown_risk = at_ms, risk
            name = LEVELS[level]
            out.append(SaveRisk(self.thing, at_ms, entry.idx, risk / ONE, name, entry.temperature / 1000))
        moved = State(alert, clear_since, findings, shown_ms, shown_risk)
        log.push(entry, risk, state if moved == state else moved)

    def now(self) -> SaveFireState:
        """The sensor after its newest record."""
        log, state = self.log, self.state
        reading = log.readings[-1]
        assert reading is not None, "the newest reading is kept"
        risk, at_ms = log.risk[-1], log.at_ms[-1]
        now = Now(self.thing, self.site, at_ms, log.idx[-1], reading, risk, self.modifier, state)
        alert = state.alert.level if state.alert else ""
        return SaveFireState(self.thing, at_ms, risk / ONE, LEVELS[level_of(risk)], alert, now)


def _alert_row(thing: str, alert: alerts.Alert) -> SaveFireAlert:
    return SaveFireAlert(thing, alert.raised_ms, alert.level, alert.type, alert.resolved_ms, alert)

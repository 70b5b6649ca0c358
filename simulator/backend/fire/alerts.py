"""An alert of one sensor: raised by HIGH or CRITICAL, quiet while it lasts, risen with its level, resolved when over.

It is over once the level stayed below HIGH for the clearing time, by the records' own time: one record above it in
between, and the time begins again. A level that falls again leaves the alert as it is.
"""

from typing import Any, NamedTuple

from simulator.backend.fire.indicators import ARC, CO, LEAKAGE, OVERCURRENT, PCB, RESISTIVE, SENSOR, VOC
from simulator.backend.fire.reading import Reading, values_of
from simulator.backend.fire.realtime import HIGH, LEVELS, ONE, confidence_of

CLEAR_MS = 60_000

_GAS = "ventilate and find the gas source"
_BREAKER = "check the breaker and the earth"
_AT_ONCE = "inspect at once"
# type → what it says, and what to do
_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "TEMPERATURE_CRITICAL": (
        "{temperature:.1f} °C on the board", ("cool and ventilate", "consider cutting the power"),
    ),
    "ARC_DETECTED": ("{arcs} arcs since the record before", ("check the wiring and the insulation",)),
    "ELECTRICAL_LEAKAGE": ("{leakage:.1f} mA leak to earth", (_BREAKER,)),
    "OVERCURRENT": ("{current:.1f} A flow", (_BREAKER,)),
    "GAS_DETECTION": ("{co:.1f} ppm of carbon monoxide, {voc:.0f} µg/m³ of organic vapours", (_GAS,)),
    "GENERAL_RISK": ("several values together are risky", (_AT_ONCE,)),
}  # fmt: skip


class Alert(NamedTuple):
    """One alert as it is; plain values, so that it survives a restart as JSON."""

    raised_ms: int
    level: str
    type: str
    score: float
    confidence: float
    message: str
    values: dict[str, float]  # of the record that brought it to its level
    actions: tuple[str, ...]
    raised_level: str
    risen_ms: int | None = None
    resolved_ms: int | None = None


def type_of(reading: Reading) -> str:
    """What an alert is about: the first that matches."""
    status = reading.status
    if status & (PCB | SENSOR):
        return "TEMPERATURE_CRITICAL"
    if status & ARC or reading.arcs:
        return "ARC_DETECTED"
    if status & (LEAKAGE | RESISTIVE):
        return "ELECTRICAL_LEAKAGE"
    if status & OVERCURRENT:
        return "OVERCURRENT"
    return "GAS_DETECTION" if status & (CO | VOC) else "GENERAL_RISK"


def actions_for(kind: str, level: str) -> tuple[str, ...]:
    """What is recommended; at CRITICAL always to go there."""
    actions = _TYPES[kind][1]
    return actions if level != "CRITICAL" or _AT_ONCE in actions else (*actions, _AT_ONCE)


def message_of(kind: str, level: str, reading: Reading) -> str:
    """One line for a person."""
    said = _TYPES[kind][0].format(temperature=reading.temperature, **reading._asdict())
    return f"{level} fire risk: {said}"


def raised(at_ms: int, level: int, risk: int, reading: Reading) -> Alert:
    """A new alert."""
    kind, name = type_of(reading), LEVELS[level]
    return Alert(
        at_ms, name, kind, risk / ONE, confidence_of(reading), message_of(kind, name, reading), values_of(reading),
        actions_for(kind, name), name,
    )  # fmt: skip


def after(
    alert: Alert | None, clear_since: int, at_ms: int, level: int, risk: int, reading: Reading | None, clear_ms: int
) -> tuple[Alert | None, int]:
    """The alert after one more record, and since when the level is below HIGH (0: it is not).

    An alert that is resolved is given back with its time; None: there is none.
    """
    if level >= HIGH:
        assert reading is not None, "a risk that high keeps its reading"
        if alert is None:
            return raised(at_ms, level, risk, reading), 0
        if level > LEVELS.index(alert.level):
            risen = raised(alert.raised_ms, level, risk, reading)
            return risen._replace(raised_level=alert.raised_level, risen_ms=at_ms), 0
        return alert, 0
    if alert is None:
        return None, 0
    clear_since = clear_since or at_ms
    if at_ms - clear_since >= clear_ms:
        return alert._replace(resolved_ms=at_ms), 0
    return alert, clear_since


def document_of(alert: Alert) -> dict[str, Any]:
    """An alert as JSON takes it."""
    return alert._asdict()


def from_document(document: dict[str, Any]) -> Alert:
    """The alert that was written so."""
    return Alert(**(document | {"actions": tuple(document["actions"])}))

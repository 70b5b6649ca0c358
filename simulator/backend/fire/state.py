"""What lasts from one record of a sensor to the next, and the sensor as a reader of the store sees it."""

from typing import Any, NamedTuple

from simulator.backend.fire.alerts import Alert, document_of
from simulator.backend.fire.indicators import indicators
from simulator.backend.fire.reading import Reading, values_of
from simulator.backend.fire.realtime import (
    LEVELS,
    ONE,
    confidence_of,
    level_of,
    pattern_points,
    rule_points,
    status_points,
)
from simulator.backend.fire.stream import Finding, outside


class State(NamedTuple):
    """After a record. Most records leave it as it is."""

    alert: Alert | None = None
    clear_since: int = 0  # since when the level is below that of an alert; 0: it is not
    findings: tuple[Finding, ...] = ()
    shown_ms: int = 0  # the last point of the series of risks
    shown_risk: int = -1


QUIET = State()


class Now(NamedTuple):
    """A sensor after its newest record."""

    thing: str
    site: str
    at_ms: int
    idx: int
    reading: Reading
    risk: int
    modifier: int
    state: State

    def document(self) -> dict[str, Any]:
        """As JSON takes it."""
        reading = self.reading
        alert = self.state.alert
        return {
            "device_id": self.thing,
            "site": self.site or None,
            "at_ms": self.at_ms,
            "idx": self.idx,
            "values": values_of(reading),
            "temperature": reading.temperature,
            "risk": self.risk / ONE,
            "level": LEVELS[level_of(self.risk)],
            "confidence": confidence_of(reading),
            "rule_risk": rule_points(reading) / 100,
            "status_risk": status_points(reading.status) / 100,
            "pattern_risk": pattern_points(reading) / 100,
            "modifier": self.modifier / 10,
            "indicators": indicators(reading)._asdict(),
            "alarm_bits": reading.status.bit_count(),
            "outside_normal": outside(reading),
            "alert": document_of(alert) if alert else None,
            "findings": [{"kind": f.kind, "level": f.level, "begin_ms": f.begin_ms} for f in self.state.findings],
        }

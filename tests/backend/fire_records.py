"""Records of fire sensors for the tests: the contract's normal one, and others that differ from it."""

from typing import Any, NamedTuple

from simulator.backend.fire.analysis import Fire
from simulator.backend.fire.outcomes import (
    FireWrite,
    Forget,
    SaveFinding,
    SaveFireAlert,
    SaveFireState,
    SaveRisk,
    SaveWindow,
)
from simulator.backend.fire.reading import NAMES, Reading, read

START_MS = 1_767_225_600_000
NORMAL = dict(
    zip(NAMES, (220.0, 220.0, 5.0, 0.5, 0.3, 1.1, 35.0, 37.0, 5.0, 50.0, 0.95, 0, 0), strict=True)
)  # the contract's
# Bits of an advanced fire: both leakages, both temperatures, CO, VOC and arcs.
BLAZE = {"pcbTemp": 88.0, "sensorTemp": 95.0, "co": 300.0, "voc": 2000.0, "arc_count": 4, "leakage_current": 20.0,
         "resistive_leakage": 12.0, "status": 0b1011_1101_1000}  # fmt: skip
SMOKE = {"co": 40.0, "voc": 700.0, "status": 0b11_0000_0000}
HOT = {"pcbTemp": 62.0, "sensorTemp": 66.0, "status": 0b1100_0000}


def metrics(**changes: Any) -> dict[str, Any]:
    """A record's metrics under the store's names."""
    return NORMAL | changes


def reading(**changes: Any) -> Reading:
    return read(metrics(**changes))


class Said(NamedTuple):
    """One record of a sensor."""

    thing: str
    at_ms: int
    idx: int
    metrics: dict[str, Any]

    @property
    def key(self) -> int:
        return hash((self.thing, self.at_ms, self.idx, tuple(self.metrics.values())))


class Kept:
    """What a store holds after the analysis's writes: the last of each."""

    def __init__(self) -> None:
        self.risks: dict[tuple[str, int, int], SaveRisk] = {}
        self.windows: dict[tuple[str, int], SaveWindow] = {}
        self.alerts: dict[tuple[str, int], SaveFireAlert] = {}
        self.findings: dict[tuple[str, str, str, int], SaveFinding] = {}
        self.states: dict[str, dict[str, Any]] = {}

    def write(self, writes: list[FireWrite]) -> None:
        for write in writes:
            match write:
                case Forget(thing, site, from_ms):
                    self.findings = {
                        key: one for key, one in self.findings.items() if key[:2] != (thing, site) or key[3] < from_ms
                    }
                    self.risks = {key: one for key, one in self.risks.items() if key[0] != thing or key[1] < from_ms}
                    self.alerts = {key: one for key, one in self.alerts.items() if key[0] != thing or key[1] < from_ms}
                case SaveRisk():
                    self.risks[write[:3]] = write
                case SaveWindow():
                    self.windows[write[:2]] = write
                case SaveFireAlert():
                    self.alerts[write[:2]] = write
                case SaveFinding():
                    self.findings[write[:4]] = write
                case SaveFireState():
                    self.states[write.thing] = write.state.document()


class Analysis:
    """The analysis and what it keeps."""

    def __init__(self, **sites: str) -> None:
        self.fire, self.kept = Fire(), Kept()
        for thing, site in sites.items():
            self.fire.place(thing, site)

    def hear(self, *said: Said) -> "Analysis":
        for one in said:
            taken = self.fire.take(one.thing, one.at_ms, one.idx, one.key, one.metrics)
            assert taken is not None
            self.kept.write(taken.writes)
        return self

    def end(self) -> Kept:
        """Long afterwards."""
        self.kept.write(self.fire.tick(START_MS + 30 * 86_400_000))
        return self.kept


def series(thing: str, every_s: float, *records: dict[str, Any], from_s: float = 0, idx: int = 1) -> list[Said]:
    """Records one after the other; each says what differs from the normal one."""
    return [
        Said(thing, START_MS + int(1000 * (from_s + i * every_s)), idx + i, metrics(**changes))
        for i, changes in enumerate(records)
    ]

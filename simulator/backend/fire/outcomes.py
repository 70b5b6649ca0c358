"""What the analysis asks to be kept. Each is known by its first fields; what is said again takes the place of the old.

Rules: in order. `Forget` takes back what was said of a sensor or a site from a moment on, because a late record
changes it; what stands instead follows at once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class SaveFireState(NamedTuple):
    """A sensor as it is now; the document is made when it is written, and only of the last one."""

    thing: str
    at_ms: int
    risk: float
    level: str
    alert: str  # the level of the open alert, or empty
    state: Any  # a state.Now


class SaveRisk(NamedTuple):
    """A point of the series of risks; it stands until the next."""

    thing: str
    at_ms: int
    idx: int
    risk: float
    level: str
    temperature: float


class SaveWindow(NamedTuple):
    """Five minutes of a sensor."""

    thing: str
    start_ms: int
    records: int
    temperature_mean: float
    temperature_max: float
    temperature_min: float
    temperature_sigma: float
    risk_mean: float
    risk_max: float
    arcs: int
    current_mean: float
    period_s: float | None  # of the temperature in the hour up to its end, where it has one


class SaveFireAlert(NamedTuple):
    """An alert as it is now."""

    thing: str
    raised_ms: int
    level: str
    type: str
    resolved_ms: int | None
    alert: Any  # an alerts.Alert


class SaveFinding(NamedTuple):
    """Something that the stream shows, of a sensor (`thing`) or of a site (`site`)."""

    thing: str
    site: str
    kind: str
    begin_ms: int
    level: str
    ended_ms: int | None
    detail: Mapping[str, Any]


class Forget(NamedTuple):
    """What was said of a sensor (or of a site) from a moment on."""

    thing: str
    site: str
    from_ms: int


FireWrite = SaveFireState | SaveRisk | SaveWindow | SaveFireAlert | SaveFinding | Forget
FIRE_WRITES = (SaveFireState, SaveRisk, SaveWindow, SaveFireAlert, SaveFinding, Forget)

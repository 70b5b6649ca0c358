"""The baseline that ships: the platform's rule-based risk of each record, by the very code that runs in the platform.

Rules: a sensor's records go in as they would come over the wire: what it did not say is -999, and a record that the
data contract refuses for it brings no new risk. The score of a record is the risk after it.
"""

import numpy as np

from simulator.backend.fire.history import Log, entry_of
from simulator.backend.fire.reading import Reading
from simulator.backend.fire.realtime import ONE, final
from simulator.backend.fire.state import QUIET
from simulator.dataset.columns import BITS, METRICS
from simulator.dataset.reading import Table
from simulator.errors import UsageError
from simulator.seeds import Floats
from simulator.wire.payloads import FIRE_RANGED, SENTINEL

_RANGED = [METRICS.index(name) for name in METRICS if name in FIRE_RANGED]
_ARCS = METRICS.index("aArc")
_WEIGHTS = 1 << np.arange(len(BITS))


class Baseline:
    """Asked table by table, in the order of time of each sensor."""

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}

    def __call__(self, table: Table) -> Floats:
        if table.features.ndim != 2:
            raise UsageError("the baseline looks at every record: score it on records, not on windows (.npz)")
        values = table.features[:, : len(METRICS)]
        status = (table.features[:, len(METRICS) : len(METRICS) + len(BITS)] > 0) @ _WEIGHTS
        refused = np.asarray(np.isnan(values[:, _RANGED]).any(axis=1)).tolist()
        said = np.where(np.isnan(values), SENTINEL, values).tolist()
        risks = []
        logs = self._logs
        rows = zip(table.devices, table.at_ms.tolist(), said, status.tolist(), refused, strict=True)
        for thing, at_ms, row, bits, is_refused in rows:
            log = logs.get(thing)
            if log is None:
                log = logs[thing] = Log()
            if is_refused:
                risks.append(log.risk[-1] if log.risk else 0)
                continue
            row[_ARCS] = max(0, int(row[_ARCS]))
            idx = len(log)
            entry = entry_of(at_ms, idx, idx, Reading._make((*row, bits)))
            log.aim(at_ms)
            risk = final(entry.base, log.modifier())
            log.push(entry, risk, QUIET)
            risks.append(risk)
        return np.array(risks, np.float64) / ONE

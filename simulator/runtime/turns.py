"""What devices said that took their turns by themselves (links._turning), brought to account.

Rules: it counts exactly what the engine would have counted, some hundreds at a time: each entry is an answer and the
next message, and what is in flight was counted when it was said. In the audit they stand where they belong.
"""

from simulator import pile
from simulator.audit import TOGETHER, Audit
from simulator.ledger import Ledger
from simulator.links import Turns
from simulator.runtime.meter import MQTT, Meter

KIND = "telemetry"


class TurnBook:
    """The turns of one engine."""

    def __init__(self, ledger: Ledger, meter: Meter | None, audit: Audit | None, zero_ms: float) -> None:
        self._ledger, self._meter = ledger, meter
        self._times: list[float] = []
        self._logs = audit.logs if audit else ()
        said, answered = (log.add for log in self._logs) if audit else (_nobody, _nobody)
        self.turns = Turns(answered, said, self._times.extend, zero_ms)

    def account(self) -> None:
        """Tell ledger, meter and audit of all that is new: a few times a second, so there are never many."""
        if not self._times:
            return
        size, sent_s, answered_s = pile.rows(self._times, 3).T
        ledger = self._ledger
        for counter in (ledger.acknowledged, ledger.attempted, ledger.sent):
            counter[KIND] += len(size)
        if self._meter:
            self._meter.turned(MQTT, KIND, answered_s - sent_s, int(size.sum()))
        for log in self._logs:
            if len(log.fresh) >= TOGETHER:
                log.pack()


def _nobody(_: tuple[int, int, float]) -> None:
    """Keeps no audit."""

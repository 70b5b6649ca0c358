"""Neighbours on a site, within two minutes of each other: both at high risk, or far apart in temperature.

    HIGH_RISK_CLUSTER   two sensors above 0.7; it names all that are
    TEMP_DIVERGENCE     the latest temperatures are more than 20 K apart; it names the warmer ones

Rules: what is found depends on the sensors' logs alone. Their records count in the order of (time, sensor); when one
is late, the site goes back to it, and forward again from the logs. A cluster that nothing showed for two minutes is
over. At most NEIGHBOURS_MAX of a site are compared.
"""

from heapq import merge
from typing import NamedTuple

from simulator.backend.fire.history import LATE_MS, Log
from simulator.backend.fire.outcomes import FireWrite, Forget, SaveFinding

CLUSTER_MS = 120_000
HIGH_RISK = 7_000  # ten-thousandths
APART = 20_000  # thousandths of a degree
NEIGHBOURS_MAX = 200

_Order = tuple[int, str]


class Cluster(NamedTuple):
    """Sensors that go together."""

    kind: str
    begin_ms: int
    last_ms: int
    things: tuple[str, ...]

    def row(self, site: str, ended_ms: int | None = None) -> SaveFinding:
        """As it is kept."""
        return SaveFinding("", site, self.kind, self.begin_ms, "HIGH", ended_ms, {"things": list(self.things)})


class Site:
    """The sensors of one site."""

    __slots__ = ("_bounds", "_hot", "_latest", "_order", "_turns", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Log] = {}
        self._order: _Order = (0, "")  # of the newest record
        self._turns: list[tuple[int, tuple[Cluster, ...]]] = [(0, ())]  # what lasted from a moment on
        self._hot: dict[str, int] = {}  # when each was at high risk last
        self._latest: dict[str, tuple[int, int]] = {}  # (time, temperature)
        self._bounds = (0, 0)  # no latest temperature is outside them

    def add(self, thing: str, log: Log) -> None:
        """One sensor more."""
        if len(self.members) < NEIGHBOURS_MAX:
            self.members[thing] = log

    def take(self, thing: str, out: list[FireWrite]) -> None:
        """The sensor's log has a new last record."""
        log = self.members.get(thing)
        if log is None:
            return
        at_ms = log.at_ms[-1]
        if (at_ms, thing) < self._order:
            self.again(at_ms, out)
        else:
            self._step(at_ms, thing, log.risk[-1], log.temperature[-1], out)

    def again(self, from_ms: int, out: list[FireWrite]) -> None:
        """The logs changed from a moment on."""
        if from_ms < self._order[0] - LATE_MS:
            return  # too late for the neighbours
        while self._turns[-1][0] >= from_ms:
            self._turns.pop()
        out.append(Forget("", self.name, from_ms))
        out += [cluster.row(self.name) for cluster in self._turns[-1][1]]
        self._recall(from_ms)
        self._order = (0, "")
        rows = (
            [(at_ms, thing, risk, celsius) for at_ms, risk, celsius in log.rows(from_ms)]
            for thing, log in self.members.items()
        )
        for at_ms, thing, risk, celsius in merge(*rows, key=lambda row: row[:2]):
            self._step(at_ms, thing, risk, celsius, out)

    def _recall(self, before_ms: int) -> None:
        """What was known of each just before a moment."""
        self._hot.clear()
        self._latest.clear()
        for thing, log in self.members.items():
            end = log.since(before_ms)
            for place in range(log.since(before_ms - CLUSTER_MS), end):
                self._latest[thing] = (log.at_ms[place], log.temperature[place])
                if log.risk[place] > HIGH_RISK:
                    self._hot[thing] = log.at_ms[place]
        self._bound()

    def _bound(self) -> None:
        celsius = [celsius for _, celsius in self._latest.values()]
        self._bounds = (min(celsius), max(celsius)) if celsius else (APART * 100, -APART * 100)

    def _step(self, at_ms: int, thing: str, risk: int, celsius: int, out: list[FireWrite]) -> None:
        """One record further."""
        self._order = (at_ms, thing)
        self._latest[thing] = (at_ms, celsius)
        low, high = self._bounds
        if celsius < low or celsius > high:
            low, high = self._bounds = (min(low, celsius), max(high, celsius))
        lasting = self._turns[-1][1]
        hot = high - low > APART and self._apart(at_ms, thing, celsius)
        risky = risk > HIGH_RISK and self._risky(at_ms, thing)
        if not (lasting or hot or risky):
            return
        still = []
        for cluster in lasting:
            if at_ms - cluster.last_ms > CLUSTER_MS:
                out.append(cluster.row(self.name, cluster.last_ms))
            else:
                still.append(cluster)
        for kind, things in (("TEMP_DIVERGENCE", hot), ("HIGH_RISK_CLUSTER", risky)):
            if things:
                self._show(still, kind, things, at_ms, out)
        now = tuple(still)
        if now != lasting:
            self._turns.append((at_ms, now))
            if self._turns[0][0] < at_ms - 2 * LATE_MS:
                self._trim(at_ms)

    def _show(self, still: list[Cluster], kind: str, things: set[str], at_ms: int, out: list[FireWrite]) -> None:
        place = next((i for i, cluster in enumerate(still) if cluster.kind == kind), None)
        if place is None:
            still.append(Cluster(kind, at_ms, at_ms, tuple(sorted(things))))
            out.append(still[-1].row(self.name))
            return
        was = still[place]
        still[place] = was._replace(last_ms=at_ms, things=tuple(sorted(things.union(was.things))))
        if len(still[place].things) > len(was.things):
            out.append(still[place].row(self.name))

    def _apart(self, at_ms: int, thing: str, celsius: int) -> set[str]:
        """The warmer ones of those that this temperature is far from."""
        self._bound()
        low, high = self._bounds
        if celsius - low <= APART and high - celsius <= APART:
            return set()
        found: set[str] = set()
        for other, (then_ms, theirs) in self._latest.items():
            if at_ms - then_ms <= CLUSTER_MS and abs(celsius - theirs) > APART:
                found.add(thing if celsius > theirs else other)
        return found

    def _risky(self, at_ms: int, thing: str) -> set[str]:
        """All at high risk, when there are two."""
        self._hot[thing] = at_ms
        found = {other for other, then_ms in self._hot.items() if at_ms - then_ms <= CLUSTER_MS}
        return found if len(found) > 1 else set()

    def _trim(self, at_ms: int) -> None:
        """Forget what no late record can go back to."""
        first = next(i for i, (turned_ms, _) in enumerate(self._turns) if turned_ms > at_ms - LATE_MS)
        del self._turns[: max(0, first - 1)]

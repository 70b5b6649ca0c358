"""What many engines and users measured, merged by row: of the whole test, and of the level that it is at now.

Rules: merging is exact (histograms add up bucket by bucket), so it does not matter who measured what, and when it came.
"""

from collections.abc import Iterable, Mapping

from simulator.histogram import Histogram
from simulator.runtime.meter import Row

Key = tuple[str, str]  # method and name


class Rows:
    """The table of a load test."""

    def __init__(self) -> None:
        self.total: dict[Key, Row] = {}
        self._level: dict[Key, Row] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """What somebody measured since the last time."""
        for row in rows:
            for table in (self.total, self._level):
                mine = table.get(key := (row.method, row.name))
                if mine is None:
                    mine = table[key] = Row(row.method, row.name)
                merge(mine, row)

    def begin_level(self) -> None:
        """From here on another level counts."""
        self._level = {}

    def latencies(self, *, of_level: bool = False) -> Mapping[str, Histogram]:
        """By name, over all methods."""
        found: dict[str, Histogram] = {}
        for (_, name), row in (self._level if of_level else self.total).items():
            found.setdefault(name, Histogram()).merge(row.latency)
        return found

    def named(self, name: str) -> Row:
        """The rows of a name as one, over all methods."""
        row = Row("", name)
        for other in self.total.values():
            if other.name == name:
                merge(row, other)
        return row


def merge(row: Row, other: Row) -> None:
    """Add what another row of the same name has counted."""
    row.latency.merge(other.latency)
    row.service.merge(other.service)
    row.untimed += other.untimed
    row.payload_bytes += other.payload_bytes
    for reason, times in other.failed.items():
        row.fail(reason, times)

"""How long does the far side take to answer?"""

from typing import Literal

from pydantic import Field

from simulator.checks import Check, Facts, Measured, Percentile

_NS_PER_S = 1e9


class Latency(Check):
    """The time of a row of the load's table (such as telemetry, connect, download), in seconds: a percentile.

    `telemetry` is until it is acknowledged; `telemetry → stored` until it is in the store, whatever a fault did to it.
    """

    kind: Literal["latency"] = "latency"
    row: str = Field("telemetry", min_length=1, max_length=120, description="The row's name.")
    percentile: Percentile = 99

    @property
    def title(self) -> str:
        return f"latency of {self.row}, {'slowest' if self.percentile == 100 else f'p{self.percentile:g}'}"

    @property
    def unit(self) -> str:
        return "s"

    def measure(self, facts: Facts) -> Measured:
        if facts.latencies is None:
            return Measured(None, "latencies are measured under load: `fleetsim load`")
        found = facts.latencies.get(self.row)
        if found is None or not found.count:
            known = ", ".join(sorted(facts.latencies)) or "none"
            return Measured(None, f"there is no row '{self.row}' (there are: {known})")
        value = found.quantile(self.percentile / 100) / _NS_PER_S
        return Measured(value, f"of {found.count} times; slowest {found.high / _NS_PER_S:.3g} s")

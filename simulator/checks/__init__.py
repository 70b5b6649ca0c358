"""Checks: what a run must show, one measure in each file.

A check measures one number from the facts of a run and compares it with a bound from the scenario. It is a
pure function of the facts, so it can be asked while a run goes on (the step `expect`) as well as at its end.

To add one, copy `devices.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from simulator.ledger import Ledger
from simulator.schema import Strict

# Said at QoS 1 and kept by the backend, each of them: for these a count of zero means that nothing arrived.
STORED_KINDS = ("telemetry", "control_result", "alert_report", "provisioning_complete")


class DeviceFact(NamedTuple):
    """One device as the fleet knows it."""

    thing: str
    profile: str
    package: str
    version: str
    online: bool
    faulted: bool
    managed: bool = True  # has a job agent, so that cloud and device can agree or not


@dataclass(slots=True)
class Facts:
    """Everything a check may look at. Empty parts were not, or not yet, to be had from this target."""

    ledger: Ledger
    devices: Sequence[DeviceFact] = ()
    alarms: Sequence[Mapping[str, Any]] | None = None  # as the backend's read API gives them; None: it has none
    stored: Mapping[str, int] | None = None  # messages in the backend's store, by kind
    executions: Sequence[Mapping[str, Any]] = ()  # job executions: thing, job, status, version
    packages: Mapping[str, str] = field(default_factory=dict)  # thing → version in its $package shadow

    def faulted(self) -> dict[str, int]:
        """When each broken device was first broken."""
        first: dict[str, int] = {}
        for event in self.ledger.events:
            if event.kind == "fault_injected":
                first.setdefault(event.thing, event.at_ms)
        return first


NO_API = "this target has no read API to ask for alarms"


class Measured(NamedTuple):
    """A number, or None where there was nothing to measure, and a line that explains it."""

    value: float | None
    why: str = ""


class Result(NamedTuple):
    """A check after a run, as reports show it."""

    name: str
    measured: float | None
    bound: str
    unit: str
    passed: bool
    why: str


class Check(Strict):
    """The bound, common to all; members add `kind`, their keys and `measure`."""

    name: str = Field("", max_length=120, description="What the report calls it; absent: made from the check.")
    at_least: float | None = None
    at_most: float | None = None
    equals: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "Check":
        if self.at_least is None and self.at_most is None and self.equals is None:
            raise ValueError("a check needs a bound: 'at_least', 'at_most' or 'equals'")
        return self

    @property
    def title(self) -> str:
        """What is measured, in words."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        """Unit of the measured value."""
        return ""

    def measure(self, facts: Facts) -> Measured:
        """The number."""
        raise NotImplementedError

    def judge(self, facts: Facts) -> Result:
        """Measure and compare. What could not be measured has not passed."""
        value, why = self.measure(facts)
        bounds = (("≥", self.at_least), ("≤", self.at_most), ("=", self.equals))
        bound = " and ".join(f"{sign} {limit:.12g}" for sign, limit in bounds if limit is not None)
        passed = (
            value is not None
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.equals is None or value == self.equals)
        )
        return Result(self.name or self.title, value, bound, self.unit, passed, why)


def listed(names: Sequence[str], limit: int = 8) -> str:
    """`a, b, c … and 4 more`."""
    shown = ", ".join(names[:limit])
    return f"{shown} … and {len(names) - limit} more" if len(names) > limit else shown

"""Checks: what a run must show, one measure in each file.

A check measures one number from the facts of a run and compares it with a bound from the scenario. It is a
pure function of the facts, so it can be asked while a run goes on (the step `expect`) as well as at its end.

To add one, copy `devices.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from simulator import rooms
from simulator.errors import did_you_mean
from simulator.faults import Subject
from simulator.histogram import Histogram
from simulator.ledger import Ledger
from simulator.matching import Audited
from simulator.schema import Misplaced, Strict
from simulator.truth import Evidence, Score, Truth, truth

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
    subjects: Mapping[str, Subject] = field(default_factory=dict)  # the profiles, as faults know them
    carried_by: Mapping[str, str] = field(default_factory=dict)  # hub of each device that speaks through one
    begin_ms: int = 0
    end_ms: int = 0  # of the run, or of what there is of it
    audit: Audited | None = None  # made at the end of a run
    no_audit: str = "every message is looked at when the run has ended, and not before"
    watched_s: float = 0.0  # since the backend's read API was first asked …
    unanswered_s: float = 0.0  # … and how long of it there was no answer
    latencies: Mapping[str, Histogram] | None = None  # by row, in nanoseconds; None: nobody measures
    _truth: Truth | None = field(default=None, init=False, repr=False, compare=False)

    def truth(self) -> Truth:
        """What should have been noticed, and what was."""
        if self._truth is None:
            self._truth = truth(
                Evidence(
                    self.ledger.events, {d.thing: d.profile for d in self.devices}, self.subjects, self.alarms,
                    self.begin_ms, self.end_ms, self.audit.refusals if self.audit else (), self.executions,
                    frozenset(device.thing for device, _ in self.disagreeing()), self.carried_by,
                )
            )  # fmt: skip
        return self._truth

    def disagreeing(self) -> list[tuple[DeviceFact, str]]:
        """Devices whose version is not what their `$package` shadow or their last succeeded job says, and how."""
        by_job = {e["thing"]: e["version"] for e in self.executions if e["status"] == "SUCCEEDED"}
        found: list[tuple[DeviceFact, str]] = []
        for device in self.devices if self.packages else ():
            shadow, job = self.packages.get(device.thing), by_job.get(device.thing, device.version)
            if device.managed and not device.version == shadow == job:
                words = f"{device.thing} runs {device.version}, $package {shadow or 'empty'}, job {job}"
                found.append((device, words))
        return found

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
    """The bound, common to all; members add `kind`, their keys and `measure`.

    A check that is given no bound has its `usual` one, if it has one: the targets of the contracts.
    """

    usual: ClassVar[Mapping[str, float]] = {}  # at_least, at_most or equals
    needs_pace: ClassVar[bool] = True  # it may fail because whoever runs the devices was too slow

    name: str = Field("", max_length=120, description="What the report calls it; absent: made from the check.")
    at_least: float | None = None
    at_most: float | None = None
    equals: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_usual(cls, said: Any) -> Any:
        if isinstance(said, dict) and not any(said.get(key) is not None for key in ("at_least", "at_most", "equals")):
            return {**said, **cls.usual}
        return said

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


# Which of many times a check looks at.
Percentile = Annotated[float, Field(gt=0, le=100, description="So many percent took no longer; 100: the slowest.")]


class Scoring(Check):
    """A check of how well faults are noticed: of all, or of some kinds of fault and some profiles."""

    faults: list[str] = Field([], max_length=100, description="Kinds of fault to look at; absent: all.")
    profiles: list[str] = Field([], max_length=100, description="Profiles to look at; absent: all.")

    @model_validator(mode="after")
    def _known(self) -> "Scoring":
        known = rooms.kinds("faults")
        wrong = ((i, kind) for i, kind in enumerate(self.faults) if kind not in known)
        Misplaced.raise_any(
            Misplaced(("faults", i), f"unknown fault '{kind}'{did_you_mean(kind, known)}") for i, kind in wrong
        )
        return self

    def score(self, facts: Facts) -> Score:
        """Of what it looks at."""
        return facts.truth().score("", self.faults, self.profiles)

    def about(self, words: str) -> str:
        """The words, and what is looked at."""
        of = " and ".join(", ".join(names) for names in (self.faults, self.profiles) if names)
        return f"{words} ({of})" if of else words


class TimedScoring(Scoring):
    """A scoring check of how long something took."""

    percentile: Percentile = 100

    @property
    def unit(self) -> str:
        return "s"

    def timed(self, words: str) -> str:
        """The words, and which of all times is meant."""
        return self.about(f"{words}, {'slowest' if self.percentile == 100 else f'p{self.percentile:g}'}")

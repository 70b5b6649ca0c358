"""Faults: what goes wrong, one small file each.

A fault is what a scenario's YAML says. `start()` gives the state one device keeps for it while it lasts: an
`Active`, pure as a duty is, with `wake_at_ms` for what it does by itself. It stands at one or more points of the way
of a message, and answers from a small vocabulary, so that no device and no link knows a fault by name:

    reading    what the sensors say            clock      what the device takes for the time
    say        what the device says            hear       what it is told: pass on, change, drop, add, or `Later`
    carry      the bytes of its connection     reach      whether it can connect at all; `disguise`: as whom
    obstacle   what is in the way of a duty    step       what happens by itself: PowerCycle, Sever, Relink, Raw …

Common to all: `for_s` (how long it lasts), `ramp_s` (how long it takes to its full `strength`) and `probability`
(`chance`: of each reading, message or connection that it may hit). Any faults may be on one device at once; they are
asked in the order in which they were injected.

Every fault declares what a good backend should notice, and by when (`expects`): the ground truth a run is scored by.
One that is called `harmless`, such as the smoke of a kitchen, is to be left alone, whatever it shows (`expected`).

To add one, copy `bias.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from simulator.behaviours import NEVER_MS, Body, Outputs
from simulator.errors import did_you_mean
from simulator.messages import Input, Later, Output, Piece
from simulator.schema import Strict
from simulator.signals import Signal

Family = Literal["sensor", "device", "network", "protocol", "ota", "sandbox"]
Notice = Literal["alarm", "silence", "refusal", "job", "version", "nothing"]
_ON_THE_WIRE = 1 << 40  # where the numbers begin that carry and reach draw
DETECT_WITHIN_S = 300.0  # the mean time to detect that backends are held to, where a fault knows no better


class Subject(NamedTuple):
    """A kind of device, as far as a fault must know it to fit."""

    profile: str
    signals: Mapping[str, Signal]
    channel: str  # mqtt, tcp or rest
    link: str  # kind of link: mqtt, sdk, tcp or rest
    duties: frozenset[str]  # kinds of behaviour
    told: frozenset[str] = frozenset()  # signals that it tells the backend of
    codec: str = ""  # of its telemetry


class Expected(NamedTuple):
    """What a good backend should notice, in words and as data."""

    signal: str  # in which it shows, if in one
    words: str
    notice: Notice = "alarm"
    """alarm: one is raised for the device · silence: it is missed · refusal: what it says is refused or dead-lettered ·
    job: a job does not succeed · version: job, shadow and device disagree · nothing: a good backend copes, and an
    alarm would be false."""
    within_s: float = DETECT_WITHIN_S


class Disguise(NamedTuple):
    """Whom a device pretends to be when it connects; absent: itself."""

    client_id: str | None = None
    certificate: Literal["expired", "unknown"] | None = None


class Active:
    """One fault on one device."""

    __slots__ = ("drawn", "drawn_elsewhere", "kind", "number", "over", "since_ms", "until_ms", "wake_at_ms", "what")

    network: ClassVar[bool] = False  # True: it overrides `carry` or `reach`

    def __init__(self, what: "Fault", now_ms: int) -> None:
        self.what = what
        self.kind = str(what.model_dump()["kind"])
        self.over = False
        self.number = 0  # which of its kind on its device, from 1; known once it has started
        self.since_ms = now_ms
        self.until_ms = NEVER_MS if what.for_s is None else now_ms + int(what.for_s * 1000)
        self.wake_at_ms = NEVER_MS
        self.drawn, self.drawn_elsewhere = 0, _ON_THE_WIRE

    # What a member may use

    def strength(self, now_ms: int) -> float:
        """From 0 to 1 over `ramp_s`."""
        ramp_ms = self.what.ramp_s * 1000
        return 1.0 if ramp_ms <= 0 else min(1.0, max(0.0, (now_ms - self.since_ms) / ramp_ms))

    def draw(self, body: Body, *names: str | int) -> float:
        """A number in [0, 1), another one with every call."""
        self.drawn += 1
        return self.lot(body, *names, self.drawn)

    def lot(self, body: Body, *names: str | int) -> float:
        """A number in [0, 1) of this fault and of these names: the same whenever, live or in virtual time, it began."""
        return body.draw("fault", self.kind, self.number or body.injected.get(self.kind, 0), *names)

    def chance(self, body: Body) -> bool:
        """Is this one hit?"""
        return self.what.probability >= 1 or self.draw(body, "chance") < self.what.probability

    def swap_draws(self) -> None:
        """Draw from another row of numbers: `carry` and `reach` have one of their own.

        When they are asked is the network's business and never the same twice; what a device says must be.
        """
        self.drawn, self.drawn_elsewhere = self.drawn_elsewhere, self.drawn

    # What a member may override

    def step(self, body: Body, now_ms: int) -> Outputs:
        """Called when `wake_at_ms` has come; must move it on."""
        self.wake_at_ms = NEVER_MS
        return []

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        """Change what the sensors say, in place. Called for every reading, so never with side effects."""

    def clock_ms(self, body: Body, at_ms: int) -> int:
        """What the device takes for the time; `at_ms` is what it would without this fault."""
        return at_ms

    def say(self, body: Body, said: Output, now_ms: int) -> "list[Output | Later]":
        """What becomes of something that the device says or does."""
        return [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> "list[Input | Later]":
        """What becomes of something that the device is told."""
        return [said]

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        """What becomes of bytes on the connection, to the backend (`up`) or from it. None overtakes another.

        A piece without bytes is the connection's end: it is held up or lost like them, and stays empty. It and `reach`
        leave nothing behind that the rest of the fault looks at: a device says the same again without them (replay).
        """
        return [piece]

    def reach(self, body: Body, now_ms: int) -> str | None:
        """Why a connection cannot be made now; None when it can."""
        return None

    def disguise(self) -> Disguise | None:
        """Whom the device connects as."""
        return None

    def not_disguised(self, why: str) -> None:
        """The broker has no use for the disguise."""

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        """Why a duty cannot go on at a point of its way, such as jobs.accept, jobs.space, jobs.install."""
        return None

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        """The device restarted one of its parts."""

    def booted(self, body: Body, now_ms: int) -> None:
        """The device came back from a power cycle, maybe with another version."""

    def end(self, body: Body, now_ms: int) -> Outputs:
        """The fault is taken away, or its time is up: leave no trace."""
        return []


class Fault(Strict):
    """What the YAML says; members add `kind` and their keys."""

    family: ClassVar[Family] = "device"
    example: ClassVar[str] = ""  # a line of YAML, shown by `fleetsim describe faults` and run by the room's test

    for_s: float | None = Field(None, gt=0, le=31_536_000, description="How long it lasts; absent: until cleared.")
    ramp_s: float = Field(0.0, ge=0, le=31_536_000, description="How long it takes to its full strength.")
    probability: float = Field(1.0, gt=0, le=1, description="Of each reading, message or connection that it may hit.")
    harmless: bool = Field(False, description="Nothing comes of it: a good backend copes, and an alarm would be false.")

    @property
    def params(self) -> dict[str, Any]:
        """What it is and how, as reports show it: without what is common to all and as usual."""
        usual = {"for_s": None, "ramp_s": 0.0, "probability": 1.0, "harmless": False}
        return {k: v for k, v in self.model_dump(exclude_none=True).items() if k not in usual or v != usual[k]}

    def unfit(self, subject: Subject) -> str | None:
        """Why such a device cannot have this fault ("has no part 'wlak'"); None when it can."""
        return None

    def expects(self, subject: Subject) -> Expected:
        """What should be noticed."""
        raise NotImplementedError

    def expected(self, subject: Subject) -> Expected:
        """The same, as whoever injected it means it."""
        due = self.expects(subject)
        return Expected(due.signal, f"{due.words}; and no harm in it", "nothing") if self.harmless else due

    def start(self, body: Body, now_ms: int) -> Active:
        """Break the device."""
        raise NotImplementedError


def no_signal(name: str, subject: Subject) -> str | None:
    """What `unfit` says of a signal that the device does not have."""
    if name in subject.signals:
        return None
    return f"has no signal '{name}'{did_you_mean(name, list(subject.signals))}"


def watched(signals: Mapping[str, Signal], first: str) -> str:
    """The nearest signal that follows from `first` and has a normal range; `first` itself when none has."""
    reached = [first]
    for name in reached:  # grows as we go: what follows it, then what follows that
        reached += [other for other, s in signals.items() if name in s.inputs() and other not in reached]
    return next((name for name in reached if signals[name].limit), first)

"""Behaviours: the duties of a device, one file each.

A behaviour is what a profile's YAML says (shared by all devices of the profile); `duty()` gives the state
one device keeps for it. A duty is a pure state machine: `step(body, now_ms)` when its `wake_at_ms` has come,
`receive(body, said, now_ms)` when something was heard; both return outputs and never sleep, read a clock or
touch a socket. What must survive a reboot lives in `body.flash`.

To add one, copy `heartbeat.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from simulator.messages import Input, Output, Turn
from simulator.schema import Misplaced, Strict
from simulator.signals import Range, Signal
from simulator.wire.spec import ProductSpec

NEVER_MS = 1 << 62
Channel = Literal["mqtt", "tcp", "rest"]
Outputs = list[Output]


class Body(Protocol):
    """What a duty or a fault may know of, and do to, its device."""

    thing: str
    product: str
    spec: ProductSpec | None
    package: str
    version: str
    public_key: bytes
    online: bool
    powered: bool
    said_ms: int  # when it last said something
    in_turn: bool  # a duty of its own hears `Answered`
    flash: dict[str, Any]
    injected: Mapping[str, int]  # how many faults of each kind it had so far

    @property
    def limits(self) -> Mapping[str, Range]:
        """The normal ranges of its signals, of those that have one."""
        ...

    @property
    def children(self) -> "Sequence[Child]":
        """The devices that speak through this one."""
        ...

    def topic(self, template: str) -> str:
        """The template with {env}, {hub} and {thing} filled in; {hub} is `nohub` where there is none."""
        ...

    def envelope(self, now_ms: int) -> dict[str, Any]:
        """What the platform's JSON says of the way a message takes: nothing, or hub_timestamp and nodes."""
        ...

    def draw(self, *names: str | int) -> float:
        """A number in [0, 1) of this device's own, the same in every run with the same seed."""
        ...

    @property
    def signals(self) -> Mapping[str, Signal]:
        """What its profile says of each of them."""
        ...

    def reading(self, now_ms: int) -> dict[str, float]:
        """What all sensors read now; not a number where one says nothing (wire.payloads)."""
        ...

    def sensed(self, now_ms: int) -> int:
        """A number that stays the same as long as `reading` and `clock_ms` are as healthy as they were; -1: unknown."""
        ...

    def healthy(self, names: tuple[str, ...], now_ms: int) -> dict[str, float] | None:
        """What these sensors read, where nothing is wrong and nothing is, or was, out of range; None: something is."""
        ...

    def truth(self, signal: str, now_ms: int) -> float:
        """What a signal is now, whatever its sensor says."""
        ...

    def clock_ms(self, now_ms: int) -> int:
        """What its clock says: what it writes into its messages, and nothing else."""
        ...

    def obstacle(self, point: str, now_ms: int) -> str | None:
        """Why a duty cannot go on at a point of its way, such as jobs.install; None: it can."""
        ...

    def restart_part(self, part: str, now_ms: int) -> None:
        """Restart a part, which frees it if it hung."""
        ...

    def hold(self, part: str, value: float | None, now_ms: int) -> None:
        """Force a signal to a value, or let it go."""
        ...

    def set_part(self, part: str, value: float | None, now_ms: int) -> None:
        """Set a signal to a value, or let it go by itself again. A part that hangs does not heed it yet."""
        ...

    def tell(self, what: str, value: Any, now_ms: int) -> Outputs:
        """Let the device's duties hear `Told(what, value)`; what they answer."""
        ...

    def out_of_range(self, reading: dict[str, float], now_ms: int) -> Outputs:
        """Notes for the readings that just left, or came back to, their normal range."""
        ...


class Child(Protocol):
    """A device that speaks through another one, as that one sees it: stepped and told like any device."""

    thing: str
    online: bool
    powered: bool
    wake_at_ms: int

    def topic(self, template: str) -> str: ...

    def filters(self) -> tuple[str, ...]: ...

    def step(self, now_ms: int) -> Outputs: ...

    def receive(self, said: Input, now_ms: int) -> Outputs: ...


class Duty:
    """One device's state of one behaviour. Members override what they need."""

    __slots__ = ("wake_at_ms",)

    wake_at_ms: int
    in_turn = False  # True: hears `Answered`, and may say a message at once

    def __init__(self) -> None:
        self.wake_at_ms = NEVER_MS

    def filters(self, body: Body) -> Sequence[str]:
        """Topic filters to subscribe to after connecting."""
        return ()

    def step(self, body: Body, now_ms: int) -> Outputs:
        """Called when `wake_at_ms` has come; must move it on."""
        return []

    def receive(self, body: Body, said: Input, now_ms: int) -> Outputs:
        """Called for every input the device gets; answers with nothing to what is not its own."""
        return []

    def turn(self, body: Body, now_ms: int) -> Turn | None:
        """What it says from now on whenever it is answered, while the sensors read the same; None: ask each time."""
        return None

    def turned(self, said_ms: int) -> None:
        """That is over: the last one was said then."""


class Behaviour(Strict):
    """What the YAML says; members add `kind` and their keys."""

    channels: ClassVar[frozenset[str]] = frozenset({"mqtt"})  # ways to the backend that can carry what it says
    through_hub: ClassVar[bool] = True  # False: needs a connection of the device's own, so a hub's child has none
    manages: ClassVar[bool] = False  # True: is the device's job agent
    settable: ClassVar[Mapping[str, Range]] = {}  # keys that a setting may change while the device lives

    def duty(self) -> Duty:
        """The state of one device."""
        raise NotImplementedError

    def over(self, channel: Channel) -> "Behaviour":
        """The same on one of its `channels`."""
        return self

    def every(self, period_s: float) -> "Behaviour":
        """The same on a device that measures so often: it tells that often, and looks no more often."""
        return self

    def signals(self) -> tuple[str, ...]:
        """Names of the profile's signals that this behaviour uses, for the check of the profile."""
        return ()

    def brings(self, thing: str) -> Sequence[tuple[str, str]]:
        """(thing, profile) of the devices that speak through a device with this behaviour."""
        return ()

    def misfits(self, others: "Sequence[Behaviour]", signals: Mapping[str, Signal]) -> Iterator[Misplaced]:
        """What is wrong with this one beside the profile's others and its signals."""
        return iter(())

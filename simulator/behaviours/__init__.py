"""Behaviours: the duties of a device, one file each.

A behaviour is what a profile's YAML says (shared by all devices of the profile); `duty()` gives the state
one device keeps for it. A duty is a pure state machine: `step(body, now_ms)` when its `wake_at_ms` has come,
`receive(body, said, now_ms)` when something was heard; both return outputs and never sleep, read a clock or
touch a socket. What must survive a reboot lives in `body.flash`.

To add one, copy `telemetry.py`, name the file as the kind and the class as the file.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from simulator.messages import Input, Output
from simulator.schema import Strict

NEVER_MS = 1 << 62
Outputs = list[Output]


class Body(Protocol):
    """What a duty or a fault may know of, and do to, its device."""

    thing: str
    package: str
    version: str
    public_key: bytes
    online: bool
    flash: dict[str, Any]

    def topic(self, template: str) -> str:
        """The template with {env} and {thing} filled in."""
        ...

    def draw(self, *names: str | int) -> float:
        """A number in [0, 1) of this device's own, the same in every run with the same seed."""
        ...

    def reading(self, now_ms: int) -> dict[str, float]:
        """What all sensors read now."""
        ...

    def restart_part(self, part: str, now_ms: int) -> None:
        """Restart a part, which frees it if it hung."""
        ...

    def hold(self, part: str, value: float | None, now_ms: int) -> None:
        """Force a signal to a value, or let it go."""
        ...

    def out_of_range(self, reading: dict[str, float], now_ms: int) -> Outputs:
        """Notes for the readings that just left, or came back to, their normal range."""
        ...


class Duty:
    """One device's state of one behaviour. Members override what they need."""

    __slots__ = ("wake_at_ms",)

    wake_at_ms: int

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


class Behaviour(Strict):
    """What the YAML says; members add `kind` and their keys."""

    needs_signals: ClassVar[bool] = False

    def duty(self) -> Duty:
        """The state of one device."""
        raise NotImplementedError

    def signals(self) -> tuple[str, ...]:
        """Names of the profile's signals that this behaviour uses, for the check of the profile."""
        return ()

"""Faults made for the tests of the points at which faults stand, and a pump that gets them.

A test's fault is a `Probe` with a name; its `Active` is what the test says.
"""

import json
from typing import Any, Literal

from simulator.behaviours import Body, Outputs
from simulator.device import Device
from simulator.faults import Active, Disguise, Expected, Fault, Subject
from simulator.messages import Connected, Input, Later, Output, Piece, PowerCycle, Publish, Raw, Received, Relink, Sever
from tests.core.fleets import PUMP, START_MS, fleet, profile

QUICK = profile(PUMP.replace("every_s: 10", "every_s: 1").replace("step_s: 5", "step_s: 1"))
CALLS: list[tuple[str, Any]] = []


class Probe(Fault):
    """A fault of a test."""

    kind: Literal["probe", "other"] = "probe"
    does: str = "Marks"
    mark: str = "a"

    def expects(self, subject: Subject) -> Expected:
        return Expected("", "nothing")

    def start(self, body: Body, now_ms: int) -> Active:
        found = globals()[self.does]
        assert issubclass(found, Active)
        made: Active = found(self, now_ms)
        return made


class Marks(Active):
    """Writes its mark behind every payload that it sees, and writes down what it is asked."""

    what: Probe

    def reading(self, body: Body, values: dict[str, float], now_ms: int) -> None:
        values["temp_c"] = values["temp_c"] * 2 + 1 if self.what.mark == "a" else values["temp_c"] + 10

    def clock_ms(self, body: Body, at_ms: int) -> int:
        return at_ms * 2 if self.what.mark == "a" else at_ms + 1

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        if isinstance(said, Publish):
            return [said._replace(payload=said.payload + self.what.mark.encode())]
        CALLS.append((self.what.mark, type(said).__name__))
        return [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        if isinstance(said, Received):
            CALLS.append((self.what.mark, said.topic))
            return [said._replace(topic=said.topic + self.what.mark)]
        CALLS.append((self.what.mark, type(said).__name__))
        return [said]

    def reach(self, body: Body, now_ms: int) -> str | None:
        return f"no way {self.what.mark}"

    def disguise(self) -> Disguise | None:
        return Disguise(self.what.mark) if self.what.mark == "b" else None

    def obstacle(self, body: Body, point: str, now_ms: int) -> str | None:
        return f"{self.what.mark} at {point}" if self.what.mark == "b" else None

    def restarted(self, body: Body, part: str, now_ms: int) -> None:
        CALLS.append((self.what.mark, part))

    def booted(self, body: Body, now_ms: int) -> None:
        CALLS.append((self.what.mark, body.version))

    def end(self, body: Body, now_ms: int) -> Outputs:
        CALLS.append((self.what.mark, "end"))
        return [Raw(self.what.mark.encode())]


class Drops(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [] if isinstance(said, Publish) else [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        return []


class Doubles(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [said, said] if isinstance(said, Publish) and said.kind == "telemetry" else [said]


class Delays(Active):
    """By the seconds in its mark."""

    what: Probe

    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [Later(int(float(self.what.mark) * 1000), said)] if isinstance(said, Publish) else [said]

    def hear(self, body: Body, said: Input, now_ms: int) -> list[Input | Later]:
        return [Later(int(float(self.what.mark) * 1000), said)] if isinstance(said, Received) else [said]


class Chances(Active):
    def say(self, body: Body, said: Output, now_ms: int) -> list[Output | Later]:
        return [] if isinstance(said, Publish) and said.kind == "telemetry" and self.chance(body) else [said]


class Wakes(Active):
    """Does what its mark says every ten seconds."""

    what: Probe

    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.wake_at_ms = now_ms + 10_000

    def step(self, body: Body, now_ms: int) -> Outputs:
        CALLS.append(("step", now_ms - START_MS))
        self.wake_at_ms = now_ms + 10_000
        if self.what.mark == "over":
            self.over = True
        found: dict[str, Outputs] = {
            "power": [PowerCycle(25_000)], "sever": [Sever(5_000)], "relink": [Relink()],
            "say": [Publish("odd", "odd", b"said")],
        }  # fmt: skip
        return found.get(self.what.mark, [])


class Splits(Active):
    network = True
    what: Probe

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        if self.what.mark == "late":
            return [piece._replace(after_ms=piece.after_ms + 100)]
        if self.what.mark == "lose":
            return [] if up else [piece]
        half = len(piece.data) // 2
        return [Piece(piece.data[:half], piece.after_ms), Piece(piece.data[half:], piece.after_ms)]


class Walls(Marks):
    network = True


class Wires(Chances):
    """Draws for bytes and connections too."""

    network = True

    def carry(self, body: Body, piece: Piece, up: bool, now_ms: int) -> list[Piece]:
        return [piece] if self.chance(body) else []

    def reach(self, body: Body, now_ms: int) -> str | None:
        return "no way" if self.chance(body) else None


class Starts(Active):
    def __init__(self, what: Fault, now_ms: int) -> None:
        super().__init__(what, now_ms)
        self.over = True


def connected(*probes: Probe) -> Device:
    """A pump that is online, and then gets these faults."""
    device = fleet(QUICK).devices[0]
    device.receive(Connected(False), START_MS)
    for probe in probes:
        device.inject(probe, START_MS)
    return device


def run(device: Device, for_s: float, from_s: float = 0) -> list[tuple[float, Output]]:
    """All that it says by itself, with the second in which it does."""
    said: list[tuple[float, Output]] = []
    while device.wake_at_ms <= START_MS + (from_s + for_s) * 1000:
        now_ms = max(device.wake_at_ms, int(START_MS + from_s * 1000))
        said += [((now_ms - START_MS) / 1000, output) for output in device.step(now_ms)]
    return said


def telemetry(said: list[tuple[float, Output]]) -> list[tuple[float, bytes]]:
    return [(at_s, o.payload) for at_s, o in said if isinstance(o, Publish) and o.kind == "telemetry"]


def stamps(said: list[tuple[float, Output]]) -> list[float]:
    return [(json.loads(payload)["device_timestamp"] - START_MS) / 1000 for _, payload in telemetry(said)]


A, B = Probe(mark="a"), Probe(mark="b", kind="other")

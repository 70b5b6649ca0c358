"""A device whose faults are tried on real sockets: what it is, what it suffers, and whether that was seen."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
import uvloop
from pydantic import TypeAdapter

from simulator.device import Device
from simulator.faults import Fault
from simulator.ledger import Ledger
from simulator.links import Link, Sink
from simulator.messages import Publish
from simulator.profiles import Profile
from simulator.runtime import engine as engine_module
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.schema import OneOf
from tests.core.fleets import fleet, profile

PATIENCE_S = 20.0
PUMP = """\
profile: pump
thing_type: Pump
signals: {temp_c: {kind: wander, mean: 20, deviation: 1, tau_s: 60}, fan: {kind: constant, value: 1}}
behaviours: [{kind: telemetry, every_s: 0.012, metrics: [temp_c, fan]}]
"""
OVER_TCP = profile(PUMP).over("tcp", "pump")
OVER_REST = profile(PUMP).over("rest", "pump")
Make = Callable[[Device, Sink], Link]
opened: "list[Bench]" = []  # ended by `run`


def fault(kind: str, **keys: Any) -> Fault:
    found: Fault = TypeAdapter(Annotated[Fault, OneOf("faults")]).validate_python({"kind": kind, **keys})
    return found


def run(story: Callable[[], Awaitable[None]], on_uvloop: bool = True) -> None:
    """Run a story in a loop of its own, in which time-outs are looked for more often than once a second."""

    async def timed() -> None:
        try:
            async with asyncio.timeout(4 * PATIENCE_S):
                await story()
        finally:
            for bench in opened:
                await bench.engine.close()
            opened.clear()
            await asyncio.sleep(0.02)  # transports tell their end in a later turn

    with (
        pytest.MonkeyPatch.context() as patch,
        asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner,
    ):
        patch.setattr(engine_module, "TICK_S", 0.02)
        runner.run(timed())


class Bench:
    """One pump in an engine, over a real link, and what it said."""

    def __init__(self, make: Make, what: Profile) -> None:
        self.fleet = fleet(what, start_ms=time.time_ns() // 1_000_000)
        self.ledger = Ledger()
        self.said: list[Publish] = []
        self._make = make
        self.engine = Engine(self.fleet, self._link, Downloads(), self.ledger)
        opened.append(self)

    def _link(self, device: Device, sink: Sink) -> Link:
        link = self._make(device, sink)
        send = link.send

        def noted(message: Publish) -> bool:
            self.said.append(message)
            return send(message)

        with suppress(AttributeError):  # where a link has slots it is told by a subclass
            link.send = noted  # type: ignore[method-assign]
        return link

    @property
    def device(self) -> Device:
        return self.fleet.devices[0]

    def notes(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.detail) for event in self.ledger.events if event.kind == kind]

    def reasons(self) -> list[str]:
        return [note["reason"] for note in self.notes("disconnected")]

    def stamps(self) -> set[int]:
        return {message.stamp for message in self.said}

    async def until(self, so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not so():
            assert self.engine.failure is None, self.engine.failure.log_tail
            assert time.monotonic() < deadline_s, self.ledger.events[-20:]
            await asyncio.sleep(0.005)

    async def acknowledged(self, more: int) -> None:
        count = self.ledger.acknowledged["telemetry"] + more
        await self.until(lambda: self.ledger.acknowledged["telemetry"] >= count)

    async def suffer(self, what: Fault, so: Callable[[], bool]) -> None:
        """A healthy beginning, a fault until something is so, and a healthy end at which all was answered."""
        self.engine.start(0)
        await self.acknowledged(5)
        self.engine.inject(0, what)
        await self.until(so)
        self.engine.clear(0, None)
        await self.acknowledged(10)
        await self.until(lambda: self.device.online)
        self.engine.silence()
        await self.until(self.engine.settled)
        assert not self.device.faults
        assert self.notes("fault_cleared") == [{"fault": what.params["kind"]}]


NETWORK = [
    fault("latency", delay_ms=30, jitter_ms=20),
    fault("loss", rate=0.1),
    fault("bandwidth", bytes_per_s=20_000),
    fault("disconnect"),
    fault("half_open", blocks="up"),
    fault("half_open", blocks="down"),
    fault("half_open", blocks="both"),
    fault("flapping", down_s=[0.1, 0.2], up_s=[0.2, 0.4]),
    fault("partition"),
    fault("dns_failure"),
    fault("tls_failure"),
    fault("reconnect_storm", again_s=0.5),
    fault("slow_sender", bytes=50, every_ms=1),
    fault("duplicate"),
    fault("reorder", by_s=[0.05, 0.2], probability=0.3),
]
ON_BOTH = ("latency", "half_open", "flapping")  # on asyncio's own loop, too
CUTS = ("disconnect", "flapping", "dns_failure", "tls_failure", "reconnect_storm")


def has_struck(bench: Bench, what: Fault) -> Callable[[], bool]:
    """Enough of it to be seen."""
    kind = what.params["kind"]
    if kind == "half_open":
        return lambda: "no " in " ".join(bench.reasons()) and bench.device.online
    if kind == "reconnect_storm":
        return lambda: len(bench.notes("connected")) == 2
    if kind in CUTS or kind == "partition":
        enough = 3 if bench.fleet.profiles["pump"].channel != "rest" else 1 if kind == "partition" else 2
        return lambda: len(bench.reasons()) >= enough
    before = bench.ledger.acknowledged["telemetry"]
    return lambda: bench.ledger.acknowledged["telemetry"] >= before + 30


def patience_s(what: Fault) -> float:
    """How long a link waits for an answer: short where none comes, long where all come late."""
    return 0.3 if what.params["kind"] in ("half_open", "partition") else 5.0


def was_seen(bench: Bench, what: Fault) -> None:
    kind, reasons = what.params["kind"], bench.reasons()
    if kind in CUTS:
        assert reasons[0] == "severed"
    elif kind in ("half_open", "partition"):
        assert reasons[0].startswith(("no PUBACK within", "no acknowledgement within", "no answer from"))
    else:
        assert reasons == []

"""Small fleets for the tests of the core: a profile in a few lines, its devices in virtual time or live."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from simulator import firmware
from simulator.clock import VIRTUAL_START_MS, VirtualClock
from simulator.device import Device
from simulator.firmware import Firmware, Image
from simulator.fleet import Fleet
from simulator.ledger import Ledger
from simulator.links import Link, Sink
from simulator.links.memory import Memory
from simulator.messages import Publish
from simulator.profiles import Profile
from simulator.runtime.downloads import Downloads
from simulator.runtime.engine import Engine
from simulator.runtime.virtual import Virtual
from simulator.schema import parse
from tests.core.fake_cloud import FakeCloud

START_MS = VIRTUAL_START_MS
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = firmware.public_bytes(KEY)

THING = "Pump-001"
PUMP = """\
profile: pump
thing_type: Pump
step_s: 5
signals:
  ambient_c: {kind: constant, value: 20}
  load: {kind: constant, value: 10}
  temp_c: {kind: thermal, start_c: 40, ambient: ambient_c, load: load, fan: fan, limit: [0, 60], resolution: 0.1,
           capacity_j_per_k: 100, heat_w_per_unit: 10, loss_w_per_k: 1, fan_w_per_k: 9}
  fan: {kind: thermostat, watches: temp_c, on_above: 50, off_below: 45}
behaviours:
  - {kind: telemetry, every_s: 10, topic: "t/{env}/{thing}", metrics: [temp_c, fan]}
  - {kind: shadow, actions: {restart-fan: {restarts: fan, takes_s: 2}}, reports: {temp: temp_c}}
  - {kind: jobs, install_s: 3, reboot_s: 2, retries: 3}
"""


def profile(text: str = PUMP) -> Profile:
    return parse(text, "pump.yaml", Profile)


def fleet(
    what: Profile | None = None, things: Sequence[str] = (THING,), seed: int = 1, start_ms: int = START_MS, **more: Any
) -> Fleet:
    """Devices of one profile, switched off."""
    what = what or profile()
    members = [(thing, what.profile, None) for thing in things]
    return Fleet(members, {what.profile: what}, seed, start_ms, PUBLIC_KEY, **more)


def image(version: str = "1.1.0", package: str = "Pump", size_kib: int = 10, key: Ed25519PrivateKey = KEY) -> Image:
    return firmware.build(Firmware(version=version, packages=[package], size_kib=size_kib), package, key)


class World:
    """One pump, switched on, and its cloud."""

    def __init__(self, what: Profile | None = None, seed: int = 1) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger()
        self.fleet = fleet(what, seed=seed)
        self.virtual = Virtual(self.fleet, VirtualClock(), self.ledger, self.cloud.hear, self.cloud.fetch)
        self.cloud.runtime = self.virtual
        self.virtual.start(0, START_MS)

    @property
    def device(self) -> Device:
        return self.fleet.devices[0]

    def run(self, for_s: float) -> None:
        self.virtual.run_until(self.virtual.clock.now_ms() + int(for_s * 1000))

    def notes(self, *kinds: str) -> list[dict[str, Any]]:
        """Details of the ledger's events of these kinds."""
        return [dict(event.detail) for event in self.ledger.events if event.kind in kinds]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.events]


QUICK = (
    PUMP.replace("every_s: 10", "every_s: 0.05")
    .replace("install_s: 3", "install_s: 0.05")
    .replace("reboot_s: 2", "reboot_s: 0.05")
)
PATIENCE_S = 30.0


class Live:
    """An engine on the running loop, its fleet, and a far side that writes down what it hears."""

    def __init__(self, things: int = 1, text: str = QUICK) -> None:
        names = [THING] if things == 1 else [f"Pump-{n:03}" for n in range(things)]
        self.fleet: Fleet = fleet(profile(text), names, start_ms=time.time_ns() // 1_000_000)
        self.ledger = Ledger()
        self.said: list[tuple[str, Publish]] = []
        self.links: dict[str, Memory] = {}
        self.engine = Engine(self.fleet, self._link, Downloads(), self.ledger)
        self.answer: Callable[[Publish], None] = lambda message: None

    def _link(self, device: Device, sink: Sink) -> Link:
        def far(message: Publish) -> None:
            self.said.append((device.thing, message))
            self.answer(message)

        self.links[device.thing] = Memory(sink, far)
        return self.links[device.thing]

    async def until(self, so: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not so():
                    await asyncio.sleep(0.001)
        assert so(), self.kinds()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.ledger.events]

    def telemetry(self) -> list[str]:
        return [thing for thing, message in self.said if message.kind == "telemetry"]


def run(
    story: Callable[[], Coroutine[Any, Any, None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> None:
    """A story on a loop of its own."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(story())
